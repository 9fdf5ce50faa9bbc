# SPDX-License-Identifier: Apache-2.0
"""Convolutions of int16 with weights of int8 whose sums 32 bits hold, tile by tile (narrow_conv_2d_int16.h)."""

import dataclasses

import numpy as np

from tflm_export.c.dsp_plane_loop import LARGEST_OFFSET
from tflm_export.c.dsp_tiling import counts
from tflm_export.c.dsp_weights import each, in_order
from tflm_export.c.forms.products import bias_array, output, sums
from tflm_export.c.initializer import initializer
from tflm_export.c.portable import window_statement
from tflm_export.c.step import CStep
from tflm_export.c.tiles import loop_sizes, pairs_of, tile_kernel
from tflm_export.program.program import Step
from tflm_export.program.weighted_sum import WeightedSum

_WALK = "narrow_conv_2d_int16.h"
_STEP_CYCLES = {4: 17, 3: 13, 2: 10}  # of a tile's pixels, for a word of weights


@dataclasses.dataclass(frozen=True)
class Int16Tiling:
    """Tile kernels for a layer.

    Attributes:
      header: of the core, which has the macro that makes them.
      words: of two inputs each under a window, with those of padding.
      count: how many tiles there are by their pixels; of one size, or also of one less.
      made: name and definition of the kernel of each, that of more pixels first.
    """

    header: str
    words: int
    count: dict[int, int]
    made: tuple[tuple[str, str], ...]


def is_int16_by_int8(form: WeightedSum) -> bool:
    """Whether types, groups and windows are those of the kernel."""
    (x,), spreads = form.inputs, (form.windows.height.spread, form.windows.width.spread)
    of_types = (x.dtype, form.weights.dtype) == (np.int16, np.int8) and form.input_zero_point == 0
    return of_types and len(form.weights) == 1 and form.channels > 1 and form.rows.size > 0 and spreads == (1, 1)


def dsp_tiling(form: WeightedSum) -> Int16Tiling | None:
    """For cores with the DSP extension: the tiles of the fewest cycles, None where there are fewer than two pixels."""
    words = -(-form.rows.shape[1] // 2)
    pitch = 4 * words
    ways = counts(_pixels(form), 1, 1 + LARGEST_OFFSET // pitch)
    if not ways:
        return None
    count = min(ways, key=lambda way: sum(_STEP_CYCLES[pixels] * number for pixels, number in way.items()))
    sizes = (1, *loop_sizes(words), pitch, 2 * pitch, 3 * pitch, form.channels, 0, 0)
    kernels = (("NARROW_CONV_2D_TILES_DSP", "sum", "EACH", pixels, *sizes) for pixels, n in count.items() if n)
    return Int16Tiling("narrow_conv_2d_tiles_dsp.h", words, count, tuple(tile_kernel(*kernel) for kernel in kernels))


def v6m_tiling(form: WeightedSum) -> Int16Tiling | None:
    """For cores without it: tiles of two pixels, None where there are fewer."""
    words, pixels = 2 * -(-form.rows.shape[1] // 4), _pixels(form)
    kernel = tile_kernel("NARROW_CONV_2D_INT16_V6M", "sum", words, form.channels)
    header = "narrow_conv_2d_int16_v6m.h"
    return Int16Tiling(header, words, {2: -(-pixels // 2)}, (kernel,)) if pixels >= 2 else None


def _pixels(form: WeightedSum) -> int:
    return form.image_shape[0] * form.windows.outputs


def int16_tiles(step: Step[WeightedSum], tiling: Int16Tiling) -> CStep | None:
    """A layer that `is_int16_by_int8` in such tiles, None where its sums need 64 bits.

    Raises:
      UnsupportedError: its numbers could leave 64 bits, or there is no kernel for its rescale.
    """
    form = step.form
    found = sums(form.rescale, np.maximum(*map(np.abs, form.bounds())), form.is_wide)
    if found.is_wide:
        return None
    rows = np.pad(form.rows, ((0, 0), (0, 2 * tiling.words - form.rows.shape[1])))
    starts = bias_array(form.bias, is_wide=False)[pairs_of(form.channels)]
    stream = np.concatenate([starts, each(in_order(rows))], 1).reshape(-1)
    pixels, pitch, names = max(tiling.count), 4 * tiling.words, [name for name, _ in tiling.made]
    fields = {"kernel": names[0], "shorter": names[1] if len(names) > 1 else 0, "weights": "weights"}
    fields |= {"pixels": pixels, "channels": form.channels, "pixel": 0, "channel": 0}
    fields |= {"end": "NARROW_END_NONE", "rescale": 0}
    statements = (
        window_statement(form, element_bytes=2),
        f"const narrow_tile_layer layer = {initializer(fields)};",
        found.factors.statement(),
        output("output", form.output, form.zero_point, form.clamp),
        f"narrow_conv_2d_int16({found.factors.rounding}, {found.has_many}, &window, &layer, {pitch}, &factors, "
        "&output, x0, y, scratch);",
    )
    return CStep(
        step.origin, form.inputs, form.outputs, statements, {"weights": stream} | found.factors.constants(),
        pixels * (pitch + 4 * form.channels), (_WALK, tiling.header), tuple(made for _, made in tiling.made),
        note="int16 by int8, sums of 32 bits",
    )  # fmt: skip
