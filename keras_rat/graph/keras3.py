# SPDX-License-Identifier: Apache-2.0
"""Models of Keras 3 rebuilt in tf_keras, which tfmot needs.

Which layer is called on what is read from the model's config, as .keras files hold it. Keras 3 itself is not imported
here: whoever has a model of it has done that.
"""

import collections
import warnings
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_rat.graph import keras3_layers
from keras_rat.graph.keras3_layers import Problem, keras_3
from keras_rat.graph.listed import listed

SUBCLASSED = (
    "subclassed models, whose layers cannot be seen; build them with the functional API, keras.Model(inputs, outputs), "
    "or as keras.Sequential"
)
UNBUILT = "models that are not built; give them an Input first, or call them on data"
OPERATION = "functions called on Keras tensors; put the Keras layer for each in its place"
CONSTANT = "calls on constants; keep them in a layer's weights or arguments"
MASKING = "layers that mask in a functional model, where Keras 3 makes masks by functions; leave the masks out"
OPTIONAL = "optional inputs, which tf_keras has not; leave optional=True out"

# What the masks of Masking layers and of Embedding layers with mask_zero are made by.
MASKS = ("Any", "NotEqual")
# Arithmetic on Keras tensors: of two tensors a layer, of a tensor and a number the scale and offset of a Rescaling.
MERGES = {
    "Add": keras.layers.Add,
    "Subtract": keras.layers.Subtract,
    "Multiply": keras.layers.Multiply,
    "Maximum": keras.layers.Maximum,
    "Minimum": keras.layers.Minimum,
}
RESCALINGS = {
    "Add": lambda number, first: (1.0, number),
    "Subtract": lambda number, first: (-1.0, number) if first else (1.0, -number),
    "Multiply": lambda number, first: (number, 0.0),
    "Divide": lambda number, first: None if first or not number else (1 / number, 0.0),
    "TrueDivide": lambda number, first: None if first or not number else (1 / number, 0.0),
}


def is_keras3(candidate: Any) -> bool:
    """Whether an object is of Keras 3, or of a class that is derived from one of it."""
    return any(map(is_keras3_class, type(candidate).__mro__))


def is_keras3_class(cls: type) -> bool:
    """Whether Keras 3 itself defines a class."""
    return cls.__module__.partition(".")[0] == "keras"


def from_keras3(model: Any) -> keras.Model:
    """Rebuilds a Keras 3 model in tf_keras.

    The new model has the same layers with the same names, weights, and `trainable` flags, and its outputs are those of
    the Keras 3 model, up to the order in which float32 sums are computed. Arithmetic on Keras tensors (`x + y`,
    `x * 0.5`) becomes Add, Subtract, Multiply, Maximum, Minimum and Rescaling layers. `quantize_model` and
    `quantize_annotate_model` call this for Keras 3 models by themselves.

    Args:
      model: a Sequential or functional Keras 3 model that is built, on any backend; it is left as it is.

    Returns:
      A tf_keras model, not compiled.

    Raises:
      ValueError: the model is no Keras 3 model, or has parts that cannot be rebuilt; all are listed by reason.
    """
    if not is_keras3(model) or not isinstance(model, keras_3().Model):
        hint = "; it needs no rebuilding" if isinstance(model, keras.Model) else ""
        raise ValueError(f"expected a Keras 3 Model, got {type(model).__module__}.{type(model).__name__}{hint}")
    rebuilder = _Rebuilder()
    rebuilder.make_layers(model)
    _raise_problems(model, rebuilder.problems)
    rebuilder.check_calls(model)
    _raise_problems(model, rebuilder.problems)
    rebuilt = rebuilder.model(model)
    rebuilder.copy_weights()
    _raise_problems(model, rebuilder.problems)
    return rebuilt


def _raise_problems(model, problems) -> None:
    if problems:
        by_reason = collections.defaultdict(dict)
        for problem in problems:
            by_reason[problem.reason][problem.offender] = None
        lines = []
        for reason, offenders in by_reason.items():
            what, _, fix = reason.partition("; ")
            lines.append(f"\n- {what}: {listed(offenders)}; {fix}")
        raise ValueError(
            f"{type(model).__name__} {model.name!r} was built with Keras 3 and cannot be rebuilt in tf_keras, which "
            f"tensorflow_model_optimization needs:{''.join(lines)}"
        )


def _base(model, name):
    """The class of Keras 3 of that name which a model is derived from."""
    found = (c for c in type(model).__mro__ if c.__name__ == name and c.__module__.partition(".")[0] == "keras")
    return next(found, None)


def _masks(operation) -> bool:
    return isinstance(operation, keras_3().layers.Masking) or getattr(operation, "mask_zero", False)


def _is_model(operation) -> bool:
    return isinstance(operation, keras_3().Model)


def _operations(model) -> list | None:
    """The layers of a Keras 3 model and the operations on its tensors; None if it is no graph of such."""
    for name in ("Sequential", "Functional"):
        base = _base(model, name)
        if base is not None and type(model).call is base.call:
            return model.layers if name == "Sequential" else model.operations
    return None


class _Rebuilder:
    """Makes the layers of a model and of those in it, then calls them; each layer is made once, wherever it is used."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._layers = {}  # id of a Keras 3 layer: (it, its twin)
        self._models = {}  # the same of models

    def make_layers(self, model):
        """Rebuilds the layers of a model at any depth, not yet called."""
        operations = _operations(model)
        if operations is None:
            self._note(SUBCLASSED, model)
            return
        if not model.built or not hasattr(model, "inputs"):
            self._note(UNBUILT, model)
            return
        masking = [] if isinstance(model, keras_3().Sequential) else [each for each in operations if _masks(each)]
        for operation in masking:
            self._note(MASKING, operation)
        known = {*MERGES, *RESCALINGS, *(MASKS if masking else ())}
        for operation in operations:
            if _is_model(operation):
                self.make_layers(operation)
            elif not isinstance(operation, keras_3().layers.Layer):
                if type(operation).__name__ not in known:
                    self._note(OPERATION, operation)
            elif isinstance(operation, keras_3().layers.InputLayer):
                if getattr(operation, "optional", False):
                    self._note(OPTIONAL, operation)
            elif id(operation) not in self._layers:
                found = keras3_layers.problems(operation)
                self.problems += found
                self._layers[id(operation)] = (operation, None if found else keras3_layers.rebuilt(operation))

    def check_calls(self, model):
        """Notes the calls of a model at any depth that cannot be repeated."""
        operations = {operation.name: operation for operation in _operations(model)}
        for operation in operations.values():
            if _is_model(operation):
                self.check_calls(operation)
        if isinstance(model, keras_3().Sequential):
            return
        for layer in _config(model)["layers"]:
            for node in layer["inbound_nodes"]:
                operation = operations[layer["name"]]
                given = [value for values in (node["args"], node["kwargs"]) for value in _leaves(values)]
                if not isinstance(operation, keras_3().layers.Layer):
                    dtypes = {value["config"]["dtype"] for value in given if _is_tensor(value)}
                    if dtypes != {"float32"} or _arithmetic(operation, node["args"]) is None:
                        self._note(OPERATION, operation)
                elif not all(_is_tensor(value) or _is_plain(value) for value in given):
                    self._note(CONSTANT, operation)

    def model(self, model) -> keras.Model:
        """Calls the layers as a Keras 3 model does."""
        if not isinstance(model, keras_3().Sequential):
            return self._functional(model)
        first = _config(model)["layers"][0]["config"]
        rows, *shape = first["batch_shape"]
        if not any(getattr(layer, "stateful", False) for layer in model.layers):
            rows = None  # where a model was built by its first data, it is as many as that had
        first = keras.Input(batch_shape=(rows, *shape), dtype=model.inputs[0].dtype, name=first["name"])
        new = keras.Sequential([first, *(self._twin(layer) for layer in model.layers)], name=model.name)
        if not model.trainable:
            new.trainable = False
        return new

    def copy_weights(self):
        for layer, twin in self._layers.values():
            self.problems += keras3_layers.copy_weights(layer, twin)

    def _note(self, reason, operation):
        self.problems.append(Problem(reason, f"{operation.name} ({type(operation).__name__})"))

    def _twin(self, layer):
        if not _is_model(layer):
            return self._layers[id(layer)][1]
        if id(layer) not in self._models:
            self._models[id(layer)] = (layer, self.model(layer))
        return self._models[id(layer)][1]

    def _functional(self, model):
        graph = _config(model)
        operations = {operation.name: operation for operation in _operations(model)}
        values = {}  # (name of an operation, number of its call): its outputs in a flat list
        waiting = []
        for layer in graph["layers"]:
            if isinstance(operations[layer["name"]], keras_3().layers.InputLayer):
                values[layer["name"], 0] = [_input(operations[layer["name"]])]
            else:
                waiting += [(layer["name"], number, node) for number, node in enumerate(layer["inbound_nodes"])]
        while waiting:
            later = []
            for name, number, node in waiting:
                needed = [_call_of(value) for value in _leaves([node["args"], node["kwargs"]]) if _is_tensor(value)]
                if all(call in values for call, _ in needed):
                    args, kwargs = (_filled(node[key], values) for key in ("args", "kwargs"))
                    values[name, number] = tf.nest.flatten(self._called(operations[name], args, kwargs))
                else:
                    later.append((name, number, node))
            if len(later) == len(waiting):
                raise RuntimeError(f"the config of {model.name} calls {later[0][0]} on what it never computes")
            waiting = later

        def tensors(entry):
            if isinstance(entry, dict):
                return {key: tensors(value) for key, value in entry.items()}
            if isinstance(entry, (list, tuple)) and not isinstance(entry[0], str):
                return type(entry)(tensors(value) for value in entry)
            name, number, index = entry
            before = _base(operations[name], "Functional") is not None  # Keras counts a call before the first
            return values[name, number - before][index]

        inputs, outputs = tensors(graph["input_layers"]), tensors(graph["output_layers"])
        return keras.Model(inputs, outputs, name=model.name, trainable=model.trainable)

    def _called(self, operation, args, kwargs):
        if isinstance(operation, keras_3().layers.Layer):
            return self._twin(operation)(*args, **kwargs)
        layer = _arithmetic(operation, args)
        tensors = [value for value in args if _rank(value) is not None]
        return layer(tensors if len(tensors) > 1 else tensors[0])


def _config(model) -> dict:
    """The config of a Keras 3 model with a graph, of whichever class."""
    sequential, functional = (_base(model, name) for name in ("Sequential", "Functional"))
    with warnings.catch_warnings():  # of what it calls its inputs
        warnings.simplefilter("ignore", UserWarning)
        if functional and type(model) is not functional:  # whose constructor may leave its layers out of the config
            model = keras_3().Model(model.input, model.output, name=model.name)
        return (sequential or functional).get_config(model)


def _input(layer):
    return keras.Input(
        batch_shape=layer.batch_shape, dtype=layer.dtype, sparse=getattr(layer, "sparse", False), name=layer.name
    )


def _leaves(values) -> list:
    """What is in nested lists, tuples and dicts, tensors being dicts of their own."""
    if isinstance(values, dict) and "class_name" not in values:
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return [leaf for value in values for leaf in _leaves(value)]
    return [values]


def _filled(values, outputs):
    """Nested values with tensors of tf_keras in place of those that Keras 3 describes."""
    if _is_tensor(values):
        call, index = _call_of(values)
        return outputs[call][index]
    if isinstance(values, dict):
        return {key: _filled(value, outputs) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(_filled(value, outputs) for value in values)
    return values


def _is_tensor(value) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def _call_of(value) -> tuple[tuple[str, int], int]:
    """The call that a tensor comes from, (name of the layer, number of its call), and which of its outputs it is."""
    name, number, index = value["config"]["keras_history"]
    return (name, number), index


def _is_plain(value) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _rank(value) -> int | None:
    """Of a tensor, of tf_keras or as Keras 3 describes it."""
    shape = value["config"]["shape"] if _is_tensor(value) else getattr(value, "shape", None)
    return None if shape is None else len(shape)


def _arithmetic(operation, operands) -> keras.layers.Layer | None:
    """The layer for an operation on tensors or on a tensor and a number; None if there is none."""
    kind, ranks = type(operation).__name__, [_rank(operand) for operand in operands]
    if len(operands) != 2 or ranks == [None, None]:
        return None
    if None not in ranks:
        return MERGES[kind](name=operation.name, dtype="float32") if kind in MERGES and ranks[0] == ranks[1] else None
    number = operands[ranks.index(None)]
    if kind not in RESCALINGS or type(number) not in (int, float):
        return None
    factors = RESCALINGS[kind](number, ranks[0] is None)
    return factors and keras.layers.Rescaling(*map(float, factors), name=operation.name, dtype="float32")
