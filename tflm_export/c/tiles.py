# SPDX-License-Identifier: Apache-2.0
"""Convolution tile by tile: what the cores with a kernel for it share (narrow_tiles.h)."""

import dataclasses

import numpy as np

from tflm_export.c.epilogue import Epilogue, FoldedRescale
from tflm_export.c.initializer import initializer

MOST_ROWS = 15  # NARROW_TILE_ROWS


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
      folded: the layer's rescale.
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
    def pairs(self) -> int:
        """Of output channels."""
        return len(self.folded.start) // 2

    def definition(self, macro: str, *sizes: int) -> tuple[str, str]:
        """The name of a tile kernel, and the line of C that makes it."""
        end = self.folded.epilogue.value if self.is_whole else "sum"
        name = "_".join(["narrow_tile", end, *map(str, sizes)])
        return name, f"{macro}({name}, {end.upper()}, {', '.join(map(str, sizes))})"

    def statement(self, kernel: str) -> str:
        """The narrow_tile_layer."""
        layout = self.layout
        fields = {
            "kernel": kernel,
            "weights": "weights",
            "records": "records",
            "channels": 2 * self.pairs,
            "pixel": layout.pixel,
            "channel": layout.channel,
            "end": self.folded.sums_end,
            "rescale": 0 if self.is_whole else "&rescale",
        }
        return f"const narrow_tile_layer layer = {initializer(fields)};"

    def records(self) -> np.ndarray:
        """[pairs, words]: what the tile kernel ends each pair of channels with."""
        folded = self.folded
        fields = [folded.start]
        if self.is_whole and folded.epilogue is not Epilogue.SHIFT:
            fields += [folded.multiplier, folded.fold]
        if self.is_whole:
            fields.append(folded.shift.astype(np.int32))
        paired = np.stack(fields).reshape(len(fields), self.pairs, 2)
        return np.ascontiguousarray(paired.transpose(1, 0, 2)).reshape(self.pairs, -1)

    @property
    def sums(self) -> int:
        """Bytes of scratch memory for sums that the caller ends."""
        return 0 if self.is_whole else 4 * self.pixels * 2 * self.pairs
