# SPDX-License-Identifier: Apache-2.0
"""How far decisions are, against the rounding itself and closed forms; how far optimizers go, against their steps."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_rat import grid, reach, signed_digits
from tests.helpers.signed_digits import ThreeDigits
from tflm_export.grid import Grid
from tflm_export.rescale import MAX_BITS, ROUNDINGS

pytestmark = [pytest.mark.arithmetic, pytest.mark.sweep(3)]
LEAST = 1e-13  # octaves: 2**100 and log2 of it in float64 are not exact to less
GRIDS = [*map(Grid, range(1, MAX_BITS + 1)), signed_digits.CSD2.exact(4), ThreeDigits()]


def distance(values, exact, rounding="nearest"):
    return reach.to_decision(np.array(values, np.float64), lambda each: exact.snap(each, rounding))


@settings(deadline=None, max_examples=300)
@given(octaves=st.floats(-97, 97), exact=st.sampled_from(GRIDS), rounding=st.sampled_from(ROUNDINGS))
@example(octaves=0.0, exact=Grid(1), rounding="nearest")
@example(octaves=-97.0, exact=Grid(31), rounding="up")
@example(octaves=float(np.log2(1.5)), exact=Grid(1), rounding="nearest")
@example(octaves=float(np.log2(1.5)), exact=signed_digits.CSD2.exact(4), rounding="down")
def test_short_of_the_distance_nothing_changes_and_beyond_it_something_does(octaves, exact, rounding):
    (away,) = distance([2.0**octaves], exact, rounding)
    short, beyond = max(away * (1 - 1e-6) - LEAST, 0), away * (1 + 1e-6) + LEAST
    at = exact.snap(2.0**octaves, rounding)
    if short > LEAST:
        assert [float(exact.snap(2.0 ** (octaves + by), rounding)) for by in (-short, short)] == [at, at]
    assert any(exact.snap(2.0 ** (octaves + by), rounding) != at for by in (-beyond, beyond))


@settings(deadline=None)
@given(octaves=st.floats(-97, 97), bits=st.integers(1, 20))
def test_decisions_lie_halfway_between_points(octaves, bits):
    """Of k bits: above a point m * 2**e at (m + 1/2) * 2**e, below one at m - 1/2, below a power of two at m - 1/4."""
    mantissa, _ = np.frexp(2.0**octaves)
    scaled = mantissa * 2.0**bits  # in [2**(k-1), 2**k)
    m = np.floor(scaled + 0.5)
    decisions = np.array([m - (0.25 if m == 2.0 ** (bits - 1) else 0.5), m + (1 if m == 2.0**bits else 0.5)])
    expected = np.abs(np.log2(scaled) - np.log2(decisions)).min()
    assert distance([2.0**octaves], Grid(bits)) == pytest.approx(expected, abs=LEAST)


def test_the_figures_of_the_docstring():
    np.testing.assert_allclose(distance([2.0**-7, 1.0, 8.0], Grid(1)), np.log2(4 / 3))
    np.testing.assert_allclose(distance([2.0, 3.0], Grid(2)), [np.log2(2 / 1.75), np.log2(3.5 / 3)])


def test_beyond_where_training_goes_there_is_no_decision():
    """It keeps log2 M from -100 to 100: dead channels, at the lower end or beyond it, can only go up."""
    exact = Grid(1)
    expected = [np.log2(1.5), 20 + np.log2(1.5), 1022 - 100 + np.log2(1.5)]
    np.testing.assert_allclose(distance([grid.SMALLEST, 2.0**-120, 0.0], exact), expected)
    assert distance([2.0**100], exact) == pytest.approx(np.log2(4 / 3))
    assert distance([3.0], ConstantGrid()) == np.inf


class ConstantGrid:
    def snap(self, factor, rounding):
        return np.ones_like(factor)


SCHEDULE = keras.optimizers.schedules.CosineDecay(0.01, 40)


def moved(optimizer, gradients) -> float:
    variable = tf.Variable(0.0)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
    return abs(float(variable))


@pytest.mark.parametrize("rate", [0.01, SCHEDULE], ids=["constant", "cosine"])
@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Lion"])
def test_optimizers_stay_within_their_reach(name, rate):
    """With gradients of one sign, which go farthest: Adam's then has them all the way."""
    optimizer = getattr(keras.optimizers, name)(rate)
    most = reach.of_training(optimizer, 40)
    rates = [float(SCHEDULE(step)) if rate is SCHEDULE else rate for step in range(40)]
    assert most == pytest.approx(sum(rates))
    gone = moved(optimizer, [3.0] * 40)
    assert 0 < gone <= most * 1.05  # Nadam is ahead of itself in the first steps
    if name in ("Adam", "Lion"):
        assert gone == pytest.approx(most, rel=1e-4)
    another = getattr(keras.optimizers, name)(rate)
    assert moved(another, np.random.default_rng(0).normal(size=40)) < most


def test_reach_counts_from_the_present_step():
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.PolynomialDecay(1.0, 8, 0.0))
    moved(optimizer, [1.0] * 6)
    assert reach.of_training(optimizer, 5) == pytest.approx(0.25 + 0.125)
    assert reach.of_training(optimizer, 0) == 0


def test_long_schedules_are_sampled():
    schedule = keras.optimizers.schedules.CosineDecay(0.002, 50_000, warmup_steps=5000, warmup_target=0.004)
    most = reach.of_training(keras.optimizers.Adam(schedule), 55_000)
    assert most == pytest.approx(5000 * 0.003 + 50_000 * 0.002, rel=0.01)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adadelta", "Ftrl", "Adafactor"])
def test_nothing_is_claimed_of_other_optimizers(name):
    assert reach.of_training(getattr(keras.optimizers, name)(), 10) is None


def test_optimizers_in_others_and_of_old():
    scaled = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(0.5))
    assert reach.of_training(scaled, 3) == 1.5
    assert reach.of_training(keras.optimizers.legacy.Adam(SCHEDULE), 1) == pytest.approx(0.01)
