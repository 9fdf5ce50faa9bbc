# SPDX-License-Identifier: Apache-2.0
"""Products of two values, element by element."""

import dataclasses

import numpy as np

from tflm_export.program.form import Broadcasting, Rescaling, centred, lined_up, reach
from tflm_export.rescale import Rescaler


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Product(Broadcasting):
    """`y = Zy + rescale((a - Za) * (b - Zb))`, clamped; shapes broadcast.

    Attributes:
      zero_points: Za and Zb.
      rescale: of the product.
      zero_point: Zy.
      clamp: smallest and largest output.
    """

    zero_points: tuple[int, int]
    rescale: Rescaler
    zero_point: int
    clamp: tuple[int, int]

    def evaluate(self, *inputs):
        (products,) = self.accumulators(*inputs)
        return (self.saturated(self.rescale.apply(products) + self.zero_point, self.clamp),)

    def accumulators(self, *inputs):
        rank = len(self.output.shape)
        a, b = (lined_up(centred(x, zero), rank) for x, zero in zip(inputs, self.zero_points, strict=True))
        return (a * b,)

    @property
    def rescalings(self):
        a, b = (reach(value, zero) for value, zero in zip(self.inputs, self.zero_points, strict=True))
        return (Rescaling(self.rescale, np.array([float(a) * b])),)
