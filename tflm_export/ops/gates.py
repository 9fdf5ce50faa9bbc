# SPDX-License-Identifier: Apache-2.0
"""What the gates of an LSTM compute in the runtimes, as tables over all of int16."""

import functools

import numpy as np

from tflm_export import fixed_point
from tflm_export.arithmetic import Arithmetic
from tflm_export.ops.logistic import logistic_from_table, tanh_from_table
from tflm_export.program.lookup import every_integer
from tflm_export.rescale import Rescaler, RoundingShift

_EVERY = every_integer(np.int16)


class TableGates:
    """TFLM: functions interpolated in a table, products rescaled with multipliers."""

    @staticmethod
    @functools.cache
    def logistic() -> np.ndarray:
        """1 / (1 + exp(-x)) in units of 2**-15 of every x in units of 2**-12; int64 [65536]."""
        return logistic_from_table(3 * _EVERY)

    @staticmethod
    @functools.cache
    def tanh(power: int) -> np.ndarray:
        """tanh(x) in units of 2**-15 of every x in units of 2**power; int64 [65536]."""
        shift = 12 + power
        return tanh_from_table(_EVERY * (3 << shift) if shift >= 0 else (3 * _EVERY + (1 << (-shift - 1))) >> -shift)

    @staticmethod
    def product(arithmetic: Arithmetic, factor: float, shift: int) -> Rescaler:
        """The rescale of a product of gates by 2**-shift, which is the factor."""
        return arithmetic.rescale(factor)


class FixedPointGates(TableGates):
    """LiteRT: functions in 16-bit fixed point, products shifted."""

    @staticmethod
    @functools.cache
    def logistic() -> np.ndarray:
        return fixed_point.logistic(_EVERY, 3, 16)

    @staticmethod
    @functools.cache
    def tanh(power: int) -> np.ndarray:
        return fixed_point.tanh(_EVERY, 15 + power, 16)

    @staticmethod
    def product(arithmetic, factor, shift):
        return RoundingShift(shift)
