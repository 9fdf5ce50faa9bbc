# SPDX-License-Identifier: Apache-2.0
"""Products of two matrices that are both computed."""

import dataclasses

import numpy as np

from tflm_export.program.form import Form, Rescaling, centred, exact_product, lined_up, reach, wrapped
from tflm_export.rescale import Rescaler


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MatrixProduct(Form):
    """`y = Zy + rescale((a - Za) @ (b - Zb) + bias)`, clamped; leading dimensions broadcast.

    Attributes:
      transposed: whether the last two dimensions of a, and those of b, change places first.
      zero_points: Za and Zb.
      bias: int64 [columns of b], or [1].
      rescale: of the sums.
      zero_point: Zy.
      clamp: smallest and largest output.
      is_wide: whether sums have 64 bits; else they have 32, which wrap.
    """

    transposed: tuple[bool, bool]
    zero_points: tuple[int, int]
    bias: np.ndarray
    rescale: Rescaler
    zero_point: int
    clamp: tuple[int, int]
    is_wide: bool = False

    def evaluate(self, a, b):
        (sums,) = self.accumulators(a, b)
        outputs = self.saturated(self.rescale.apply(sums) + self.zero_point, self.clamp)
        return (outputs.reshape(len(outputs), *self.output.shape),)

    def accumulators(self, a, b):
        rank = max(a.ndim, b.ndim) - 1
        a, b = (
            m.swapaxes(-1, -2) if transposed else m
            for m, transposed in zip(
                (lined_up(centred(x, zero, np.int32), rank) for x, zero in zip((a, b), self.zero_points, strict=True)),
                self.transposed,
                strict=True,
            )
        )
        sums = exact_product(a, b) + self.bias
        return (sums if self.is_wide else wrapped(sums),)

    @property
    def multiplications(self):
        return self.output.size * self.inputs[0].shape[-2 if self.transposed[0] else -1]

    @property
    def rescalings(self):
        a, b = (reach(value, zero) for value, zero in zip(self.inputs, self.zero_points, strict=True))
        shape = self.inputs[0].shape
        count = max(1, shape[-2 if self.transposed[0] else -1])
        bound = float(a) * b * count + float(np.abs(self.bias.astype(np.float64)).max(initial=0))
        return (Rescaling(self.rescale, np.array([bound])),)
