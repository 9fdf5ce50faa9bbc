"""Convolution tile by tile: what the cores with a kernel for it share (narrow_tiles.h)."""

import dataclasses

import numpy as np

from tflm_export.kernels.folding import End, Folded

LONGEST = 32  # steps of a loop that is written out in full
_UNROLLED = 16  # of a longer one
_STORED = {End.SHIFT: "SHIFT", End.MULTIPLY: "MULTIPLY"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the outputs of a layer go: bytes from pixel to pixel, channel to channel and image to image."""

    pixel: int
    channel: int
    image: int


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The tile kernel of a layer.

    Attributes:
      folded: the layer's rescale.
      height, words: rows of the kernel, and words of inputs under a window in one of them.
      pitch: bytes from a pixel to the next one in the rows.
      layout: of the output.
    """

    folded: Folded
    height: int
    words: int
    pitch: int
    layout: Layout

    @property
    def is_whole(self) -> bool:
        """Whether the tile kernel ends the layer itself, instead of leaving sums to the caller."""
        return self.folded.end in _STORED

    def definition(self, macro: str) -> tuple[str, str]:
        """The name of the tile kernel, and the line of C that makes it."""
        loops, unrolled, rest = 1, self.words, 0
        if self.words > LONGEST:
            loops, rest = divmod(self.words, _UNROLLED)
            unrolled = _UNROLLED
        end = _STORED.get(self.folded.end, "SUM")
        places = (self.layout.pixel, self.layout.channel) if self.is_whole else (1, 4)
        sizes = (self.height, loops, unrolled, rest, self.pitch, len(self.folded.start) // 2, *places)
        name = "_".join(["narrow_tile", end.lower(), *map(str, sizes)])
        return name, f"{macro}({name}, {end}, {', '.join(map(str, sizes))})"

    def statement(self, kernel: str) -> str:
        """The narrow_tile_layer."""
        end = ".end = 0" if self.is_whole else f".end = narrow_end_{self.folded.end.value}, .rescale = &rescale"
        return (
            f"const narrow_tile_layer layer = {{.kernel = {kernel}, .weights = weights, .records = records, "
            f".channels = {len(self.folded.start)}, .pixel = {self.layout.pixel}, .channel = {self.layout.channel}, {end}}};"
        )

    def records(self) -> np.ndarray:
        """[pairs, words]: what the tile kernel ends each pair of channels with."""
        folded = self.folded
        fields = [folded.start]
        if folded.end is End.MULTIPLY:
            fields += [folded.multiplier, folded.fold]
        if self.is_whole:
            fields.append(folded.shift.astype(np.int32))
        return np.ascontiguousarray(np.stack(fields).reshape(len(fields), -1, 2).transpose(1, 0, 2)).reshape(
            len(folded.start) // 2, -1
        )

    @property
    def sums(self) -> int:
        """Bytes of scratch memory for sums that the caller ends."""
        return 0 if self.is_whole else 16 * len(self.folded.start)
