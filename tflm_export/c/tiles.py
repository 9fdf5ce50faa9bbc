# SPDX-License-Identifier: Apache-2.0
"""Convolution tile by tile: what the cores with a kernel for it share (narrow_tiles.h)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflm_export.c.epilogue import Epilogue, FoldedRescale
from tflm_export.c.initializer import initializer

MOST_ROWS = 15  # NARROW_TILE_ROWS
_MOST_SHIFT = 31
_WRITTEN_OUT = 12  # words of a loop and behind it: no more than an instruction cache of 1 KiB holds with what is around


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the outputs of a layer go: bytes from pixel to pixel, channel to channel and image to image."""

    pixel: int
    channel: int
    image: int


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The end of a layer in tiles.

    Attributes:
      folded: the layer's rescale, of two channels or more.
      layout: of the output.
      pixels: of a tile.
    """

    folded: FoldedRescale
    layout: Layout
    pixels: int

    @property
    def is_whole(self) -> bool:
        """Whether the tile kernel ends the layer itself, instead of leaving sums to the caller."""
        return self.folded.in_assembly

    @property
    def channels(self) -> int:
        """Of the output."""
        return len(self.folded.start)

    @property
    def pairs(self) -> int:
        """Of output channels."""
        return len(pairs_of(self.channels))

    def definition(self, macro: str, *sizes: int | str) -> tuple[str, str]:
        """The name of a tile kernel, and the line of C that makes it from its arguments before `channels`."""
        end = self.folded.epilogue.value if self.is_whole else "sum"
        places = (self.layout.pixel, self.layout.channel) if self.is_whole else (0, 0)
        return tile_kernel(macro, end, *sizes, self.channels, *places)

    def statement(self, kernel: str, shorter: str | int = 0) -> str:
        """The narrow_tile_layer of a kernel and of one for a pixel less."""
        layout = self.layout
        fields = {
            "kernel": kernel,
            "shorter": shorter,
            "weights": "weights",
            "pixels": self.pixels,
            "channels": self.channels,
            "pixel": layout.pixel,
            "channel": layout.channel,
            "end": self.folded.sums_end,
            "rescale": 0 if self.is_whole else "&rescale",
        }
        return f"const narrow_tile_layer layer = {initializer(fields)};"

    def stream(self, weights: Sequence[np.ndarray], starts: np.ndarray, shift_more: int = 0) -> np.ndarray:
        """What a tile kernel reads, in the order of its use.

        Args:
          weights: for each pair of channels, its words.
          starts: of both, int32 [pairs, 2].
          shift_more: what is added to the second one's shift where nothing is between the sum and that.
        """
        folded, members = self.folded, pairs_of(self.channels)
        tails = np.zeros((len(members), 0), np.int32)
        if self.is_whole:
            shifts = folded.shift[members].astype(np.int32)
            if folded.epilogue is Epilogue.SHIFT:
                scaling, shifts[:, 1] = [], np.minimum(shifts[:, 1] + shift_more, _MOST_SHIFT)
            else:
                scaling = [folded.multiplier[members], folded.fold[members]]
            tails = np.concatenate([*scaling, shifts[:, :1] | shifts[:, 1:] << 8], 1)
        words = [part for parts in zip(starts, weights, tails, strict=True) for part in parts]
        return np.concatenate(words).astype(np.int32)

    @property
    def sums(self) -> int:
        """Bytes of scratch memory for sums that the caller ends."""
        return 0 if self.is_whole else 4 * self.pixels * self.channels


def tile_kernel(macro: str, end: str, *sizes: int | str) -> tuple[str, str]:
    """The name of a tile kernel, and the line of C that makes it from all arguments of its macro behind its end."""
    every = [*map(str, sizes)]
    name = "_".join(["narrow_tile", end, *every]).lower()
    return name, f"{macro}({name}, {end.upper()}, {', '.join(every)})"


def pairs_of(channels: int) -> np.ndarray:
    """The channels of each pair, [pairs, 2]; of an odd number the last two are a pair, too."""
    first = np.minimum(np.arange(0, channels, 2), channels - 2)
    return np.stack([first, first + 1], 1)


def loop_sizes(words: int) -> tuple[int, int, int]:
    """How often a loop runs, the words written out in it and those behind it: the fewest turns, then the least rest."""
    if words <= _WRITTEN_OUT:
        return 1, words, 0
    sizes = [(*divmod(words, n), n) for n in range(1, _WRITTEN_OUT + 1)]
    loops, rest, unrolled = min(size for size in sizes if size[1] + size[2] <= _WRITTEN_OUT)
    return loops, unrolled, rest
