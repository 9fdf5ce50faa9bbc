# SPDX-License-Identifier: Apache-2.0
"""L2_NORMALIZATION over the last dimension, in fixed point."""

from tflm_export.ops.base import one, register
from tflm_export.ops.fixed import FixedFunction
from tflm_export.program.normalization import Normalization

_OUTPUT_BITS = 7  # fraction bits of the output


@register("L2_NORMALIZATION")
class L2Normalization(FixedFunction):
    """x over the root of the sum of its squares, at the scale 1/128; the input's scale does not matter."""

    def lower(self, operator, arithmetic):
        """uint8 kernels multiply by 128 before the rescale, int8 kernels shift within it."""
        x, y = operator.inputs[0], operator.outputs[0]
        before = _OUTPUT_BITS if y.type == "UINT8" else 0
        return one(
            Normalization,
            operator,
            (x,),
            input_zero_point=x.zero_point,
            left_shift=before,
            right_shift=31 - (_OUTPUT_BITS - before),
            zero_point=y.zero_point,
        )

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in ("INT8", "UINT8") or y.type != x.type or None in (x.quantization, y.quantization):
            return f"{x.type} to {y.type} is not simulated"
        if not x.shape or x.shape[-1] >= 1 << 15:
            return f"rows of shape {list(x.shape)} are not simulated"
        return ""
