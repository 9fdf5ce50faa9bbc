# SPDX-License-Identifier: Apache-2.0
"""Batch normalisations that can go on with the statistics they have, while gamma and beta are trained."""

import tf_keras as keras

from keras_rat.configs import NoQuantizeConfig


class _Freezable:
    """Keras's layer, with a switch.

    Args:
      frozen_statistics: whether it normalises by its moving statistics in training too, and leaves them alone. (Keras's
        own `trainable` would take gamma and beta out of training.)
    """

    def __init__(self, *args, frozen_statistics=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.frozen_statistics = frozen_statistics

    def call(self, inputs, training=None, **kwargs):
        return super().call(inputs, training=False if self.frozen_statistics else training, **kwargs)

    def get_config(self):
        return super().get_config() | {"frozen_statistics": self.frozen_statistics}


class FreezableBatchNormalization(_Freezable, keras.layers.BatchNormalization):
    """keras.layers.BatchNormalization with `frozen_statistics`."""


class FreezableSyncBatchNormalization(_Freezable, keras.layers.experimental.SyncBatchNormalization):
    """keras.layers.experimental.SyncBatchNormalization with `frozen_statistics`."""


FREEZABLE = {
    "BatchNormalization": FreezableBatchNormalization,
    "SyncBatchNormalization": FreezableSyncBatchNormalization,
}


def freeze_statistics(model: keras.Model) -> bool:
    """Makes the batch normalisations of a quantised model use their moving statistics in training; whether any did not.

    A training function that was traced before does not know.
    """
    ours = [layer for layer in model.layers if isinstance(getattr(layer, "quantize_config", None), NoQuantizeConfig)]
    moving = [w.layer for w in ours if isinstance(w.layer, _Freezable) and not w.layer.frozen_statistics]
    for norm in moving:
        norm.frozen_statistics = True
    return bool(moving)
