# SPDX-License-Identifier: Apache-2.0
"""Multipliers learned by gradient: as fast as it takes to cross a grid point, for the first part of a training."""

import math
import numbers

import numpy as np
import tf_keras as keras

from keras_rat import reach, tfmot_internals, wiring
from keras_rat.phases import Phase
from keras_rat.rescales import require_rescale_layers
from tflm_export.errors import UsageError


class LearnMultipliers(keras.callbacks.Callback):
    """Lets multipliers learn for the first part of a training, and holds them on the grid for the rest.

    The learning rate of a network's weights moves log2 of a multiplier by a few hundredths in a usual training, while
    the next power of two is up to half an octave away. This callback lengthens each step of the multipliers, so that
    the optimizer, Adam or one of its kin, whose steps do not depend on the size of gradients, can move them by `reach`
    octaves in the first part. Calibrate the model first, and fit it with epochs of known length. A `SnappingSchedule`
    belongs before it in the list.

    Args:
      share: of the epochs to come, above 0 and at most 1, in which multipliers learn; at least the first.
      reach: octaves that a multiplier can move by meanwhile, at most.

    Raises:
      UsageError: an argument out of range.
    """

    def __init__(self, share: float = 0.5, reach: float = 1.0):
        super().__init__()
        if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0 < share <= 1:
            raise UsageError(f"share must be above 0 and at most 1, got {share!r}")
        if isinstance(reach, bool) or not isinstance(reach, numbers.Real) or not 0 < reach < math.inf:
            raise UsageError(f"reach must be a positive number of octaves, got {reach!r}")
        self.share, self.reach = float(share), float(reach)

    def on_train_begin(self, logs=None):
        self._ends = None  # the first epoch in which multipliers are held

    def on_epoch_begin(self, epoch, logs=None):
        if self._ends is None:
            self._begin(epoch)
        self._learns = epoch < self._ends
        self._last = None

    def on_train_batch_begin(self, batch, logs=None):
        if self._last is not None:
            return
        if not self._learns:
            for quantizer, variables in self._learned:
                bits = wiring.read(variables["bits"])
                quantizer.set_multiplier(variables, quantizer.snapped(quantizer.unsnapped(variables), bits, "nearest"))
        self._last = self._read()

    def on_train_batch_end(self, batch, logs=None):
        """Lengthens the step that was taken, or takes it back (weight decay takes one without a gradient, too)."""
        for (_, variables), last, longer in zip(self._learned, self._last, self._longer, strict=True):
            step = wiring.read(variables["log2_multiplier"]) - last
            variables["log2_multiplier"].assign(last + longer * step if self._learns else last)
        if self._learns:
            self._last = self._read()

    def _begin(self, epoch: int) -> None:
        epochs = math.ceil(self.share * (self.params["epochs"] - epoch))
        self._ends, self._learned, steps = epoch + epochs, _learned(self.model), self.params.get("steps")
        if steps is None:
            raise UsageError("the length of an epoch is not known; pass steps_per_epoch to fit")
        travel = reach.of_training(self.model.optimizer, steps * epochs)
        if not travel:
            kind = type(self.model.optimizer).__name__
            raise UsageError(f"how far {kind} moves multipliers is not known; train with Adam or one of its kin")
        if any(wiring.read(variables["phase"]) == Phase.WAITING for _, variables in self._learned):
            raise UsageError("multipliers are not set; call keras_rat.calibrate(model, data) before training")
        self._longer = [self.reach / travel / quantizer.multiplier_rate for quantizer, _ in self._learned]

    def _read(self) -> list[np.ndarray]:
        return [wiring.read(variables["log2_multiplier"]) for _, variables in self._learned]


def _learned(model) -> list[tuple]:
    """(quantizer, variables) of the layers whose multipliers are learned; of which there must be any."""
    layers = [layer for layer in require_rescale_layers(model) if layer.trainable]
    weights = [w for layer in layers for w in tfmot_internals.quantized_weights(layer)]
    learned = [(quantizer, variables) for _, quantizer, variables in weights if quantizer.learn_multipliers]
    if not learned:
        raise UsageError(
            "the model's multipliers are not learned; quantize_model(..., learn_multipliers=True), of layers that are "
            "not all frozen"
        )
    return learned
