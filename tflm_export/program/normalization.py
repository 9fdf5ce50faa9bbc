# SPDX-License-Identifier: Apache-2.0
"""Vectors of length one, in fixed point."""

import dataclasses

from tflm_export.fixed_point import inverse_square_root
from tflm_export.program.form import Broadcasting, centred
from tflm_export.rescale import StockRescale


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Normalization(Broadcasting):
    """x over the root of the sum of its squares along the last dimension.

    Attributes:
      input_zero_point: Zx.
      left_shift: of the centred inputs before the rescale.
      right_shift: of the rescale, beyond that of the inverse root.
      zero_point: Zy.
    """

    input_zero_point: int
    left_shift: int
    right_shift: int
    zero_point: int

    def evaluate(self, x):
        """Source: tensorflow/lite/kernels/internal/reference/l2normalization.h and integer_ops/l2normalization.h."""
        x = centred(x, self.input_zero_point)
        multiplier, shift = inverse_square_root((x * x).sum(-1, keepdims=True))
        factor = StockRescale(multiplier, shift + self.right_shift)
        return (self.saturated(factor.apply(x << self.left_shift) + self.zero_point),)
