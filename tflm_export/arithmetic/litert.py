# SPDX-License-Identifier: Apache-2.0
"""LiteRT's reference kernels (OpResolverType.BUILTIN_REF): 31-bit multipliers, rounded as each kernel does."""

import numpy as np

from tflm_export.arithmetic.tflm import StockArithmetic
from tflm_export.rescale import RealRescale


class LiteRTReference(StockArithmetic):
    """LiteRT's reference kernels."""

    scale_type = np.float32
    table_type = np.float64
    has_float32_products = True
    sums_bytes = True
    rescales_bytes_in_float32 = True
    has_fixed_point_gates = True

    def rescale_dense(self, factor, is_wide=False):
        """Its kernel (2.3) has no integer multiplier: it rounds a float64 product of the real factor."""
        return RealRescale(factor)
