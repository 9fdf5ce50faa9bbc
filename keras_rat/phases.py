# SPDX-License-Identifier: Apache-2.0
"""The phases of training, and the base of the quantizers that go through them."""

import contextlib
import enum
from collections.abc import Iterator

import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.quantization.keras import quantizers as tfmot_quantizers

from keras_rat import tfmot_internals, wiring


class Phase(enum.IntEnum):
    """What a value that is measured or learned, an activation range or a rescale multiplier, does at present.

    Each has its phase in an int32 variable of its own, which files, copies and distribution strategies treat as any
    other weight. The names and numbers there are older than this class, so that old files load: the variable of a range
    is called `{name}_batches`, as it once counted training batches (any number from 1 is LEARNING), that of a
    multiplier `{name}_multiplier_set`.

    A model goes from WAITING to FROZEN by `calibrate`, which is OBSERVING meanwhile, or by LEARNING in `fit` and then
    `convert` or `callbacks.FreezeRanges`. Multipliers start LEARNING when the ranges become FROZEN.
    """

    WAITING = 0  # no value of its own yet: a range takes the next batch's, a multiplier follows the present weights
    OBSERVING = -2  # the network computes in float, and ranges follow the data of `calibrate`
    LEARNING = 1  # a range follows the batches of training; a multiplier has a value of its own, trained if it may be
    FROZEN = -1  # a range stands still

    @classmethod
    def _missing_(cls, value):
        return cls.LEARNING if isinstance(value, int) and value > 1 else None


def phase(model: keras.Model) -> Phase:
    """The phase of a quantised model's activation ranges; of several the earliest, in the order of `Phase`.

    Args:
      model: any tf_keras model; FROZEN where it has no ranges of `keras_rat`.
    """
    found = {Phase(int(wiring.read(range_.phase))) for range_ in wiring.own_ranges(model)}
    return next((each for each in Phase if each in found), Phase.FROZEN)


def known(variable: tf.Variable) -> Phase | None:
    """The phase in a variable while a function is traced; None where only the function itself can tell.

    For phases that are for good, like a frozen range's. (A function traced then does not notice weights loaded from a
    time before; Keras's `fit` traces anew after `compile`.)
    """
    if tf.distribute.has_strategy() or not tf.compat.v1.executing_eagerly_outside_functions():
        return None
    with tf.init_scope():
        return Phase(int(variable.numpy()))


class PhasedQuantizer(tfmot_quantizers.Quantizer):
    """A quantizer that is to let floats through while `calibrate` observes the network.

    Attributes:
      observing: whether calls are being traced for Phase.OBSERVING.
    """

    observing = False

    def get_config(self) -> dict:
        return {}


@contextlib.contextmanager
def observing(model: keras.Model) -> Iterator[None]:
    """While active, functions that are newly traced compute the model in float, and its ranges follow what they see."""
    found = [q for layer in model.layers for q in tfmot_internals.quantizers(layer) if isinstance(q, PhasedQuantizer)]
    for quantizer in found:
        quantizer.observing = True
    try:
        yield
    finally:
        for quantizer in found:
            quantizer.observing = False
