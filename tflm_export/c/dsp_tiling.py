# SPDX-License-Identifier: Apache-2.0
"""The ways in which a convolution goes tile by tile on cores with the DSP extension.

They differ in what is under a window: where it lies, and in which order. See narrow_conv_2d_tiles_dsp.h.
"""

import dataclasses
from collections.abc import Iterator

from tflm_export.c.dsp_plane_loop import LARGEST_OFFSET
from tflm_export.c.tiles import MOST_ROWS
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis

_TILES = (4, 3, 2)  # pixels


@dataclasses.dataclass(frozen=True)
class Tiling:
    """One way to go tile by tile.

    Attributes:
      walk: the function that does, without narrow_conv_2d_ and _dsp.
      arguments: of its own, in C.
      count: how many tiles there are by their pixels; of one size, or also of one less.
      scratch: bytes that it needs, without sums.
      height: rows of the kernel, 1 where they lie side by side.
      words: pairs of inputs in a row under a window.
      offsets: bytes from a tile's first pixel to its others.
      is_in_order: whether inputs are in their order, instead of that of SXTB16.
      rows: into which weights are cut before they are padded to whole words.
    """

    walk: str
    arguments: tuple[int | str, ...]
    count: dict[int, int]
    scratch: int
    height: int
    words: int
    offsets: tuple[int, ...]
    is_in_order: bool = False
    rows: int = 1

    @property
    def pixels(self) -> int:
        """Of the larger tiles."""
        return max(self.count)


def tilings(form: WeightedSum) -> list[Tiling]:
    """All ways that a layer's shape allows. Gathering windows is slower than all others."""
    if form.channels < 2:
        return []
    ways = [tiling for way in (by_pixels, by_rows, by_columns) for tiling in way(form)]
    return ways or list(by_windows(form))


def counts(length: int, lines: int, most: int, is_even: bool = False, is_exact: bool = False) -> list[dict[int, int]]:
    """The tiles that lines of pixels can be cut into, which do not cross them: how many by their pixels.

    Args:
      length: pixels of a line.
      lines: how many.
      most: pixels of a tile that addresses reach.
      is_even: whether tiles begin at even pixels only.
      is_exact: whether no pixel may be computed twice.
    """
    found = []
    for pixels in _TILES:
        if pixels > min(length, most) or (is_even and (pixels == 3 or length % 2)):
            continue
        if length % pixels == 0 or not is_exact:
            found.append({pixels: lines * -(-length // pixels)})
        if pixels > 2 and length % pixels and not is_even:
            found += [{pixels: lines * more, pixels - 1: lines * less} for less, more in _mixed(length, pixels)]
        if length % pixels == 0:
            break  # smaller ones do less at once
    return found


def _mixed(length: int, pixels: int) -> list[tuple[int, int]]:
    """How many tiles of a pixel less and how many whole ones make a line, with the fewest of the former."""
    shorter = [n for n in range(-(-length // (pixels - 1))) if (length - n * (pixels - 1)) % pixels == 0]
    return [(n, (length - n * (pixels - 1)) // pixels) for n in shorter[:1]]


def _most(form: WeightedSum, pitch: int) -> int:
    """Pixels of a tile whose inputs and outputs are within reach of an address."""
    return 1 + LARGEST_OFFSET // max(form.channels, pitch)


def _offsets(pitch: int) -> tuple[int, ...]:
    return pitch, 2 * pitch, 3 * pitch


def by_pixels(form: WeightedSum) -> Iterator[Tiling]:
    """Every pixel as it is: kernels of 1x1."""
    inputs = form.input_channels
    if form.windows.is_pointwise and inputs % 4 == 0:
        pitch = 2 * inputs
        for count in counts(form.windows.outputs, form.image_shape[0], _most(form, pitch)):
            yield Tiling("pixels", (), count, max(count) * pitch, 1, inputs // 2, _offsets(pitch))


def by_windows(form: WeightedSum) -> Iterator[Tiling]:
    """The inputs under each window gathered side by side: any convolution."""
    depth4 = -(-form.rows.shape[1] // 4) * 4
    pitch = 2 * depth4
    for count in counts(form.windows.outputs, form.image_shape[0], _most(form, pitch)):
        scratch = max(count) * pitch + depth4
        yield Tiling("windows", (depth4,), count, scratch, 1, depth4 // 2, _offsets(pitch))


def by_rows(form: WeightedSum) -> Iterator[Tiling]:
    """Rows of the image with their padding widened once; the kernel goes from row to row."""
    ring = _ring(form)
    if ring is None:
        return
    height, width = form.windows.height, form.windows.width
    step, offsets = width.stride * form.input_channels, _offsets(2 * width.stride * form.input_channels)
    if ring.is_twice:
        second = 4 * (step // 2) + 2 * ring.length
        offsets = second, 4 * step, second + 4 * step
    most = min(_most(form, 1), 1 + sum(max(offsets[:n]) <= LARGEST_OFFSET for n in (1, 2, 3)))
    arguments, scratch = (ring.order, ring.length), 4 * height.kernel * ring.length
    for count in counts(width.output, form.image_shape[0] * height.output, most, is_even=ring.is_twice):
        yield Tiling(
            "rows", arguments, count, scratch, height.kernel, ring.words, offsets, ring.is_in_order, height.kernel
        )


def by_columns(form: WeightedSum) -> Iterator[Tiling]:
    """The same rows, and what is under a window copied from them side by side."""
    ring = _ring(form)
    if ring is None:
        return
    height = form.windows.height.kernel
    words, arguments = height * ring.words, (ring.order, ring.length, ring.words)
    for count in counts(form.windows.outputs, form.image_shape[0], _most(form, 4 * words), is_exact=True):
        scratch = 4 * (height * ring.length + max(count) * words)
        yield Tiling("columns", arguments, count, scratch, 1, words, _offsets(4 * words), ring.is_in_order, height)


@dataclasses.dataclass(frozen=True)
class _Ring:
    """Rows of an image: their narrow_row_order, words of one with its padding, words of one under a window."""

    order: str
    length: int
    words: int

    @property
    def is_in_order(self) -> bool:
        return self.order != "NARROW_ROW_FOURS"

    @property
    def is_twice(self) -> bool:
        return self.order == "NARROW_ROW_TWICE"


def _ring(form: WeightedSum) -> _Ring | None:
    height, width, inputs = form.windows.height, form.windows.width, form.input_channels
    if height.dilation != 1 or width.dilation != 1 or height.kernel > MOST_ROWS:
        return None
    if form.windows.is_pointwise and inputs % 4 == 0:
        return None
    words, step = -(-width.kernel * inputs // 2), width.stride * inputs
    length = -(-max(inputs * _padded(width), (width.output - 1) * step + 2 * words) // 2)
    orders = ("NARROW_ROW_TWICE", 2) if step % 2 else ("NARROW_ROW_ORDER", 1)
    order, copies = orders if inputs % 4 else ("NARROW_ROW_FOURS", 1)
    return _Ring(order, copies * length, words)


def _padded(axis: Axis) -> int:
    return max(axis.before + axis.size, (axis.output - 1) * axis.stride + axis.kernel)
