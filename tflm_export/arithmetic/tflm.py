# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite Micro: 31-bit multipliers, two roundings."""

import dataclasses

import numpy as np

from tflm_export.arithmetic.base import Arithmetic, Target, Terms
from tflm_export.program.aligned_sum import RescaledSum
from tflm_export.program.reduction import Total, count_along


class StockArithmetic(Arithmetic):
    """What TFLM's and LiteRT's kernels have in common."""

    def sum(self, terms: Terms, target: Target) -> RescaledSum:
        """Both terms times 2**20 (int16: 2**15), to twice the larger scale, added, to the output's scale.

        In float64 throughout. (TFLM's sources of August 2026 divide the scales of SUB in float32; its wheel of October
        2026 computes as written here.)
        """
        left_shift = 15 if target.value.dtype == np.int16 else 20
        twice = 2 * max(terms.scales)
        first, second = (self.stock(scale / twice) for scale in terms.scales)
        return RescaledSum(
            inputs=terms.values,
            outputs=(target.value,),
            zero_points=terms.zero_points,
            left_shift=left_shift,
            signs=terms.signs,
            to_common=(first, second),
            to_output=self.stock(twice / ((1 << left_shift) * target.scale)),
            zero_point=target.zero_point,
            clamp=target.clamp,
        )

    def mean(self, x, axes, zero_point, factor, target) -> Total:
        """The 31-bit factor over the count, truncated, with as many more bits as the count has.

        Source: QuantizedMeanOrSum in tensorflow/lite/kernels/internal/reference/reduce.h.
        """
        stock = self.stock(factor)
        count = count_along(x, axes)
        shift = min(count.bit_length() - 1, 32, 62 - int(stock.shift))
        return Total(
            inputs=(x,),
            outputs=(target.value,),
            axes=axes,
            input_zero_point=zero_point,
            rescale=dataclasses.replace(
                stock, multiplier=(stock.multiplier << shift) // count, shift=stock.shift + shift
            ),
            zero_point=target.zero_point,
        )


class Tflm(StockArithmetic):
    """TensorFlow Lite Micro."""

    keeps_scale_of_relu6 = True
