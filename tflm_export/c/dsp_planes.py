# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution of any kernel, stride and dilation on planes of int16, for cores with the DSP extension.

A plane is one channel of the image with its padding, widened to int16, rows at even distances: a word is two inputs
that are next to one another, and no load is unaligned. Of the window of an output, words that lie wholly in it take one
SMLAD, the others one SMLAxy. Four outputs that are next to one another are summed up at a time, so that each word is
loaded once for all of them; what words and taps meet is known at export, and no instruction of the loop is spent on it.

Weights are words of two taps, from records of bytes. At an odd stride windows begin at either half of a word, and taps
are paired both ways: (0, 1), (1, 2), (2, 3) and so on; at an even stride, or with dilation, as (0, 1), (2, 3). They
stay in registers where there are at most six of them, as of 3x3 kernels; else they are loaded for every four outputs,
in pieces of four words.
"""

import itertools

import numpy as np

from tflm_export.c.dsp_plane_loop import RESIDENT, STREAMED, PlaneLoop, Word
from tflm_export.c.epilogue import FoldedRescale
from tflm_export.c.plane_walk import PlaneWalk, strip_kernel
from tflm_export.c.tiles import Layout
from tflm_export.program.weighted_sum import WeightedSum


class DspPlanes(PlaneWalk):
    """How a layer goes plane by plane: planes of int16."""

    header, kind = "narrow_depthwise_conv_2d_planes_dsp.h", "NARROW_PLANE_INT16"
    element = 2
    channel_cycles, row_cycles, element_cycles = 90, 14, 3.5

    @property
    def pitch(self) -> int:
        return self.axes[1].padded + 1 & ~1

    @property
    def pieces(self) -> tuple[tuple[Word, ...], ...]:
        """The taps in the words of a row of the kernel."""
        rows, columns = self.axes
        overlap = columns.stride % 2 == 1 and columns.dilation == 1 and columns.kernel > 1
        whole = _words(range(columns.kernel), overlap)
        if rows.kernel * len(whole) <= len(RESIDENT):
            return (whole,)
        taps = len(STREAMED) + 1 if overlap else 2 * len(STREAMED)
        starts = range(0, columns.kernel, taps)
        return tuple(_words(range(start, min(start + taps, columns.kernel)), overlap) for start in starts)

    @property
    def loop(self) -> PlaneLoop:
        rows, columns = self.axes
        down = 2 * self.pitch
        return PlaneLoop(
            self.end, rows.kernel, self.pieces, columns.stride, columns.dilation, rows.dilation * down,
            rows.stride * down, columns.output, *self.output_steps,
        )  # fmt: skip

    def definitions(self) -> list[str]:
        rows, columns = self.axes
        loop = self.loop
        piece = len({tap for word in self.pieces[0] for tap in word if tap is not None})
        overlap = int(len(self.pieces[0]) > 1 and self.pieces[0][0][1] == self.pieces[0][1][0])
        sizes = (
            rows.kernel, columns.kernel, loop.row_words, piece, overlap, loop.tap_row // 2, columns.dilation,
            loop.stride_row // 2, columns.stride, columns.output, *self.output_steps,
        )  # fmt: skip
        return [strip_kernel("NARROW_DEPTHWISE_CONV_2D_PLANES_DSP", self.kernel, self.end, sizes, loop.assembly())]

    def layer(self, records: np.ndarray) -> str:
        return self.statement(records)

    def records(self, columns: np.ndarray) -> np.ndarray:
        weights, loop = self.taps(columns), self.loop
        none = weights.shape[1]
        order = [none if tap is None else tap for piece in self.pieces for word in piece for tap in word]
        order += [none] * (2 * loop.row_words - len(order))
        halves = np.pad(weights, ((0, 0), (0, 1), (0, 0)))[:, order].transpose(2, 0, 1).reshape(columns.shape[1], -1)
        halves = np.pad(halves, ((0, 0), (0, 4 * loop.bytes_words - halves.shape[1])))
        # [channels, words of four bytes, words of two weights, lower and upper]
        words = np.ascontiguousarray(halves.reshape(len(halves), -1, 2, 2).swapaxes(2, 3)).reshape(len(halves), -1)
        return np.concatenate([self.fields(), words.view("<i4")], 1)


def dsp_planes(form: WeightedSum, given: Layout, made: Layout, folded: FoldedRescale | None = None) -> DspPlanes | None:
    """How a layer with one input channel for each output goes plane by plane, the faster way round.

    Args:
      form: the layer.
      given, made: where its inputs and outputs are.
      folded: its rescale, None where only the shape matters.

    Returns:
      None where no way round has offsets that fit the instructions.
    """
    ways = [DspPlanes(form, given, made, folded, transposed) for transposed in (False, True)]
    return min((way for way in ways if way.loop.fits), key=lambda way: way.cycles, default=None)


def _words(taps: range, overlap: bool) -> tuple[Word, ...]:
    """Taps that are next to one another in words."""
    if overlap and len(taps) > 1:
        return tuple(itertools.pairwise(taps))
    return tuple((tap, tap + 1 if tap + 1 in taps else None) for tap in taps[::2])
