# SPDX-License-Identifier: Apache-2.0
"""Every private name that keras_rat lives on, one by one: what fails here says which is gone, in which version."""

import ast
import importlib
import importlib.metadata
import pathlib
import re

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ast.parse((ROOT / "keras_rat" / "tfmot_internals.py").read_text())
TFMOT, KERAS = "tensorflow-model-optimization", "tf_keras"
L = keras.layers


def imported_names():
    """(module, name) of everything that is taken from the inside of tfmot."""
    modules = {
        alias.name: f"{node.module}.{alias.name}"
        for node in SOURCE.body
        if isinstance(node, ast.ImportFrom) and ".python." in node.module
        for alias in node.names
    }
    return sorted(
        (modules[node.value.id], node.attr)
        for node in ast.walk(SOURCE)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    )


def private_attributes():
    """The underscored attributes of other packages' objects."""
    strings = {node.value for node in ast.walk(SOURCE) if isinstance(node, ast.Constant) and type(node.value) is str}
    attributes = {node.attr for node in ast.walk(SOURCE) if isinstance(node, ast.Attribute)}
    return {name for name in attributes | strings if re.fullmatch("_[a-zA-Z]\\w*", name)}


def require(owner, name, package):
    assert hasattr(owner, name), (
        f"{getattr(owner, '__name__', type(owner).__name__)}.{name} is not in {package} "
        f"{importlib.metadata.version(package)}; keras_rat/tfmot_internals.py uses it"
    )


@pytest.mark.parametrize(("module", "name"), imported_names(), ids=lambda value: value.rpartition(".")[2])
def test_imported_name(module, name):
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        pytest.fail(f"module {module} is not in {TFMOT} {importlib.metadata.version(TFMOT)}: {error}")
    require(found, name, TFMOT)


@pytest.fixture(scope="module")
def model():
    """A network quantised by tfmot itself."""
    pool = L.AveragePooling2D(input_shape=(8, 8, 1), name="pool")
    return tfmot.quantization.keras.quantize_model(
        keras.Sequential([pool, L.Flatten(), L.Dense(3, activation="softmax", name="head")])
    )


def wrapper(model):
    return model.get_layer("quant_head")


def activation(model):
    return wrapper(model).layer.activation


ATTRIBUTES = {  # name: whose it is, and how to come by one
    "_weight_vars": (TFMOT, wrapper),
    "_output_quantizers": (TFMOT, wrapper),
    "_output_quantizer_vars": (TFMOT, lambda model: model.get_layer("quant_pool")),
    "_quantize_activations": (TFMOT, wrapper),
    "_pre_activation_vars": (TFMOT, activation),
    "quantizer": (TFMOT, activation),
    "quantizer_vars": (TFMOT, lambda model: model.layers[0]),
    "_trainable_weights": (KERAS, wrapper),
    "_flatten_layers": (KERAS, lambda model: model),
    "_is_graph_network": (KERAS, lambda model: model),
    "_nodes_by_depth": (KERAS, lambda model: model),
    "_keras_history": (KERAS, lambda model: model.outputs[0]),
    "_learning_rate": (KERAS, lambda model: keras.optimizers.Adam()),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_private_attribute(model, name):
    package, owner = ATTRIBUTES[name]
    require(owner(model), name, package)


def test_no_private_attribute_is_left_out():
    assert private_attributes() <= ATTRIBUTES.keys()
    assert len(private_attributes()) > 5
    assert len(imported_names()) == 5


def test_the_message_names_what_is_gone_and_the_version(model):
    version = importlib.metadata.version(TFMOT)
    with pytest.raises(AssertionError, match=rf"QuantizeWrapperV2\._gone is not in {TFMOT} {version}"):
        require(wrapper(model), "_gone", TFMOT)


@pytest.fixture(scope="module")
def internals():
    from keras_rat import tfmot_internals  # not above, where a name that is gone would end all of these tests

    return tfmot_internals


def test_quantizers_and_their_variables(internals, model):
    ((weight, quantizer, variables),) = internals.quantized_weights(wrapper(model))
    assert weight.name.endswith("kernel:0")
    assert variables.keys() == {"min_var", "max_var"}
    assert quantizer in internals.quantizers(wrapper(model))
    assert len(internals.quantizers(wrapper(model))) == 2  # and that of the softmax's input
    assert [v.keys() for v in internals.activation_variables(wrapper(model))] == [{"min_var", "max_var"}]
    assert internals.output_variables(wrapper(model)) is None
    assert internals.output_variables(model.get_layer("quant_pool")).keys() == {"min_var", "max_var"}
    assert len(internals.quantizers(model.layers[0])) == 1
    assert internals.quantizers(L.ReLU()) == []


def test_graphs(internals):
    inputs = keras.Input((4,))
    first, second = L.Dense(4, name="first"), L.Dense(4, name="second")
    inner = keras.Sequential([L.Dense(2, input_shape=(4,), name="inner")])
    outputs = inner(second(first(inputs)))
    model = keras.Model(inputs, outputs)
    called = [call.layer for call in internals.calls(model)]
    assert called[1:] == [first, second, inner]
    assert internals.layer_of(outputs) is inner
    assert internals.is_functional(model)
    assert type(model) is internals.Functional
    assert not internals.is_functional(first)
    assert not internals.is_functional(type("Custom", (keras.Model,), {})())
    assert {"first", "second", "inner"} <= {layer.name for layer in internals.layers_at_any_depth(model)}


def test_newest_weight_first(internals):
    layer = L.Layer()
    for name in ("a", "b", "c"):
        layer.add_weight(name, shape=(), initializer="zeros")
    internals.list_newest_weight_first(layer)
    assert [weight.name for weight in layer.weights] == ["c:0", "a:0", "b:0"]
    np.testing.assert_array_equal(layer.get_weights(), [0, 0, 0])


@pytest.mark.parametrize("optimizers", [keras.optimizers, keras.optimizers.legacy], ids=["new", "legacy"])
def test_learning_rates(internals, optimizers):
    falling = keras.optimizers.schedules.PolynomialDecay(0.5, 4, 0.0)
    found = [internals.learning_rate(optimizers.Adam(falling), iteration) for iteration in range(6)]
    assert found == pytest.approx([0.5, 0.375, 0.25, 0.125, 0, 0])
    assert internals.learning_rate(optimizers.Adam(0.25), 3) == 0.25
