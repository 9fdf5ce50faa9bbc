# SPDX-License-Identifier: Apache-2.0
"""Moments of the inputs of layers with weights."""

import dataclasses

import numpy as np

LARGEST_SAMPLE = 40_000  # input patches that moments are taken over
RIDGE = 0.01  # of the mean variance: keeps inputs that never vary from being ignored


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Moments of the centred input integers under each weight of a channel.

    Attributes:
      mean: float64 [n], or [channels, n] where every channel has inputs of its own.
      covariance: float64 [n, n] or [channels, n, n], with a ridge on its diagonal; None where only the mean is known.
    """

    mean: np.ndarray
    covariance: np.ndarray | None

    def covariance_of(self, channels: np.ndarray) -> np.ndarray:
        """The covariance of the inputs of some channels: one for all, or one for each."""
        return self.covariance[channels] if self.covariance.ndim == 3 else self.covariance


def shared(patches: np.ndarray, zero_point: int) -> Statistics:
    """Moments of patches that all channels see; integers [patches, n]."""
    values = _sample(patches).astype(np.float64) - zero_point
    mean = values.mean(0)
    values -= mean
    return Statistics(mean, _with_ridge(values.T @ values / len(values)))


def per_channel(patches: np.ndarray, zero_point: int) -> Statistics:
    """Moments of patches whose channels are apart; integers [patches, n, channels]."""
    values = np.moveaxis(_sample(patches).astype(np.float64) - zero_point, 2, 0)
    mean = values.mean(1)
    values = values - mean[:, None]
    return Statistics(mean, _with_ridge(values.transpose(0, 2, 1) @ values / values.shape[1]))


def _sample(patches: np.ndarray) -> np.ndarray:
    """Evenly spread patches, at most `LARGEST_SAMPLE`."""
    step = -(-len(patches) // LARGEST_SAMPLE)
    return patches[::step]


def _with_ridge(covariance: np.ndarray) -> np.ndarray:
    variance = np.trace(covariance, axis1=-2, axis2=-1) / covariance.shape[-1]
    # Inputs that are constant throughout: any positive number will do.
    ridge = np.where(variance > 0, RIDGE * variance, 1.0)
    return covariance + ridge[..., None, None] * np.eye(covariance.shape[-1])
