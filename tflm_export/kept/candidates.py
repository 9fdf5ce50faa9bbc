# SPDX-License-Identifier: Apache-2.0
"""One layer: which grid point serves each channel best, with the bias that goes with it."""

import dataclasses

import numpy as np

from tflm_export.grid import Grid

HALVINGS = 15  # of the interval in which a bias lies: 1/32 of a step of the output, or finer, is left of it


@dataclasses.dataclass(frozen=True)
class Sums:
    """What a layer's factors are to be chosen for.

    Attributes:
      accumulators: sums of products without their bias, float64 [samples, channels].
      target: what the outputs are to be, float64 [samples, channels]; need not be integers.
      zero_point: of the output.
      clamp: smallest and largest output.
    """

    accumulators: np.ndarray
    target: np.ndarray
    zero_point: int
    clamp: tuple[int, int]

    def outputs(self, factors: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """The integers that factors and biases [channels] give, float64 [samples, channels]; halves are rounded up."""
        scaled = self.accumulators + bias
        scaled *= factors
        scaled += 0.5 + self.zero_point
        np.floor(scaled, out=scaled)
        return np.clip(scaled, *self.clamp, out=scaled)

    def error(self, factors: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Mean squared error of the outputs, in squared steps, float64 [channels]."""
        return np.square(self.outputs(factors, bias) - self.target).mean(0)


def corrected_bias(sums: Sums, factors: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The integer biases with which the mean output of each channel is the target's, as nearly as steps allow.

    The mean grows with the bias, so halving an interval finds it.

    Args:
      sums: the layer.
      factors: float64 [channels].
      bias: where to look, float64 [channels]: the interval reaches from there by twice the range of the outputs.

    Returns:
      Integers, float64 [channels]. As given where the target is at an end of the range throughout, or
      the factor is 0.
    """
    wanted = sums.target.mean(0)
    moves = (factors > 0) & (wanted > sums.clamp[0]) & (wanted < sums.clamp[1])
    reach = np.divide(2.0 * (sums.clamp[1] - sums.clamp[0]), factors, out=np.zeros_like(bias), where=moves)
    low, high = np.floor(bias - reach), np.ceil(bias + reach)
    for _ in range(HALVINGS):
        middle = np.rint((low + high) / 2)
        above = sums.outputs(factors, middle).mean(0) > wanted
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    off = [np.abs(sums.outputs(factors, end).mean(0) - wanted) for end in (low, high)]
    return np.where(moves, np.where(off[0] <= off[1], low, high), np.rint(bias))


def best(
    sums: Sums, factors: np.ndarray, bias: np.ndarray | None, grid: Grid, roundings: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """The factors on a grid, and the biases, that make the smallest squared error.

    Args:
      sums: the layer.
      factors: real factors, float64 [1] where all channels share one, or [channels].
      bias: the layer's own, float64 [channels]; None where it has none, and then gets none.
      grid: of the factors.
      roundings: of the factors to try, as `Grid.snap` takes them; of equals, the first is taken.

    Returns:
      Factors, float64 [1] or [channels], and biases, integers in float64 [channels].
    """
    channels = sums.target.shape[1]
    found = []
    for rounding in roundings:
        snapped = grid.snap(factors, rounding)
        snapped = np.where(snapped > 0, snapped, grid.snap(factors, "nearest"))
        wide = np.broadcast_to(snapped, (channels,))
        own = np.zeros(channels)
        if bias is not None:
            growth = np.divide(factors, snapped, out=np.ones_like(snapped), where=snapped > 0)
            own = corrected_bias(sums, wide, bias * growth)
        error = sums.error(wide, own)
        found.append((snapped, own, error if factors.size > 1 else error.sum(keepdims=True)))
    choice = np.argmin([error for _, _, error in found], axis=0)
    snapped = np.choose(choice, [item[0] for item in found])
    chosen = np.choose(np.broadcast_to(choice, (channels,)), [item[1] for item in found])
    return snapped, None if bias is None else chosen
