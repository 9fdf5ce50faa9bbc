# SPDX-License-Identifier: Apache-2.0
"""Cores without a multiplier: products from a table of squares (kernels/narrow_squares.h)."""

import dataclasses

import numpy as np

from tflm_export.c.epilogue import INT32_LIMIT, Epilogue, FoldedRescale
from tflm_export.c.forms import GENERAL
from tflm_export.c.initializer import initializer
from tflm_export.c.portable import Portable, pixels_of, rescale_statement, sums_of, window_statement
from tflm_export.c.step import CStep
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.program import Step
from tflm_export.program.softmax import Softmax
from tflm_export.program.weighted_sum import WeightedSum

_HEADER = "narrow_squares.h"
_PLACE = 4  # bytes of a narrow_square_place
_PIXELS = 2  # NARROW_SQUARES_PIXELS
_LARGEST = 127  # of a weight's magnitude: (-128 - 128)^2 is no uint16
_MOST_SHIFT = 31


class Squares(Portable):
    """Sums of products with constant weights from squares, where bounds allow; all else as on any core."""

    def dense(self, step, folded, rows):
        twice = self._twice(step, folded, rows, 1)
        if twice is None:
            return super().dense(step, folded, rows)
        call = f"narrow_squares_dense(&layer, {pixels_of(step.form)}, x0, y, scratch);"
        return self._layer(step, folded, twice, _pairs(rows), rows.shape[1], (call,), _places(rows.shape[1]))

    def convolution(self, step, folded, rows):
        twice = self._twice(step, folded, rows, 1)
        if twice is None:
            return super().convolution(step, folded, rows)
        inputs = rows.shape[1]
        statements = (window_statement(step.form), "narrow_squares_windows(&window, &layer, x0, y, scratch);")
        return self._layer(step, folded, twice, _pairs(rows), inputs, statements, _places(inputs) + inputs)

    def depthwise(self, step, folded, columns):
        twice = self._twice(step, folded, columns, 0)
        if twice is None:
            return super().depthwise(step, folded, columns)
        form = step.form
        multiplier = form.channels // form.input_channels
        call = f"narrow_squares_depthwise(&window, &layer, {multiplier}, x0, y, scratch);"
        scratch = columns.shape[0] * form.input_channels
        statements = (window_statement(form), call)
        return self._layer(step, folded, twice, columns.astype(np.int8), columns.shape[0], statements, scratch)

    def aligned_sum(self, step):
        """With its factors, powers of two at k = 1, in the code: shifts."""
        return dataclasses.replace(GENERAL[AlignedSum](step), is_general=True)

    def softmax(self, step):
        """With its sizes in the code."""
        return dataclasses.replace(GENERAL[Softmax](step), is_general=True)

    def requantize(self, step):
        return self.table(step)

    def _twice(
        self, step: Step[WeightedSum], folded: FoldedRescale, weights: np.ndarray, axis: int
    ) -> FoldedRescale | None:
        """The rescale as the kernels read it: starts, and a shift that halves; None where squares do not do.

        Args:
          step, folded: the layer.
          weights: without those of dead channels; axis: of a channel's.
        """
        wide = weights.astype(np.int64)
        shifts = folded.shift.astype(np.int64) + (folded.epilogue is Epilogue.SHIFT)
        reach = np.array(sums_of(step.form).reach) + np.abs(folded.start.astype(np.int64))
        if np.abs(wide).max(initial=0) > _LARGEST or 2 * reach.max(initial=0) >= INT32_LIMIT:
            return None
        if folded.epilogue is Epilogue.SHIFT and shifts.max(initial=0) > _MOST_SHIFT:
            return None
        start = 2 * folded.start.astype(np.int64) - (wide**2).sum(axis)
        if (np.abs(start) >= INT32_LIMIT).any():
            return None
        return dataclasses.replace(folded, start=start.astype(np.int32), shift=shifts.astype(np.int8))

    def _layer(
        self, step: Step[WeightedSum], folded: FoldedRescale, twice: FoldedRescale, weights: np.ndarray, inputs: int,
        statements: tuple[str, ...], scratch: int,
    ) -> CStep:  # fmt: skip
        """A layer of narrow_squares.h; statements: behind those that declare it."""
        fields = {
            "weights": "weights", "rescale": "&rescale", "inputs": inputs, "channels": len(twice.start),
            "end": f"NARROW_END_{folded.epilogue.value.upper()}",
        }  # fmt: skip
        layer = f"const narrow_squares_layer layer = {initializer(fields)};"
        constants = {"weights": weights} | twice.constants()
        every = (rescale_statement(twice), layer, *statements)
        return self.clamped(step, every, constants, scratch, _HEADER, folded)


def _pairs(rows: np.ndarray) -> np.ndarray:
    """Weights [channels, inputs] as int8 [pairs, inputs, 2], with zeros up to a multiple of 4 and to whole pairs."""
    channels, inputs = rows.shape
    padded = np.pad(rows, ((0, channels % 2), (0, -inputs % 4)))
    return np.ascontiguousarray(padded.reshape(-1, 2, padded.shape[1]).transpose(0, 2, 1)).astype(np.int8)


def _places(inputs: int) -> int:
    """Bytes of scratch memory for the places of the inputs under the windows that are computed together."""
    return _PLACE * _PIXELS * (inputs + -inputs % 4)
