"""CONCATENATION: tensors side by side; of uint8 `y = Zy + Si/Sy * (x - Zi)` where scales are unequal."""

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import ConcatenationOptions
from tflm_export.ops.base import Declaration, activation_problem, quantized_keys, reach, register, rounded_apart
from tflm_export.ops.context import INTEGER_TYPES, Rounding, centred, emit, fused_activation
from tflm_export.ops.data_movement import scales_are_equal, tied
from tflm_export.ops.summed import SummedOp


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

    def worst_case(self, operator, bits):
        """Every input has its own rounding."""
        reaches = np.array([reach(t) for t in operator.inputs], np.float64)
        return rounded_apart(reaches, self.factors(operator), bits)

    def run(self, operator, inputs, context):
        """Source: ConcatenationWithScaling in tensorflow/lite/kernels/internal/reference/concatenation.h."""
        y = operator.outputs[0]
        if context.rows:
            inputs = [np.broadcast_to(x, (context.rows, *x.shape[1:])) for x in inputs]
        if y.type == "UINT8" and y.is_quantized:
            rescaled = _in_float32 if context.rounding is Rounding.TFLITE else _in_integers
            inputs = [
                x if (t.scale, t.zero_point) == (y.scale, y.zero_point) else rescaled(t, x, y, context)
                for t, x in zip(operator.inputs, inputs, strict=True)
            ]
        return [np.concatenate(inputs, operator.option(ConcatenationOptions.AXIS))]

    def simulation_problem(self, operator):
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

    def mixes_rows(self, operator):
        return operator.option(ConcatenationOptions.AXIS) % len(operator.outputs[0].shape) == 0


def _unequal_reason(operator: Operator) -> str:
    """Why the runtimes do not rescale inputs of unequal scales; empty for uint8."""
    kind = operator.outputs[0].type
    if kind == "UINT8":
        return ""
    if kind == "INT16":
        return "its inputs and output have unequal scales, and the runtimes copy int16 integers without a rescale"
    return f"its inputs and output have unequal scales, which LiteRT and TFLM refuse for {kind}"


def _in_float32(tensor, x, y, context) -> np.ndarray:
    scale = np.float32(tensor.scale) * (np.float32(1) / np.float32(y.scale))
    bias = np.float32(-tensor.zero_point) * scale
    real = (x.astype(np.float32) * scale + bias).astype(np.float64)
    return emit(y, np.copysign(np.floor(np.abs(real) + 0.5), real))


def _in_integers(tensor, x, y, context) -> np.ndarray:
    return emit(y, context.requantize(centred(tensor, x), rescale.effective_scale(tensor.scale, 1.0, y.scale)))
