# SPDX-License-Identifier: Apache-2.0
"""Functions of every int16 in less than 65,536 numbers: kernels/narrow_curves.h.

A gate's function is a table in its form. Where it is one of those that the runtimes compute from less, C computes it as
they do; that all 65,536 results are the same is checked here.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from tflm_export import fixed_point
from tflm_export.c.initializer import initializer
from tflm_export.c.step import UnsupportedError
from tflm_export.ops.logistic import logistic_from_table, logistic_table, tanh_from_table
from tflm_export.program.lookup import every_integer
from tflm_export.program.value import limits_of

TABLE = "NARROW_CURVE_TABLE"  # all values

_EVERY = every_integer(np.int16)
_FEW = _EVERY[:: (1 << 12) - 1]  # enough to rule out most
_OFFSET = 1 << 15
_INPUTS_PER_UNIT = 3  # the interpolated functions count in 1 / (3 * 4096)
_MOST_INTEGER_BITS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A narrow_curve.

    Attributes:
      kind: a narrow_curve_kind.
      multiplier, shift: of its input.
      table: what it reads, int16; None for nothing.
      evaluate: what it gives, from int64 to int64.
    """

    kind: str
    multiplier: int
    shift: int
    table: np.ndarray | None
    evaluate: Callable[[np.ndarray], np.ndarray] = dataclasses.field(repr=False)

    def statement(self, name: str, table: str) -> str:
        """The narrow_curve NAME, whose table is the array of that name."""
        array = "0" if self.table is None else table
        fields = {"kind": self.kind, "multiplier": self.multiplier, "shift": self.shift, "table": array}
        return f"static const narrow_curve {name} = {initializer(fields)};"


def curve_of(table: np.ndarray) -> Curve:
    """A function of every int16, as small as it is known.

    Args:
      table: its 65,536 values.

    Raises:
      UnsupportedError: they leave int16.
    """
    low, high = limits_of(np.int16)
    if table.min() < low or table.max() > high:
        raise UnsupportedError("the function of a gate leaves INT16")
    for curve in _curves():
        if all(np.array_equal(curve.evaluate(x), table[x + _OFFSET]) for x in (_FEW, _EVERY)):
            return curve
    return Curve(TABLE, 0, 0, table.astype(np.int16), lambda x: table[x + _OFFSET])


def _curves() -> Iterator[Curve]:
    """Those that runtimes compute from less: TFLM's first."""
    for power in range(-12, 2):
        # From units of 2**power to those of the table.
        multiplier, shift = (_INPUTS_PER_UNIT << max(power + 12, 0)), max(-12 - power, 0)
        if multiplier * _OFFSET < 1 << 31:
            yield interpolated("NARROW_CURVE_LOGISTIC", logistic_from_table, multiplier, shift)
            yield interpolated("NARROW_CURVE_TANH", tanh_from_table, multiplier, shift)
    for power in range(-30, -12):
        yield interpolated("NARROW_CURVE_TANH", tanh_from_table, _INPUTS_PER_UNIT, -12 - power)
    for bits in range(_MOST_INTEGER_BITS + 1):
        yield _fixed("NARROW_CURVE_LOGISTIC_16", fixed_point.logistic, bits)
        yield _fixed("NARROW_CURVE_TANH_16", fixed_point.tanh, bits)


def interpolated(kind: str, function: Callable, multiplier: int, shift: int) -> Curve:
    """One of TFLM's, of inputs that are multiplied and shifted to units of its table."""
    knots = (logistic_table() - _OFFSET).astype(np.int16)
    return Curve(kind, multiplier, shift, knots, lambda x: function((x * multiplier + ((1 << shift) >> 1)) >> shift))


def _fixed(kind: str, function: Callable, integer_bits: int) -> Curve:
    return Curve(kind, 0, integer_bits, None, lambda x: function(x, integer_bits, 16))
