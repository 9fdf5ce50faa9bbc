# SPDX-License-Identifier: Apache-2.0
"""SUB: `y = Zy + round(Sa/Sy * (a - Za) - Sb/Sy * (b - Zb))`."""

from tflm_export.flatbuffer.options import SubOptions
from tflm_export.ops.base import register
from tflm_export.ops.summed import TermsOp


@register("SUB")
class Sub(TermsOp):
    """Elementwise subtraction; as ADD with the sign of the second term turned after its rescale.

    Source: SubFunc in tensorflow/lite/kernels/internal/reference/sub.h.
    """

    options = SubOptions
    sign = -1
