# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution of any kernel, stride and dilation on planes of int16, for cores with the DSP extension.

A plane is one channel of the image with its padding, widened to int16, rows at even distances: a word is two inputs
that are next to one another, and no load is unaligned. Of the window of an output, words that lie wholly in it take one
SMLAD, the others one SMLAxy. Four outputs that are next to one another are summed up at a time, so that each word is
loaded once for all of them; what words and taps meet is known at export, and no instruction of the loop is spent on it.

Weights are words of two taps, from records of bytes. At an odd stride windows begin at either half of a word, and taps are paired both ways:
(0, 1), (1, 2), (2, 3) and so on; at an even stride, or with dilation, as (0, 1), (2, 3). They stay in registers where
there are at most six of them, as of 3x3 kernels; else they are loaded for every four outputs, in pieces of four words.

An image may lie on its side in the plane: rows of four outputs and more take the fewest cycles, and so do 1 x k kernels.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from tflm_export.c.dsp_plane_loop import RESIDENT, STREAMED, PlaneLoop, Word
from tflm_export.c.epilogue import FoldedRescale
from tflm_export.c.initializer import initializer
from tflm_export.c.tiles import Layout
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis

_STRIP = 4096  # bytes of a plane that is not cut into strips, about
_SUM_BYTES = 4
# Cycles, about: of a row of a strip and of an element of it that is copied; of a channel of a strip.
_COPIED_ROW, _COPIED, _CHANNEL = 14, 3.5, 90


@dataclasses.dataclass(frozen=True)
class DspPlanes:
    """How a layer goes plane by plane.

    Attributes:
      form: the layer.
      given, made: where its inputs and outputs are.
      end: of its kernel: "SHIFT", "MULTIPLY", "STOCK" or "SUM".
      transposed: whether the image lies on its side.
    """

    form: WeightedSum
    given: Layout
    made: Layout
    end: str
    transposed: bool

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Windows along the rows and the columns of a plane."""
        windows = self.form.windows
        return (windows.width, windows.height) if self.transposed else (windows.height, windows.width)

    @property
    def pitch(self) -> int:
        """Elements from row to row of the plane."""
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
        """The kernel."""
        rows, columns = self.axes
        row, column = self._steps(self.made)
        if self.end == "SUM":
            row, column = _SUM_BYTES * columns.output, _SUM_BYTES
        down = 2 * self.pitch
        return PlaneLoop(
            self.end, rows.kernel, self.pieces, columns.stride, columns.dilation, rows.dilation * down,
            rows.stride * down, columns.output, row, column,
        )  # fmt: skip

    @property
    def strip(self) -> int:
        """Rows of output that are computed before the next rows of input are copied."""
        rows, _ = self.axes
        fitting = _STRIP // (2 * self.pitch) - _reach(rows)
        strips = -(-rows.output // max(1, fitting // rows.stride + 1))
        return -(-rows.output // strips)

    @property
    def height(self) -> int:
        """Rows of a strip of the plane."""
        rows, _ = self.axes
        return rows.padded if self.strip == rows.output else (self.strip - 1) * rows.stride + _reach(rows)

    @property
    def scratch(self) -> int:
        """Bytes of a strip, and of the sums that the caller ends."""
        sums = _SUM_BYTES * self.axes[1].output if self.end == "SUM" else 0
        return 2 * self.height * self.pitch + sums

    @property
    def cycles(self) -> float:
        """Of the layer, about."""
        rows, columns = self.axes
        channels, inputs = self.form.channels, self.form.input_channels
        strips = -(-rows.output // self.strip)
        copied = strips * min(self.height, rows.size)
        loop = self.loop
        computing = strips * (_CHANNEL + loop.bytes_words) + rows.output * loop.row_cycles
        copying = copied * (_COPIED_ROW + _COPIED * columns.size)
        return self.form.image_shape[0] * (inputs * copying + channels * computing)

    @property
    def kernel(self) -> str:
        """Its name."""
        rows, columns = self.axes
        loop = self.loop
        sizes = (
            rows.kernel, columns.kernel, rows.stride, columns.stride, rows.dilation, columns.dilation, self.pitch,
            columns.output, loop.output_row, loop.output_column,
        )  # fmt: skip
        return "_".join(["narrow_plane", self.end.lower(), *map(str, sizes)])

    def definition(self) -> str:
        """The lines of C that make the kernel."""
        rows, columns = self.axes
        loop = self.loop
        piece = len({tap for word in self.pieces[0] for tap in word if tap is not None})
        overlap = int(len(self.pieces[0]) > 1 and self.pieces[0][0][1] == self.pieces[0][1][0])
        sizes = (
            rows.kernel, columns.kernel, loop.row_words, piece, overlap, loop.tap_row // 2, columns.dilation, loop.stride_row // 2,
            columns.stride, columns.output, loop.output_row, loop.output_column,
        )  # fmt: skip
        return definition(self.kernel, self.end, sizes, loop.assembly())

    def records(self, folded: FoldedRescale, taps: np.ndarray) -> np.ndarray:
        """[channels, words]: what the kernel reads for each channel.

        Args:
          folded: the layer's rescale.
          taps: int8 [height * width of the window, channels].
        """
        windows = self.form.windows
        weights = taps.reshape(windows.height.kernel, windows.width.kernel, -1).astype(np.int8)
        weights = weights.swapaxes(0, 1) if self.transposed else weights
        none, loop = weights.shape[1], self.loop
        order = [none if tap is None else tap for piece in self.pieces for word in piece for tap in word]
        order += [none] * (2 * loop.row_words - len(order))
        halves = np.pad(weights, ((0, 0), (0, 1), (0, 0)))[:, order].transpose(2, 0, 1).reshape(len(folded.start), -1)
        halves = np.pad(halves, ((0, 0), (0, 4 * loop.bytes_words - halves.shape[1])))
        # [channels, words of four bytes, words of two weights, lower and upper]
        words = np.ascontiguousarray(halves.reshape(len(halves), -1, 2, 2).swapaxes(2, 3)).reshape(len(halves), -1)
        fields = [folded.start, folded.shift, folded.multiplier, folded.fold][: loop.fields]
        return np.concatenate([np.stack([f.astype(np.int32) for f in fields], 1), words.view("<i4")], 1)

    def statement(self, folded: FoldedRescale) -> str:
        """The narrow_plane_layer."""
        rows, columns = self.axes
        row, column = self._steps(self.given)
        output_row, output_column = self._steps(self.made)
        loop = self.loop
        fields = {
            "kernel": self.kernel, "records": "records", "record": loop.fields + loop.bytes_words,
            "images": self.form.image_shape[0], "channels": self.form.input_channels,
            "multiplier": self.form.channels // self.form.input_channels, "padding": self.form.input_zero_point,
            "rows": rows.size, "columns": columns.size, "row": row, "column": column, "channel": self.given.channel,
            "image": self.given.image, "height": self.height, "pitch": self.pitch, "top": rows.before,
            "left": columns.before, "stride": rows.stride, "strip": self.strip, "output_rows": rows.output,
            "output_columns": columns.output, "output_row": output_row, "output_column": output_column,
            "output_channel": self.made.channel, "output_image": self.made.image, "end": folded.sums_end,
            "rescale": 0 if folded.in_assembly else "&rescale",
        }  # fmt: skip
        return f"const narrow_plane_layer layer = {initializer(fields)};"

    def _steps(self, layout: Layout) -> tuple[int, int]:
        """Bytes from row to row and from column to column of the plane, in an image of this layout."""
        width = self.form.windows.width
        across = (layout.pixel * (width.output if layout is self.made else width.size), layout.pixel)
        return across[::-1] if self.transposed else across


def dsp_planes(form: WeightedSum, given: Layout, made: Layout, folded: FoldedRescale | None = None) -> DspPlanes | None:
    """How a layer with one input channel for each output goes plane by plane, the faster way round.

    Args:
      form: the layer.
      given, made: where its inputs and outputs are.
      folded: its rescale, None where only the shape matters.

    Returns:
      None where no way round has offsets that fit the instructions.
    """
    end = "SUM" if folded is None or not folded.in_assembly else folded.epilogue.value.upper()
    ways = [DspPlanes(form, given, made, end, transposed) for transposed in (False, True)]
    return min((way for way in ways if way.loop.fits), key=lambda way: way.cycles, default=None)


def definition(name: str, end: str, sizes: Iterable[int], assembly: Iterable[str]) -> str:
    """The lines of C that make a plane kernel of a name, from the arguments of its macro and its instructions."""
    head = f"NARROW_DEPTHWISE_CONV_2D_PLANES_DSP({name}, {end}, {', '.join(map(str, sizes))},"
    return "\n".join([head, *(f'  "{line}\\n"' for line in assembly)]) + ")"


def _words(taps: range, overlap: bool) -> tuple[Word, ...]:
    """Taps that are next to one another in words."""
    if overlap and len(taps) > 1:
        return tuple(itertools.pairwise(taps))
    return tuple((tap, tap + 1 if tap + 1 in taps else None) for tap in taps[::2])


def _reach(axis: Axis) -> int:
    """Elements from the first to the last tap of a window, both of them counted."""
    return (axis.kernel - 1) * axis.dilation + 1
