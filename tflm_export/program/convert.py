# SPDX-License-Identifier: Apache-2.0
"""Numbers in another type: cut to it, and over the border between integers and real numbers."""

import dataclasses

import numpy as np

from tflm_export.program.form import Broadcasting, centred


class Cast(Broadcasting):
    """The same numbers in another type; integers are cut to their low bits."""

    def evaluate(self, x):
        return (x.astype(self.output.dtype),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class QuantizeReal(Broadcasting):
    """`y = Zy + round(x / Sy)`, halves away from zero, saturated, from float32; what is no number gives Zy.

    Attributes:
      scale: Sy.
      zero_point: Zy.
    """

    scale: float
    zero_point: int

    def evaluate(self, x):
        """Source: AffineQuantize in tensorflow/lite/kernels/internal/reference/quantize.h.

        What that leaves undefined is as Arm cores compute it, which saturate, and make 0 of what is no number.
        """
        with np.errstate(over="ignore"):  # of float32, which is infinite then
            quotient = x / np.float32(self.scale)
        integers = np.copysign(np.floor(np.abs(quotient.astype(np.float64)) + 0.5), quotient)
        integers = np.where(np.isnan(quotient), 0, integers)
        return (self.saturated(integers + self.zero_point),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dequantize(Broadcasting):
    """`y = Sx * (x - Zx)` in float32, from a float64 product.

    Attributes:
      scale: Sx.
      zero_point: Zx.
    """

    scale: float
    zero_point: int

    def evaluate(self, x):
        """Source: Dequantize in tensorflow/lite/kernels/internal/reference/dequantize.h."""
        return ((np.float64(self.scale) * centred(x, self.zero_point)).astype(np.float32),)
