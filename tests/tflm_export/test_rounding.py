# SPDX-License-Identifier: Apache-2.0
"""Rounding of weights for the outputs' sake: exact where it can be, and never worse than nearest where it matters."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflm_export.rounding import assumed_output_change, error_feedback, output_change, round_weights


def correlation(kernel) -> np.ndarray:
    """Neighbouring taps see nearly the same values: 0.8 a tap of distance, and a ridge."""
    taps = np.array(list(itertools.product(range(kernel[0]), range(kernel[1]))))
    distance = np.linalg.norm(taps[:, None] - taps[None], axis=-1)
    return 0.8**distance + 0.01 * np.eye(len(taps))


def energy(error: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    return np.einsum("ri,ij,rj->r", error, hessian, error)


def targets(shape, seed=0):
    return np.random.default_rng(seed).uniform(-127, 127, shape)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 5), (5, 2)])
def test_integers_in_range_near_their_targets(kernel, one_sided):
    target = targets((6, kernel[0] * kernel[1], 4))
    result = round_weights(target, kernel, one_sided)
    assert result.shape == target.shape
    np.testing.assert_array_equal(result, np.rint(result))
    assert np.abs(result).max() <= 127
    assert np.abs(result - target).max() < 2


@pytest.mark.parametrize(("kernel", "nearest"), [((64, 64), True), ((1, 4096), True), ((20, 20), False)])
def test_a_kernel_without_measure_is_rounded_to_nearest(kernel, nearest):
    """A damaged file may claim one; the matrix of its taps would take seconds."""
    target = targets((1, kernel[0] * kernel[1], 1))
    assert (round_weights(target, kernel, False) == np.rint(target)).all() == nearest


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_integers_stay(kernel, one_sided):
    target = np.rint(targets((6, kernel[0] * kernel[1], 4)))
    np.testing.assert_array_equal(round_weights(target, kernel, one_sided), target)


def test_a_single_tap_rounds_to_nearest():
    target = targets((6, 1, 50))
    np.testing.assert_array_equal(round_weights(target, (1, 1), False), np.rint(target))


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (7, 7)])
def test_correlated_taps_err_less_than_with_nearest_rounding(kernel):
    taps, hessian = kernel[0] * kernel[1], correlation(kernel)
    target = targets((200, taps, 1))
    ours, nearest = (
        energy((rounded - target)[:, :, 0], hessian)
        for rounded in (round_weights(target, kernel, False), np.rint(target))
    )
    assert ours.mean() < 0.5 * nearest.mean()
    assert (ours <= nearest + 1e-9).mean() > 0.85


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_one_sided_inputs_cancel_the_sum_of_errors(kernel):
    """A mean in the input multiplies the sum of a channel's errors."""
    target = 0.9 * targets((40, kernel[0] * kernel[1], 8))
    error = (round_weights(target, kernel, True) - target).reshape(40, -1)
    assert (np.abs(error.sum(1)) <= 0.5 + 1e-4).all()
    assert np.abs(error).max() < 2


def optimum(target: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """The least energy of any integers within a step of the target, by trying all."""
    base = np.floor(target)
    offsets = np.array(list(itertools.product((-1, 0, 1, 2), repeat=target.shape[1])))
    return np.array([energy(b + offsets - t, hessian).min() for b, t in zip(base, target, strict=True)])


@pytest.mark.parametrize("value", [0.3, 2.5, -7.4])
def test_sums_cancel_where_many_weights_are_alike(value):
    """Equal weights err equally; only as many of them move as the sum needs."""
    target = np.full((2, 1, 101), value)
    target[1, 0, :40] = 11.0
    result = round_weights(target, (1, 1), one_sided=True)
    assert np.abs((result - target).sum((1, 2))).max() <= 0.5 + 1e-6
    assert np.abs(result - target).max() < 1


def test_error_feedback_is_close_to_the_best_of_all_integers():
    hessian = correlation((2, 3))
    target = 0.9 * targets((60, 6))
    found, best = energy(error_feedback(target, hessian) - target, hessian), optimum(target, hessian)
    assert (found >= best - 1e-9).all()
    assert found.mean() < 1.15 * best.mean()
    assert found.mean() < energy(np.rint(target) - target, hessian).mean()


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_no_single_step_improves_error_feedback(n, seed):
    """What coordinate descent promises, for any positive definite matrix, unless it ran out of sweeps."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(n, n + 2))
    hessian = root @ root.T + 0.1 * np.eye(n)
    target = random.uniform(-100, 100, (20, n))
    result = error_feedback(target, hessian)
    gradient = (result - target) @ hessian
    change = np.abs(gradient) - 0.5 * np.diag(hessian)  # of the energy's half, for a step of one
    assert (change > 1e-9).any(1).mean() <= 0.1


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_output_change_is_the_energy_of_errors(rows, n, seed):
    """With one matrix for all rows, and with one for each."""
    random = np.random.default_rng(seed)
    error, hessian = random.normal(size=(rows, n)), random.normal(size=(rows, n, n))
    np.testing.assert_allclose(output_change(error, hessian[0]), energy(error, hessian[0]), atol=1e-12)
    each = [energy(e[None], h)[0] for e, h in zip(error, hessian, strict=True)]
    np.testing.assert_allclose(output_change(error, hessian), each, atol=1e-12)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 5)])
def test_what_is_assumed_of_inputs_is_one_matrix(kernel, one_sided):
    """Correlated taps, independent channels, and a mean where they are never negative."""
    taps, inputs = kernel[0] * kernel[1], 4
    hessian = np.kron(correlation(kernel) if taps > 1 else np.eye(1), np.eye(inputs)) + 0.3 * one_sided
    error = np.random.default_rng(0).uniform(-1, 1, (7, taps, inputs))
    expected = energy(error.reshape(7, -1), hessian)
    np.testing.assert_allclose(assumed_output_change(error, kernel, one_sided), expected)


def test_an_uncorrelated_matrix_rounds_to_nearest():
    target = targets((50, 9))
    np.testing.assert_array_equal(error_feedback(target, np.diag(np.arange(1.0, 10))), np.rint(target))
