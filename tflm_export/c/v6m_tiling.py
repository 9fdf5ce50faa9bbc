# SPDX-License-Identifier: Apache-2.0
"""The ways in which a convolution goes by tiles of two pixels on ARMv6-M (narrow_conv_2d_tiles_v6m.h)."""

import dataclasses

from tflm_export.c.tiles import MOST_ROWS
from tflm_export.program.weighted_sum import WeightedSum

PIXELS = 2  # of a tile
_FARTHEST = 65535  # bytes from the end of a row to the input of a correction


@dataclasses.dataclass(frozen=True)
class PairTiling:
    """One way.

    Attributes:
      walk: "pixels", "rows", "flat", "columns" or "windows".
      call: the function that goes so, and its own arguments.
      tiles: how many.
      rows: of the kernel, 1 where they lie side by side.
      ring: words of a row of the image with its padding, or bytes of "columns"; 0 without rows.
      scratch: bytes that it needs, without sums.
    """

    walk: str
    call: tuple[str | int, ...]
    tiles: int
    rows: int
    ring: int
    scratch: int


def tilings(form: WeightedSum) -> list[PairTiling]:
    """All ways that a layer's shape allows. Gathering windows is slower but for outputs of a single column."""
    taps, windows = form.rows.shape[1], form.windows
    if form.channels < 2 or windows.outputs < PIXELS or 4 * (taps + 1) > _FARTHEST:
        return []
    tiles, columns = form.image_shape[0] * -(-windows.outputs // PIXELS), 4 * (taps + 1)
    if windows.is_pointwise:
        return [PairTiling("pixels", ("pixels",), tiles, 1, 0, columns)]
    patches = 2 * taps + 3 & ~3
    return [*_of_rows(form), PairTiling("windows", ("windows", taps), tiles, 1, 0, columns + patches)]


def _of_rows(form: WeightedSum) -> list[PairTiling]:
    """Those that keep the rows under the kernel."""
    height, width, inputs = form.windows.height, form.windows.width, form.input_channels
    if height.dilation != 1 or width.dilation != 1 or height.kernel > MOST_ROWS:
        return []
    images, kernel, row = form.image_shape[0], height.kernel, width.kernel * inputs
    padded = max(width.before + width.size, (width.output - 1) * width.stride + width.kernel) * inputs
    scratch = 4 * (kernel * row + 1) + (kernel * padded + 3 & ~3)
    tiles = images * -(-form.windows.outputs // PIXELS)
    columns = PairTiling("columns", ("columns", padded), tiles, 1, padded, scratch)
    ways = []
    if width.output >= PIXELS:
        tiles = images * height.output * -(-width.output // PIXELS)
        words = ((width.output - PIXELS) * width.stride + width.kernel) * inputs
        for walk, flat in (("rows", 0), ("flat", row)):
            scratch = 4 * (kernel * (words + flat) + 1)
            rows = 1 if flat else kernel
            ways.append(PairTiling(walk, ("rows", words, flat), tiles, rows, words, scratch))
    return [*ways, columns]
