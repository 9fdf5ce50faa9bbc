# SPDX-License-Identifier: Apache-2.0
"""AVERAGE_POOL_2D and MAX_POOL_2D: windows of integers at one scale."""

from tflm_export.flatbuffer.options import Pool2DOptions
from tflm_export.ops.activations import clamp_of, fused_activation
from tflm_export.ops.base import one, register
from tflm_export.ops.data_movement import DataMovement
from tflm_export.ops.windows import windows
from tflm_export.program.pool import AveragePool, MaxPool, Pool


class _Pool2D(DataMovement):
    form: type[Pool]

    def lower(self, operator, arithmetic):
        x, y = operator.inputs[0], operator.outputs[0]
        kernel = (operator.option(Pool2DOptions.FILTER_HEIGHT), operator.option(Pool2DOptions.FILTER_WIDTH))
        view = windows(operator, Pool2DOptions, x.shape, kernel, dilated=False)
        if y.shape != (x.shape[0], view.height.output, view.width.output, x.shape[3]):
            raise ValueError(f"{view.height.output} x {view.width.output} windows are no {list(y.shape)}")
        clamp = clamp_of(y, fused_activation(operator, Pool2DOptions.ACTIVATION))
        return one(self.form, operator, (x,), windows=view, clamp=clamp)

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in ("INT8", "UINT8", "INT16") or y.type != x.type or None in (x.quantization, y.quantization):
            return f"{x.type} to {y.type} is not simulated"
        return ""


@register("AVERAGE_POOL_2D")
class AveragePool2D(_Pool2D):
    """Rounded mean of the window's part inside the image."""

    form = AveragePool


@register("MAX_POOL_2D")
class MaxPool2D(_Pool2D):
    """Largest integer of the window."""

    form = MaxPool
