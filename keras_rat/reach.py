# SPDX-License-Identifier: Apache-2.0
"""How far a multiplier is from a decision, and how far a training can move it; both in octaves, which log2 M counts.

A decision is a value at which rounding to the grid changes over. As rounding to nearest goes by differences, not by
ratios, decisions lie halfway between grid points: at k = 1 a multiplier that starts at a power of two is log2(4/3) =
0.42 octaves from the decision below it and log2(3/2) = 0.58 from that above, at k = 2 from 0.19 to 0.32.
"""

import math
from collections.abc import Callable

import numpy as np
import tf_keras as keras

from keras_rat import tfmot_internals
from keras_rat.grid import SMALLEST

_FARTHEST = -math.log2(SMALLEST)  # octaves from 1, either way, beyond which training lets no multiplier go
_APART = 2.0  # octaves: no grid with the powers of two rounds both ends of this to one point
_HALVINGS = 50  # of it, down to the last bits of float64
_SAMPLES = 256  # steps at which a schedule is looked at
# Whose steps are at most as long as the learning rate: Adam's approximately, which can be three times as long after a
# gradient that stands out (Kingma & Ba, arXiv 1412.6980, section 2.1), those of Lion always. Steps of SGD and of the
# others depend on the size of gradients, or on more than the learning rate.
_BOUNDED = {
    getattr(module, name)
    for module in (keras.optimizers, keras.optimizers.legacy)
    for name in ("Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Lion")
    if hasattr(module, name)
}


def to_decision(value: np.ndarray, snapped: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The distance |log2 value - log2 decision| to the nearest decision, found by bisection.

    Args:
      value: positive float64 [n].
      snapped: puts values, float64 [2, n], on the grid of each of the n; grows with the value, if in steps.

    Returns:
      float64 [n] in octaves, from 0; infinite where there is no decision within two octaves.
    """
    octaves = np.log2(np.maximum(value, np.finfo(np.float64).tiny))  # factors of layers without weights are 0
    inside = np.clip(octaves, -_FARTHEST, _FARTHEST)
    near = np.stack([inside, inside])
    far = np.stack([np.maximum(inside - _APART, -_FARTHEST), np.minimum(inside + _APART, _FARTHEST)])
    present = snapped(np.exp2(near))
    found = snapped(np.exp2(far)) != present
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        same = snapped(np.exp2(middle)) == present
        near, far = np.where(same, middle, near), np.where(same, far, middle)
    return np.where(found, np.abs(far - octaves), np.inf).min(0)


def of_training(optimizer: keras.optimizers.Optimizer, steps: int) -> float | None:
    """How far an optimizer moves a variable in its next steps, at most: the sum of their learning rates.

    Args:
      optimizer: any, also a LossScaleOptimizer; its learning rate may follow a schedule, which is summed from 256 of
        the steps where there are more.
      steps: how many.

    Returns:
      The sum, to which weight decay adds; None for an optimizer whose steps the learning rate does not bound.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if type(optimizer) not in _BOUNDED:
        return None
    sampled = np.linspace(0, steps, min(steps, _SAMPLES), endpoint=False).astype(int) + int(optimizer.iterations)
    rates = [tfmot_internals.learning_rate(optimizer, int(iteration)) for iteration in sampled]
    return steps * float(np.mean(rates)) if rates else 0.0
