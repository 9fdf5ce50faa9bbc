# SPDX-License-Identifier: Apache-2.0
"""Cortex-M4 and other cores with the DSP extension: weights in the order that SXTB16 and SMLAD want them."""

import numpy as np

from tflm_export.c import work
from tflm_export.c.dsp_planes import DspPlanes, dsp_planes
from tflm_export.c.planes import LARGEST_OFFSET
from tflm_export.c.portable import is_image, pixels_of, rescale_statement, window_statement
from tflm_export.c.step import CStep
from tflm_export.c.tiled import Tiled
from tflm_export.c.tiles import MOST_ROWS, Tiles

_TILE = 4  # pixels
_LONGEST = 32  # steps of a loop that is written out in full
_UNROLLED = 16  # of a longer one


class CortexM4(Tiled):
    """Two products an instruction where shapes allow; everything else as on any core."""

    channel_multiple = 4

    def columns(self, step, folded, columns) -> CStep | None:
        return self.plane_by_plane(step, folded, columns) or self.channel_groups(step, folded, columns)

    def convolution(self, step, folded, rows):
        if step.form.input_channels == 1 and is_image(step.form):
            return self.plane_by_plane(step, folded, np.ascontiguousarray(rows.T))
        return super().convolution(step, folded, rows)

    def plane_by_plane(self, step, folded, columns) -> CStep | None:
        """One input channel after the other."""
        sizes = self.planes(step.form, folded)
        if sizes is None:
            return None
        sums = () if folded.in_assembly else (rescale_statement(folded),)
        call = "narrow_plane_walk(&layer, x0, y, scratch);"
        records = sizes.records(columns)
        statements = (*sums, sizes.statement(records), call)
        constants = {"records": records} | ({} if folded.in_assembly else folded.constants())
        header = "narrow_depthwise_conv_2d_planes_dsp.h"
        return self.clamped(step, statements, constants, sizes.scratch, header, folded, [sizes.definition()])

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

    def tiling(self, form):
        """(columns of int16 in a row with its padding, or 0 for no rows; steps; pitch)."""
        inputs, height, width = form.input_channels, form.windows.height, form.windows.width
        if form.channels % 2 or form.windows.outputs < _TILE or (_TILE - 1) * form.channels > LARGEST_OFFSET:
            return None
        in_rows = height.dilation == width.dilation == 1 and (inputs % 4 == 0 or inputs == 3)
        in_rows = in_rows and width.output >= _TILE and height.kernel <= MOST_ROWS and not form.windows.is_pointwise
        if in_rows:
            depth = -(-inputs // 4) * 4
            columns = depth * max(width.before + width.size, (width.output - 1) * width.stride + width.kernel)
            steps, pitch = width.kernel * depth // 2, 2 * width.stride * depth
        else:
            depth4 = -(-form.rows.shape[1] // 4) * 4
            columns, steps, pitch = 0, depth4 // 2, 2 * depth4
        return None if (_TILE - 1) * pitch > LARGEST_OFFSET else (columns, steps, pitch)

    def tiles(self, step, folded, rows) -> CStep | None:
        """In tiles of four pixels and two channels."""
        form = step.form
        tiling = self.tiling(form)
        if tiling is None:
            return None
        columns, steps, pitch = tiling
        channels, inputs = len(rows), form.input_channels
        tiles = Tiles(folded, self.layout(form.output, form), _TILE)
        image = tiles.layout.image
        kernel_rows, depth = 1, inputs
        walk, count = "windows", work.tiles_in_images(form, _TILE)
        if columns:
            walk, count = "rows", work.tiles_in_rows(form, _TILE)
            kernel_rows, depth = form.windows.height.kernel, -(-inputs // 4) * 4
            call = f"narrow_conv_2d_rows_dsp(&window, &layer, {columns // 2}, {image}, x0, y, scratch);"
            scratch = 2 * kernel_rows * columns
        elif form.windows.is_pointwise and inputs % 4 == 0:
            walk = "pixels"
            call = f"narrow_conv_2d_pixels_dsp(&window, &layer, {image}, x0, y, scratch);"
            scratch = 8 * inputs
        else:
            call = f"narrow_conv_2d_windows_dsp(&window, &layer, {2 * steps}, {image}, x0, y, scratch);"
            scratch = 9 * 2 * steps
        unrolled = steps if steps <= _LONGEST else _UNROLLED
        loops, rest = divmod(steps, unrolled)
        sizes = (kernel_rows, loops, unrolled, rest, pitch, tiles.pairs)
        done = work.tiles_dsp(form, folded, walk, (*sizes[:4], tiles.pairs), count, columns // 2)
        padded = np.pad(rows.reshape(channels, -1, inputs), ((0, 0), (0, 0), (0, depth - inputs)))
        words = depth_pairs(padded.reshape(channels, -1))
        return self.tile_step(step, tiles, "narrow_conv_2d_tiles_dsp", sizes, words, call, scratch, done)

    def packed(self, step, folded, rows) -> CStep | None:
        channels, depth = rows.shape
        if channels % 4 or depth % 4:
            return None
        function, vectors = f"narrow_fully_connected_dsp_{folded.epilogue.value}", pixels_of(step.form)
        call = f"{function}({vectors}, {depth}, {channels}, &rescale, weights, x0, y);"
        # [fours of channels, fours of depth, pairs of channels, words]
        words = depth_pairs(rows).reshape(channels // 4, 2, depth // 4, 2).transpose(0, 2, 1, 3)
        constants = {"weights": np.ascontiguousarray(words)} | folded.constants(folded.in_assembly)
        statements = (rescale_statement(folded, folded.in_assembly), call)
        done = work.dense("narrow_fully_connected_dsp.c", folded, vectors, depth, channels, 4)
        return self.clamped(step, statements, constants, 0, "narrow_fully_connected_dsp.c", folded, work=done)


def depth_pairs(rows: np.ndarray) -> np.ndarray:
    """Weights [channels, depth] as words of two channels and two depths, [channels / 2, depth4 / 2].

    A word is (A k, B k, A k', B k'), lowest byte first, with k, k' = 0, 2 and then 1, 3 of every four.
    """
    channels, depth = rows.shape
    padded = np.zeros((channels, -(-depth // 4) * 4), np.int8)
    padded[:, :depth] = rows
    # [pair of channels, A or B, four, second of its pair, odd or even]: k = 2 * second + odd
    grouped = padded.reshape(channels // 2, 2, -1, 2, 2)
    words = grouped.transpose(0, 2, 4, 3, 1)
    return np.ascontiguousarray(words).reshape(channels // 2, -1).view("<i4")


def channel_pairs(columns: np.ndarray) -> np.ndarray:
    """Weights [taps, channels] as words of two int16, [channels / 4, taps, 2]: channels (0, 2), (1, 3) of each four."""
    taps, channels = columns.shape
    grouped = columns.astype(np.int16).reshape(taps, channels // 4, 2, 2)  # channel = 2 * upper + odd
    return np.ascontiguousarray(grouped.transpose(1, 0, 3, 2)).reshape(channels // 4, taps, 4).view("<i4")
