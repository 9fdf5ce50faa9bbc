# SPDX-License-Identifier: Apache-2.0
"""How sure a difference is: standard errors over test rows and over seeds, exact paired tests."""

import dataclasses

import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A share with its uncertainty.

    Attributes:
      mean: over rows and seeds.
      error: standard error, of the rows drawn and of the seeds together.
    """

    mean: float
    error: float


def estimate(values: np.ndarray) -> Estimate:
    """The mean of values [seeds, rows] (right or wrong, or a difference of these) and its standard error.

    The rows' part is the standard error of the mean over rows of what the seeds average to; the seeds' part that of
    the mean over seeds. They are added in squares, which counts a little of the rows' noise twice.
    """
    values = np.asarray(values, float)
    seeds, rows = values.shape
    by_rows = values.mean(0).std(ddof=1) / np.sqrt(rows) if rows > 1 else 0.0
    by_seeds = values.mean(1).std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
    return Estimate(float(values.mean()), float(np.hypot(by_rows, by_seeds)))


def mcnemar(right: np.ndarray, other: np.ndarray) -> float:
    """Two-sided p of McNemar's exact test: whether two models are right on equally many rows.

    Args:
      right, other: bool [rows], or [seeds, rows]. With several seeds a row counts once, for the model that is right on
        it more often: an exact sign test with the rows, which alone are independent, as its units.
    """
    difference = np.atleast_2d(right).astype(int).sum(0) - np.atleast_2d(other).astype(int).sum(0)
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    if better + worse == 0:
        return 1.0
    return float(stats.binomtest(better, better + worse).pvalue)


def across_seeds(accuracies: np.ndarray, others: np.ndarray) -> float | None:
    """Two-sided p of the paired t-test over seeds; None for fewer than two seeds, or differences that are all equal."""
    difference = np.asarray(accuracies, float) - np.asarray(others, float)
    if len(difference) < 2 or np.ptp(difference) < 1e-12:  # what is left of shares that are rounded
        return None
    return float(stats.ttest_1samp(difference, 0.0).pvalue)
