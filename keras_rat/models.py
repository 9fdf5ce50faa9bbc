# SPDX-License-Identifier: Apache-2.0
"""What `quantize_model` returns: models of tf_keras that say at once what tf_keras would not say, or too late."""

import os
import pathlib
import tempfile
import warnings

import h5py
import tensorflow as tf
import tf_keras as keras

from keras_rat import tfmot_internals, wiring
from keras_rat.graph.keras3 import is_keras3, is_keras3_class
from keras_rat.graph.listed import listed
from keras_rat.patterns import parts_of
from keras_rat.scope import quantize_scope
from keras_rat.wrapper import UNREADABLE
from tflm_export.errors import UsageError


class _Outspoken:
    """Checks arguments, and leaves the rest to tf_keras."""

    def compile(self, *args, **kwargs):
        _require_keras_2("compile", [args, kwargs], ", or a name as a string")
        super().compile(*args, **kwargs)

    def fit(self, *args, **kwargs):
        _require_keras_2("fit", kwargs.get("callbacks"))
        return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        _require_keras_2("evaluate", kwargs.get("callbacks"))
        return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        _require_keras_2("predict", kwargs.get("callbacks"))
        return super().predict(*args, **kwargs)

    def save_weights(self, filepath, *args, **kwargs):
        if os.fspath(filepath).endswith(".weights.h5"):  # tf_keras would have opened the file
            raise UsageError(UNREADABLE.format(".weights.h5"))
        super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath, skip_mismatch=False, by_name=False, options=None):
        if by_name and (missed := _missed(self, filepath)):
            raise UsageError(
                f"load_weights(by_name=True) finds no layers {listed(missed)} in {os.fspath(filepath)}, which has the "
                "float model's: load it into the float model, and give that to quantize_model; files of quantised "
                "models load without by_name"
            )
        more = {} if options is None else {"options": options}  # which models of TensorFlow 1's graphs do not take
        return super().load_weights(filepath, skip_mismatch=skip_mismatch, by_name=by_name, **more)

    def __reduce__(self):  # tf_keras's goes through a .keras file
        return _from_file, (_as_file(self),)

    def __deepcopy__(self, memo):
        memo[id(self)] = _from_file(_as_file(self))
        return memo[id(self)]


# Named as Keras's own, which files of such models are read as: SavedModel thaws the layers of classes it does not know.
class Functional(_Outspoken, tfmot_internals.Functional):
    """A functional model."""


class Sequential(_Outspoken, keras.Sequential):
    """A Sequential one."""


def adopt(model: keras.Model) -> None:
    """Makes a model that tfmot has just quantised one of these; layers and state are the same."""
    model.__class__ = Sequential if isinstance(model, keras.Sequential) else Functional


def _as_file(model: keras.Model) -> bytes:
    """A model with its optimizer as an .h5 file."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that .h5 is another format than .keras
        path = os.path.join(folder, "model.h5")
        model.save(path)
        return pathlib.Path(path).read_bytes()


def _from_file(content: bytes) -> keras.Model:
    """The model of `_as_file`."""
    with tempfile.TemporaryDirectory() as folder, quantize_scope():
        path = pathlib.Path(folder, "model.h5")
        path.write_bytes(content)
        model = keras.models.load_model(path)
    adopt(model)
    return model


def _require_keras_2(function: str, given, alternative: str = "") -> None:
    """Raises UsageError where objects of Keras 3 are among what a function was given."""
    if foreign := [each for each in tf.nest.flatten(given) if is_keras3(each)]:
        raise UsageError(
            f"{function} got {listed([type(each).__name__ for each in foreign])} of Keras 3, but the model is "
            f"of tf_keras: pass {listed([_twin(each) for each in foreign])} in place{alternative}"
        )


def _twin(foreign) -> str:
    """What an object of a class of Keras 3 is called in tf_keras; of a class derived from one, that one."""
    known = next(base for base in type(foreign).__mro__ if is_keras3_class(base))
    return f"tf_keras.{known.__module__.split('.')[-2]}.{known.__name__}"


def _missed(model, path) -> list[str]:
    """The quantised layers of a model of which an .h5 file has the float layer's weights, under its name, instead."""
    if not os.path.isfile(path) or not h5py.is_hdf5(path):
        return []
    with h5py.File(path, "r") as file:
        saved = file.get("model_weights", file)
        of_float = {part for name, weights in saved.items() if len(weights) for part in parts_of(name)}
        missing = [layer for layer in model.layers if layer.weights and layer.name not in saved]
        return [layer.name for layer in missing if wiring.inner(layer).name in of_float]
