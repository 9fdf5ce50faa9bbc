"""AVERAGE_POOL_2D and MAX_POOL_2D: windows of integers at one scale."""

import numpy as np

from tflm_export.flatbuffer.options import Pool2DOptions
from tflm_export.ops.base import register
from tflm_export.ops.context import activation_range, fused_activation, saturate
from tflm_export.ops.data_movement import DataMovement
from tflm_export.ops.windows import Windows, windows


class _Pool2D(DataMovement):
    def view(self, operator, x: np.ndarray) -> Windows:
        """The windows."""
        kernel = [operator.option(f) for f in (Pool2DOptions.FILTER_HEIGHT, Pool2DOptions.FILTER_WIDTH)]
        return windows(operator, Pool2DOptions, x.shape, kernel, dilated=False)

    def emit(self, operator, integers: np.ndarray) -> np.ndarray:
        """Clamps to the fused activation's range."""
        y = operator.outputs[0]
        return saturate(y, integers, *activation_range(y, fused_activation(operator, Pool2DOptions.ACTIVATION)))

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in ("INT8", "UINT8", "INT16") or y.type != x.type or None in (x.quantization, y.quantization):
            return f"{x.type} to {y.type} is not simulated"
        return ""


@register("AVERAGE_POOL_2D")
class AveragePool2D(_Pool2D):
    """Rounded mean of the window's part inside the image, halves away from zero, of integers with their zero point."""

    def run(self, operator, inputs, context):
        """Source: AveragePool in tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h."""
        (x,) = inputs
        view = self.view(operator, x)
        padded = view.pad(x.astype(np.int32), 0)
        inside = view.pad(np.ones((1, *x.shape[1:3], 1), np.int32), 0)
        total = sum(view.tap(padded, *tap) for tap in view.taps)
        count = sum(view.tap(inside, *tap) for tap in view.taps)
        magnitude = (np.abs(total) + count // 2) // count
        return [self.emit(operator, np.where(total > 0, magnitude, -magnitude))]


@register("MAX_POOL_2D")
class MaxPool2D(_Pool2D):
    """Largest integer of the window."""

    def run(self, operator, inputs, context):
        """Source: MaxPool in tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h."""
        (x,) = inputs
        view = self.view(operator, x)
        padded = view.pad(x, np.iinfo(x.dtype).min)
        largest = view.tap(padded, 0, 0)
        for tap in view.taps[1:]:
            largest = np.maximum(largest, view.tap(padded, *tap))
        return [self.emit(operator, largest)]
