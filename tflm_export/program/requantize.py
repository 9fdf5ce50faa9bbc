# SPDX-License-Identifier: Apache-2.0
"""One value at another scale: a rescale for numbers above zero and one for those below."""

import dataclasses

import numpy as np

from tflm_export.program.form import Broadcasting, Rescaling, centred, lined_up, reach
from tflm_export.rescale import Rescaler


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Requantize(Broadcasting):
    """`y = Zy + rescale(x - Zx)`, clamped; below zero the other rescale, where there is one.

    Attributes:
      input_zero_point: Zx.
      rescale: of what is not negative, or of all.
      below: of what is negative; None where it is the same.
      below_sign: -1 where the slope below is negative.
      zero_point: Zy.
      clamp: smallest and largest output.
    """

    input_zero_point: int
    rescale: Rescaler
    below: Rescaler | None = None
    below_sign: int = 1
    zero_point: int
    clamp: tuple[int, int]

    def evaluate(self, x):
        x = self.accumulators(x)[0]
        integers = self.rescale.apply(x)
        if self.below is not None:
            integers = np.where(x >= 0, integers, self.below_sign * self.below.apply(x))
        return (self.saturated(integers + self.zero_point, self.clamp),)

    def accumulators(self, x):
        return (centred(x, self.input_zero_point),) * (1 if self.below is None else 2)

    @property
    def rescalings(self):
        bound = np.array([float(reach(self.inputs[0], self.input_zero_point))])
        return tuple(Rescaling(r, bound) for r in (self.rescale, self.below) if r is not None)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Prelu(Broadcasting):
    """`y = Zy + above(x - Zx)`, and `Zy + below((x - Zx) * (alpha - Za))` for negative numbers.

    Attributes:
      zero_points: Zx and Za.
      above, below: the rescales.
      zero_point: Zy.
    """

    zero_points: tuple[int, int]
    above: Rescaler
    below: Rescaler
    zero_point: int

    def evaluate(self, *inputs):
        x, products = self.accumulators(*inputs)
        integers = np.where(x >= 0, self.above.apply(x), self.below.apply(products))
        return (self.saturated(integers + self.zero_point),)

    def accumulators(self, *inputs):
        rank = len(self.output.shape)
        x, alpha = (lined_up(centred(v, zero), rank) for v, zero in zip(inputs, self.zero_points, strict=True))
        return x, x * alpha

    @property
    def rescalings(self):
        x, alpha = (reach(value, zero) for value, zero in zip(self.inputs, self.zero_points, strict=True))
        return (
            Rescaling(self.above, np.array([float(x)])),
            Rescaling(self.below, np.array([float(x) * alpha])),
        )
