# SPDX-License-Identifier: Apache-2.0
"""The kinds of grids that training knows by name, and the k-bit one in float32 TensorFlow operations.

The latter is the twin of `tflm_export`'s, and tested to be equal.

A float32 is stored as one integer: the exponent, then the mantissa behind an implicit leading 1. Adding to that integer
and clearing its low bits rounds the mantissa, and a carry goes into the exponent, as it should.

Equal means: every float32 from `SMALLEST` to below 2**127, and 0, at any width from 1 to 31. A float32 has 24 bits, so
from 24 bits on all of them are on the grid. Outside, the two differ: from 2**127 on a carry can end in infinity;
subnormals have no leading 1 to round at; below 2**-105 the tolerance is a subnormal, which TensorFlow may take for 0.
"""

from typing import Protocol

import tensorflow as tf

from tflm_export.errors import UsageError
from tflm_export.grid import Grid
from tflm_export.rescale import FLOAT32_TOLERANCE

SMALLEST = 2.0**-100  # factors below stand for dead channels; keeps every float32 that follows from one normal
_MANTISSA_BITS = 24


def snap(factor: tf.Tensor, bits: int | tf.Tensor, rounding: str) -> tf.Tensor:
    """The numbers `m * 2**-s` with k-bit m that factors round to. No gradient.

    Args:
      factor: float32 of any shape, 0 or from `SMALLEST` to below 2**127.
      bits: width k from 1 to 31, one or int32 of the factor's shape.
      rounding: "nearest" (halves up), or "up", where factors that are on the grid up to float32 rounding stay.

    Raises:
      ValueError: another rounding.
    """
    if rounding not in ("nearest", "up"):
        raise ValueError(f"rounding must be nearest or up, got {rounding!r}")
    # What the last bit of a k-bit mantissa weighs in the stored integer.
    unit = tf.bitwise.left_shift(1, _MANTISSA_BITS - tf.minimum(bits, _MANTISSA_BITS))
    nearest = _cut(factor, tf.bitwise.right_shift(unit, 1), unit)
    if rounding == "nearest":
        return nearest
    on_grid = tf.abs(nearest - factor) <= FLOAT32_TOLERANCE * factor
    return tf.where(on_grid, nearest, _cut(factor, unit - 1, unit))


def _cut(factor, addend, unit):
    """Adds to the stored integers and clears the bits below unit."""
    stored = tf.bitcast(tf.stop_gradient(factor), tf.int32)
    return tf.bitcast(tf.bitwise.bitwise_and(stored + addend, -unit), tf.float32)


class Family(Protocol):
    """Grids of one kind, at every width: what training rounds factors to, and what the exporter checks them against.

    `register` makes one known. The two methods give the same numbers.

    A family of one grid only, such as `signed_digits.TwoDigits`, has another attribute, `bits`: of its widest
    multiplier. Models are then made without `bits`, and wider multipliers are what a schedule starts from.

    Attributes:
      name: what saved models call it.
    """

    name: str

    def snap(self, factor: tf.Tensor, bits: int | tf.Tensor, rounding: str) -> tf.Tensor:
        """Factors on the grid, with arguments as for the function `snap`."""

    def exact(self, bits: int) -> Grid:
        """The exporter's grid at width k from 1 to 31: a `tflm_export.grid.Grid`, or what stands in its place."""


class KBits:
    """Multipliers of k bits."""

    name = "k_bits"

    def snap(self, factor: tf.Tensor, bits: int | tf.Tensor, rounding: str) -> tf.Tensor:
        return snap(factor, bits, rounding)

    def exact(self, bits: int) -> Grid:
        return Grid(bits)


def only_bits(family: Family) -> int | None:
    """The width of the widest multiplier where a family has one grid only; None where it has one for every width."""
    return getattr(family, "bits", None)


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Makes a family known by its name, in place of one that had it, and returns it.

    To be called before models are made with it, and before files with such models are loaded.
    """
    _FAMILIES[family.name] = family
    return family


def family_of(grid: str | Family) -> Family:
    """The registered family of a name; a registered family is returned as it is.

    Raises:
      UsageError: not registered.
    """
    for name, family in _FAMILIES.items():
        if grid == name or grid is family:
            return family
    raise UsageError(
        f"grid must be one of {', '.join(_FAMILIES)}, got {grid!r}; keras_rat.grid.register makes others known"
    )


K_BITS = register(KBits())
