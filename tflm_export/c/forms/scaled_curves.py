# SPDX-License-Identifier: Apache-2.0
"""TFLM's interpolated functions of int16 behind any scale, found again in the tables of forms.

TFLM multiplies an input by the integer that its scale gives before it interpolates; a form holds all 65,536 results.
These grow with the multiplier, so what it may have been is an interval, which halving finds.
"""

import bisect
from collections.abc import Callable, Iterator

import numpy as np

from tflm_export.c.forms.curves import Curve, interpolated
from tflm_export.ops.logistic import logistic_from_table, tanh_from_table
from tflm_export.program.lookup import every_integer

_EVERY = every_integer(np.int16)
_POSITIVE = _EVERY[_EVERY >= 0]
_FRACTION_BITS = 30  # of the multipliers that are tried
_LARGEST = 1 << (16 + _FRACTION_BITS)  # times an int16, it leaves 32 bits
_FUNCTIONS = {"NARROW_CURVE_LOGISTIC": logistic_from_table, "NARROW_CURVE_TANH": tanh_from_table}


def scaled_curve(table: np.ndarray) -> Curve | None:
    """A function of every int16 as an interpolated one with the smallest numbers; None where it is none.

    Args:
      table: its 65,536 values, each of which the curve is checked to give.
    """
    for kind, function in _FUNCTIONS.items():
        for multiplier, shift in _inputs(function, table[_EVERY >= 0].astype(np.int64)):
            curve = interpolated(kind, function, multiplier, shift)
            if np.array_equal(curve.evaluate(_EVERY), table):
                return curve
    return None


def _inputs(function: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray) -> Iterator[tuple[int, int]]:
    """Multipliers with their shifts that give what is wanted of all positive integers, those of few bits first."""
    if function(_POSITIVE[:1]) != wanted[0]:
        return

    def given(multiplier: int) -> np.ndarray:
        return function((_POSITIVE * multiplier + (1 << (_FRACTION_BITS - 1))) >> _FRACTION_BITS)

    least = bisect.bisect_left(range(_LARGEST), True, key=lambda m: bool((given(m) >= wanted).all()))
    most = bisect.bisect_left(range(_LARGEST), True, key=lambda m: bool((given(m) > wanted).any())) - 1
    for shift in range(_FRACTION_BITS + 1):
        multiplier = -(-least >> (_FRACTION_BITS - shift))
        fits = (multiplier << 15) + ((1 << shift) >> 1) < 1 << 31
        if fits and multiplier <= most >> (_FRACTION_BITS - shift):
            yield multiplier, shift
