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
    """Lets multipliers learn for the first part of a training, and freezes them on the grid for the rest.

    The learning rate of a network's weights moves log2 of a multiplier by a few hundredths in a usual training, while
    the next power of two is up to half an octave away. When training begins, this callback sets the rate of the
    multipliers so that the optimizer, Adam or one of its kin, whose steps do not depend on the size of gradients, can
    move them by `reach` octaves by the time they freeze. Calibrate the model first, and fit it with epochs of known
    length.

    Args:
      share: of the epochs to come, above 0 and at most 1, in which multipliers learn; at least the first.
      reach: octaves that a multiplier can move by meanwhile.

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
        self._freezes_at = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._freezes_at is None:
            epochs = self.params["epochs"] - epoch
            self._freezes_at = epoch + math.ceil(self.share * epochs)
            self._begin(self._freezes_at - epoch)
        if epoch >= self._freezes_at:
            self._freeze()

    def _begin(self, epochs: int) -> None:
        """Sets the rate of the multipliers for so many epochs."""
        learned, steps = _learned(self.model), self.params.get("steps")
        if steps is None:
            raise UsageError("the length of an epoch is not known; pass steps_per_epoch to fit")
        travel = reach.of_training(self.model.optimizer, steps * epochs)
        if not travel:
            kind = type(self.model.optimizer).__name__
            raise UsageError(f"how far {kind} moves multipliers is not known; train with Adam or one of its kin")
        for quantizer, variables in learned:
            value, phase = quantizer.unsnapped(variables), Phase(int(wiring.read(variables["phase"])))
            if phase is Phase.WAITING:
                raise UsageError("multipliers are not set; call keras_rat.calibrate(model, data) before training")
            quantizer.multiplier_rate = self.reach / travel
            quantizer.set_multiplier(variables, value, phase)
        self.model.make_train_function(force=True)

    def _freeze(self) -> None:
        """Puts the multipliers that still learn on their grid, where they stay."""
        moving = [pair for pair in _learned(self.model) if wiring.read(pair[1]["phase"]) != Phase.FROZEN]
        for quantizer, variables in moving:
            value = quantizer.snapped(quantizer.unsnapped(variables), wiring.read(variables["bits"]), "nearest")
            quantizer.set_multiplier(variables, value, Phase.FROZEN)
            _forget(self.model.optimizer, variables["log2_multiplier"])
        if moving:
            self.model.make_train_function(force=True)


def _learned(model) -> list[tuple]:
    """(quantizer, variables) of the layers whose multipliers are learned; of which there must be any."""
    weights = [w for layer in require_rescale_layers(model) for w in tfmot_internals.quantized_weights(layer)]
    learned = [(quantizer, variables) for _, quantizer, variables in weights if quantizer.learn_multipliers]
    if not learned:
        raise UsageError("the model's multipliers are not learned; quantize_model(..., learn_multipliers=True)")
    return learned


def _forget(optimizer, variable) -> None:
    """Takes an optimizer's momentum of a variable away, with which it would go on without a gradient."""
    for slot in optimizer.variables:
        if slot.name.split(":")[0].endswith("/" + variable.name.split(":")[0]):
            slot.assign(np.zeros(slot.shape))
