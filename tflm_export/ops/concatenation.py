# SPDX-License-Identifier: Apache-2.0
"""CONCATENATION: tensors side by side; of uint8 `y = Zy + Si/Sy * (x - Zi)` where scales are unequal."""

import numpy as np

from tflm_export import rescale
from tflm_export.arithmetic import Arithmetic
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.options import ConcatenationOptions
from tflm_export.ops.activations import fused_activation
from tflm_export.ops.base import Declaration, activation_problem, quantized_keys, register
from tflm_export.ops.data_movement import scales_are_equal, tied
from tflm_export.ops.summed import SummedOp
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.move import joined
from tflm_export.program.requantize import Requantize
from tflm_export.program.value import INTEGER_TYPES, Value, dtype_of, value_of


@register("CONCATENATION")
class Concatenation(SummedOp):
    """One scale for all where the file has one scale for all. Unequal scales:

    - uint8: LiteRT rescales every input whose scale or zero point is not the output's, in float32. Each has a factor
      Si/Sy. TFLM has no uint8 kernel.
    - int8: LiteRT and TFLM refuse the model.
    - int16: both copy the integers, whatever the scales say.
    """

    def terms(self, operator):
        return operator.inputs

    def declare(self, operator, graph):
        if scales_are_equal(operator):
            return tied(operator, graph)
        reason = _unequal_reason(operator)
        return Declaration(pins=quantized_keys(operator), reason=reason) if reason else super().declare(operator, graph)

    def problem(self, operator, graph):
        return activation_problem(*operator.inputs, operator.outputs[0], types=("UINT8",))

    def factors(self, operator):
        if None in operator.inputs or scales_are_equal(operator):
            return None
        return super().factors(operator)

    def lower(self, operator, arithmetic):
        """Source: ConcatenationWithScaling in tensorflow/lite/kernels/internal/reference/concatenation.h."""
        y = operator.outputs[0]
        axis = operator.option(ConcatenationOptions.AXIS) % len(y.shape)
        if y.type != "UINT8" or not y.is_quantized or scales_are_equal(operator):
            return (joined([value_of(t) for t in operator.inputs], value_of(y), axis),)
        rescaled = _in_float32 if arithmetic.rescales_bytes_in_float32 else _in_integers
        forms = [rescaled(t, y, i, arithmetic) for i, t in enumerate(operator.inputs)]
        return (*forms, joined([form.output for form in forms], value_of(y), axis))

    def lowering_problem(self, operator):
        tensors = (*operator.inputs, *operator.outputs)
        types = sorted({t.type for t in tensors if t is not None})
        if None in tensors or len(types) != 1 or types[0] not in (*INTEGER_TYPES, "FLOAT32"):
            return f"{' and '.join(types)} operands are not simulated"
        quantized = [t for t in tensors if t.is_quantized]
        if len(quantized) not in (0, len(tensors)) or any(t.quantization.scale.values.size > 1 for t in quantized):
            return "operands with and without one scale each are not simulated"
        if types[0] == "INT8" and not scales_are_equal(operator):
            return _unequal_reason(operator)
        rank = len(operator.outputs[0].shape)
        if not -rank <= operator.option(ConcatenationOptions.AXIS) < rank:
            return f"axis {operator.option(ConcatenationOptions.AXIS)} is outside its {rank} dimensions"
        activation = fused_activation(operator, ConcatenationOptions.ACTIVATION)
        return "" if activation == "NONE" else f"a fused activation {activation} is not simulated"


def _unequal_reason(operator: Operator) -> str:
    """Why the runtimes do not rescale inputs of unequal scales; empty for uint8."""
    kind = operator.outputs[0].type
    if kind == "UINT8":
        return ""
    if kind == "INT16":
        return "its inputs and output have unequal scales, and the runtimes copy int16 integers without a rescale"
    return f"its inputs and output have unequal scales, which LiteRT and TFLM refuse for {kind}"


def _rescaled_value(x: Tensor, y: Tensor, position: int) -> Value:
    return Value((y.key, position), np.dtype(dtype_of(y)), x.shape, x.name)


def _in_float32(x: Tensor, y: Tensor, position: int, arithmetic: Arithmetic) -> Lookup:
    integers = every_integer(dtype_of(x))
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        scale = np.float32(x.scale) * (np.float32(1) / np.float32(y.scale))
        bias = np.float32(-x.zero_point) * scale
        real = (integers.astype(np.float32) * scale + bias).astype(np.float64)
        integers = np.clip(np.copysign(np.floor(np.abs(real) + 0.5), real) + y.zero_point, 0, 255)
    table = integers.astype(dtype_of(y))
    return Lookup(inputs=(value_of(x),), outputs=(_rescaled_value(x, y, position),), table=table)


def _in_integers(x: Tensor, y: Tensor, position: int, arithmetic: Arithmetic) -> Requantize:
    same = (x.scale, x.zero_point) == (y.scale, y.zero_point)
    factor = rescale.effective_scale(x.scale, 1.0, y.scale)
    return Requantize(
        inputs=(value_of(x),),
        outputs=(_rescaled_value(x, y, position),),
        input_zero_point=x.zero_point,
        rescale=rescale.IDENTITY if same else arithmetic.rescale(factor),
        zero_point=y.zero_point,
        clamp=value_of(y).limits,
    )
