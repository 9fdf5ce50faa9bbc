# SPDX-License-Identifier: Apache-2.0
"""ADD: `y = Zy + round(Sa/Sy * (a - Za) + Sb/Sy * (b - Zb))`, rounded once."""

from tflm_export.ops.base import register
from tflm_export.ops.summed import TermsOp


@register("ADD")
class Add(TermsOp):
    """Elementwise addition, broadcasting and constants included.

    The stock kernels spend three multipliers on it, Sa and Sb over twice the larger and a common one to Sy; a kernel
    that sums exactly before its one rounding needs just the two factors.
    """
