# SPDX-License-Identifier: Apache-2.0
"""How a runtime turns real factors into integers, rescales and rounds: what operators ask when they become forms."""

import dataclasses

import numpy as np

from tflm_export import rescale
from tflm_export.program.form import Form
from tflm_export.program.reduction import Total
from tflm_export.program.value import Value
from tflm_export.rescale import Rescale, Rescaler


@dataclasses.dataclass(frozen=True)
class Terms:
    """The two terms of a sum, at scales of their own.

    Attributes:
      values: the terms.
      scales: of the terms.
      zero_points: of the terms.
      signs: 1 or -1 for each term.
      factors: float64 [2], each scale over the output's.
    """

    values: tuple[Value, Value]
    scales: tuple[float, float]
    zero_points: tuple[int, int]
    signs: tuple[int, int]
    factors: np.ndarray


@dataclasses.dataclass(frozen=True)
class Target:
    """The output of a form.

    Attributes:
      value: the output.
      scale, zero_point: its quantisation.
      clamp: smallest and largest output.
    """

    value: Value
    scale: float
    zero_point: int
    clamp: tuple[int, int]


class Arithmetic:
    """Base: a runtime with TensorFlow Lite's 31-bit multipliers and two roundings.

    A runtime of its own says what differs. Attributes are facts about its kernels:

    Attributes:
      scale_type: in which kernels of operators without weights divide and multiply scales.
      table_type: in which the tables of int16 functions are filled.
      has_float32_products: whether matrix products of activations multiply their scales in float32.
      keeps_scale_of_relu6: whether RELU6 clamps its input's integers and leaves them at the input's scale.
      sums_bytes: whether SUM takes the bytes of int8 tensors for uint8.
      rescales_bytes_in_float32: whether uint8 CONCATENATION rescales its inputs in float32.
      has_fixed_point_gates: whether gates of an LSTM compute logistic and tanh in 16-bit fixed point and shift their
        products, instead of looking the functions up in a table and rescaling with multipliers.
    """

    scale_type: type = np.float64
    table_type: type = np.float32
    has_float32_products = False
    keeps_scale_of_relu6 = False
    sums_bytes = False
    rescales_bytes_in_float32 = False
    has_fixed_point_gates = False

    def __str__(self) -> str:
        return type(self).__name__

    def rescale(self, factor, is_wide: bool = False) -> Rescaler:
        """The rescale of accumulators by real factors.

        Args:
          factor: float64 of any shape.
          is_wide: whether accumulators have 48 bits, as behind int16 activations, instead of 32.
        """
        if not is_wide:
            return self.stock(factor)
        found = rescale.quantize_multiplier(factor)
        return rescale.WideStockRescale(found.multiplier, found.shift)

    def rescale_dense(self, factor, is_wide: bool = False) -> Rescaler:
        """The rescale of a dense layer's accumulators."""
        return self.rescale(factor, is_wide)

    @staticmethod
    def stock(factor) -> Rescale:
        """A 31-bit factor as the runtime rounds it, two times; also that of functions that are no rescale."""
        found = rescale.quantize_multiplier(factor)
        return rescale.StockRescale(found.multiplier, found.shift)

    def quotient(self, numerator: float, denominator: float) -> float:
        """A factor from two scales."""
        return float(self.scale_type(numerator) / self.scale_type(denominator))

    def product(self, first: float, second: float, denominator: float) -> float:
        """A factor from three scales."""
        real = self.scale_type
        return float(real(first) * real(second) / real(denominator))

    def sum(self, terms: Terms, target: Target) -> Form:
        """ADD and SUB."""
        raise NotImplementedError

    def mean(self, x: Value, axes: tuple[int, ...], zero_point: int, factor: float, target: Target) -> Form:
        """MEAN: a sum with a factor, over the number of its elements."""
        raise NotImplementedError

    def total(self, x: Value, axes: tuple[int, ...], zero_point: int, factor: float, target: Target) -> Total:
        """SUM."""
        return Total(
            inputs=(x,),
            outputs=(target.value,),
            axes=axes,
            input_zero_point=zero_point,
            rescale=self.rescale(factor),
            zero_point=target.zero_point,
        )
