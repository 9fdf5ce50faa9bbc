"""L2_NORMALIZATION over the last dimension, in fixed point."""

from tflm_export import rescale
from tflm_export.fixed_point import inverse_square_root
from tflm_export.ops.base import register
from tflm_export.ops.context import centred, emit
from tflm_export.ops.fixed import FixedFunction

_OUTPUT_BITS = 7  # fraction bits of the output


@register("L2_NORMALIZATION")
class L2Normalization(FixedFunction):
    """x over the root of the sum of its squares, at the scale 1/128; the input's scale does not matter."""

    def run(self, operator, inputs, context):
        """uint8 kernels multiply by 128 before the rescale, int8 kernels shift within it.

        Source: tensorflow/lite/kernels/internal/reference/l2normalization.h and integer_ops/l2normalization.h.
        """
        y = operator.outputs[0]
        x = centred(operator.inputs[0], inputs[0])
        multiplier, shift = inverse_square_root((x * x).sum(-1, keepdims=True))
        before = _OUTPUT_BITS if y.type == "UINT8" else 0
        factor = rescale.Rescale(multiplier, shift + 31 - (_OUTPUT_BITS - before))
        return [emit(y, rescale.multiply_by_quantized_multiplier_double(x << before, factor))]

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in ("INT8", "UINT8") or y.type != x.type or None in (x.quantization, y.quantization):
            return f"{x.type} to {y.type} is not simulated"
        if not x.shape or x.shape[-1] >= 1 << 15:
            return f"rows of shape {list(x.shape)} are not simulated"
        return ""

    def mixes_rows(self, operator):
        return len(operator.inputs[0].shape) < 2
