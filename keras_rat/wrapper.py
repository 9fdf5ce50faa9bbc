# SPDX-License-Identifier: Apache-2.0
"""tfmot's wrapper around a quantised layer, with `trainable` as in Keras, also as files of any version have it."""

import copy

import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.quantization.keras import QuantizeWrapperV2

from keras_rat import tfmot_internals
from keras_rat.batch_norm import FREEZABLE
from tflm_export.errors import UsageError

UNREADABLE = (
    "a quantised model cannot be saved as {}, which tf_keras could not load: tfmot's layers have other variables then; "
    "save it with model.save as .h5 or as a folder (SavedModel), its weights alone with save_weights('NAME.h5'), and "
    "load models under keras_rat.quantize_scope()"
)


class RescaleWrapper(QuantizeWrapperV2):
    """tfmot's wrapper, whose own trainable weights, the kernel and what quantizers learn, are frozen with its layer's.

    tfmot lists them as trainable always, so that a frozen layer's kernel would be trained without its bias.
    """

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        return super().trainable_weights if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        others = super().non_trainable_weights
        if self.trainable:
            return others
        every = [*super().trainable_weights, *others]  # in the order in which they are saved when they are trainable
        return list({id(weight): weight for weight in every}.values())

    def get_config(self) -> dict:
        if tfmot_internals.is_keras_file_written():
            raise UsageError(UNREADABLE.format(".keras"))
        return super().get_config()

    def save_own_variables(self, store) -> None:
        raise UsageError(UNREADABLE.format(".weights.h5"))

    @classmethod
    def from_config(cls, config: dict) -> "RescaleWrapper":
        """Reads tfmot's wrappers, too, and those that had the switch of batch normalisations beside a plain one."""
        config = copy.deepcopy(config)
        layer = config["layer"]
        if layer["class_name"] in FREEZABLE:
            kind = FREEZABLE[layer["class_name"]]
            layer["class_name"] = kind.__name__
            if "module" in layer:
                layer |= {"module": kind.__module__, "registered_name": kind.__name__}
            quantize_config = config["quantize_config"]["config"]
            layer["config"]["frozen_statistics"] = quantize_config.pop("frozen_statistics", False)
        return super().from_config(config)


def adopt(model: keras.Model) -> None:
    """Makes tfmot's wrappers in a model, which `quantize_apply` of tfmot has just made, those of keras_rat.

    They have the same state. A copy of the model with other wrappers would build the quantizers of a QuantizeConfig of
    the user's own a second time, on weights that are not the model's, and take an eighth of the time of all.
    """
    for layer in model.layers:
        if type(layer) is QuantizeWrapperV2:
            layer.__class__ = RescaleWrapper
