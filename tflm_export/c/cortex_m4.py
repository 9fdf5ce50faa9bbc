# SPDX-License-Identifier: Apache-2.0
"""Cortex-M4 and other cores with the DSP extension: weights in the order that SXTB16 and SMLAD want them."""

import functools

import numpy as np

from tflm_export.c import work
from tflm_export.c.dsp_planes import DspPlanes, dsp_planes
from tflm_export.c.dsp_tiling import Tiling, tilings
from tflm_export.c.dsp_weights import each, fours_of_channels, in_fours, in_order, lanes, lanes_hold, together
from tflm_export.c.int16_tiles import dsp_tiling, int16_tiles, is_int16_by_int8
from tflm_export.c.portable import pixels_of, rescale_statement, window_statement
from tflm_export.c.step import CStep
from tflm_export.c.tiled import Tiled
from tflm_export.c.tiles import Tiles, loop_sizes, pairs_of

_TILES = "narrow_conv_2d_tiles_dsp"


class CortexM4(Tiled):
    """Two products an instruction where shapes allow; everything else as on any core."""

    channel_multiple = 4

    def of_int16(self, step) -> CStep | None:
        tiling = dsp_tiling(step.form) if is_int16_by_int8(step.form) else None
        return None if tiling is None else int16_tiles(step, tiling)

    def columns(self, step, folded, columns) -> list[CStep]:
        ways = (self.plane_by_plane(step, folded, columns), self.channel_groups(step, folded, columns))
        return [way for way in ways if way is not None]

    def channel_groups(self, step, folded, columns) -> CStep | None:
        """Four channels of a pixel at a time."""
        form = step.form
        if form.input_channels != form.channels or form.channels % 4:
            return None
        function = f"narrow_depthwise_conv_2d_dsp_{folded.epilogue.value}"
        call = f"{function}(&window, &rescale, weights, x0, y, scratch);"
        statements = (window_statement(form), rescale_statement(folded), call)
        constants = {"weights": channel_pairs(columns)} | folded.constants()
        return self.clamped(step, statements, constants, columns.size, "narrow_depthwise_conv_2d_dsp.c", folded)

    def planes(self, form, folded=None) -> DspPlanes | None:
        return dsp_planes(form, self.layout(form.inputs[0], form), self.layout(form.output, form), folded)

    def tilings(self, form) -> list[Tiling]:
        return tilings(form)

    def tiles(self, step, folded, rows) -> list[CStep]:
        packed = functools.cache(lambda is_in_order, cut: _packed(rows, folded, is_in_order, cut))
        return [
            self.tiled(step, folded, tiling, *packed(tiling.is_in_order, tiling.rows)) for tiling in tilings(step.form)
        ]

    def tiled(self, step, folded, tiling: Tiling, form: str, words: np.ndarray) -> CStep:
        """In tiles of a few pixels and two channels, in one of the ways to do so.

        Args:
          step, folded, tiling: the layer, its rescale and the way.
          form, words: of the weights, "LANES" or "EACH", [pairs, words].
        """
        tiles = Tiles(folded, self.layout(step.form.output, step.form), tiling.pixels)
        starts, in_lanes = folded.start[pairs_of(tiles.channels)], form == "LANES"
        stream = tiles.stream(words, together(starts) if in_lanes else starts, 8 * in_lanes)
        loops = loop_sizes(tiling.words)
        made = [
            tiles.definition(_TILES.upper(), form, pixels, tiling.height, *loops, *tiling.offsets)
            for pixels, count in tiling.count.items()
            if count
        ]
        layer = tiles.statement(*(name for name, _ in made))
        arguments = "".join(f"{argument}, " for argument in (*tiling.arguments, tiles.layout.image))
        call = f"narrow_conv_2d_{tiling.walk}_dsp(&window, &layer, {arguments}x0, y, scratch);"
        done = work.tiles_dsp(step.form, folded, tiling, loops)
        definitions = [definition for _, definition in made]
        return self.tile_step(step, tiles, f"{_TILES}.h", layer, definitions, stream, call, tiling.scratch, done)

    def packed(self, step, folded, rows) -> CStep | None:
        channels, depth = rows.shape
        weights, whole = fours_of_channels(rows, folded, in_fours, 2), folded.in_assembly
        kernel, vectors, scratch = f"{weights.kernel}_dsp", pixels_of(step.form), -(-depth // 4) * 4 if depth % 4 else 0
        arguments = f"{vectors}, {depth}, {channels}, &rescale, weights, x0, y, {'scratch' if scratch else 0}"
        statements = (rescale_statement(folded, whole), f"{kernel}_{folded.epilogue.value}({arguments});")
        constants = {"weights": weights.words} | weights.folded.constants(whole)
        done = work.dense(f"{kernel}.c", folded, vectors, depth, channels, 4)
        return self.clamped(step, statements, constants, scratch, f"{kernel}.c", folded, work=done)


def _packed(rows: np.ndarray, folded, is_in_order: bool, cut: int) -> tuple[str, np.ndarray]:
    """The form of a layer's weights, and their words."""
    pack = in_order if is_in_order else in_fours
    steps = pack(rows.reshape(len(rows) * cut, -1)).reshape(len(rows), -1, 2)
    return ("LANES", lanes(steps)) if lanes_hold(rows, folded.start) else ("EACH", each(steps))


def channel_pairs(columns: np.ndarray) -> np.ndarray:
    """Weights [taps, channels] as words of two int16, [channels / 4, taps, 2]: channels (0, 2), (1, 3) of each four."""
    taps, channels = columns.shape
    grouped = columns.astype(np.int16).reshape(taps, channels // 4, 2, 2)  # channel = 2 * upper + odd
    return np.ascontiguousarray(grouped.transpose(1, 0, 3, 2)).reshape(channels // 4, taps, 4).view("<i4")
