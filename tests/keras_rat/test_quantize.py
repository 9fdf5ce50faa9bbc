# SPDX-License-Identifier: Apache-2.0
"""keras_rat.quantize: what it refuses, what it leaves alone, and that 31 bits is tfmot's own quantisation."""

import ast
import pathlib

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import keras_rat
import tflm_export
from keras_rat import rescale_layers
from tests.helpers import networks

pytestmark = pytest.mark.sweep(3)

L = keras.layers


def test_exports_exactly_its_all():
    folder = pathlib.Path(keras_rat.__file__).parent
    modules = {path.stem for path in (*folder.glob("*.py"), *folder.glob("*/"))}
    public = {name for name in vars(keras_rat) if not name.startswith("_")}
    assert public - modules == set(keras_rat.__all__) - modules
    for name in keras_rat.__all__:
        assert name in modules or callable(getattr(keras_rat, name))


def test_the_exporter_does_not_import_training():
    for path in pathlib.Path(tflm_export.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            imported = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not any(name.split(".")[0] in ("keras_rat", "tensorflow", "tf_keras") for name in imported), path


def unsupported():
    x = inputs = keras.Input((8, 8, 1))
    x = L.ELU(name="leaky")(L.Conv2D(4, 3)(x))
    x = L.Conv2D(4, 3, activation="gelu", name="smooth")(x)
    x = L.BatchNormalization(1, name="lonely")(L.MaxPooling2D()(x))
    x = L.LocallyConnected2D(4, 1, name="local")(x)
    return keras.Model(inputs, L.Dense(10)(L.Flatten()(x)))


def test_all_unsupported_layers_are_named_at_once():
    with pytest.raises(ValueError, match="annotate") as error:
        keras_rat.quantize_model(unsupported())
    lines = str(error.value).splitlines()
    for reason, name in (
        ("ELU: ", "leaky"),
        ("Conv2D with activation gelu: ", "smooth"),
        ("BatchNormalization ", "lonely"),
        ("LocallyConnected2D", "local"),
    ):
        (line,) = (line for line in lines if line.startswith(f"  {reason}"))
        assert line.endswith(f": {name}")
    assert "dense" not in str(error.value)


def functional(layer_of):
    return lambda: networks.functional(lambda x: L.Dense(10)(L.Flatten()(layer_of(x))))


def shared(x):
    layer = L.Conv2D(1, 3, padding="same", activation="relu", name="culprit")
    return layer(layer(x))


@pytest.mark.parametrize(
    "network",
    [
        functional(lambda x: L.ReLU(negative_slope=0.1, name="culprit")(L.Conv2D(4, 3)(x))),
        functional(lambda x: L.ReLU(max_value=3.0, name="culprit")(L.Conv2D(4, 3)(x))),
        functional(lambda x: L.ReLU(threshold=0.5, name="culprit")(L.Conv2D(4, 3)(x))),
        functional(lambda x: L.BatchNormalization()(L.Conv2D(4, 3, dilation_rate=2, name="culprit")(x))),
        functional(shared),
    ],
    ids=["leaky ReLU", "ReLU to 3", "ReLU from 0.5", "dilated", "shared layer"],
)
def test_layers_the_converter_leaves_in_float_or_off_the_grid_are_refused(network):
    with pytest.raises(ValueError, match="culprit"):
        keras_rat.quantize_model(networks.build(network))


def test_a_quantised_model_is_not_quantised_again():
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(4,))])
    quantized = keras_rat.quantize_model(model, bits=1)
    nested = keras.Sequential([keras.Input((4,)), quantized, keras.layers.Dense(2)])
    for again in (quantized, nested):
        with pytest.raises(ValueError, match=r"is quantised already; .* pass the float model"):
            keras_rat.quantize_model(again)


@pytest.mark.parametrize("wrong", [None, "model.h5", L.Dense, np.zeros(3)], ids=["None", "path", "class", "array"])
@pytest.mark.parametrize(
    "call",
    [
        keras_rat.quantize_model,
        keras_rat.quantize_apply,
        keras_rat.quantize_annotate_model,
        keras_rat.quantize_annotate_layer,
    ],
)
def test_wrong_types(call, wrong):
    with pytest.raises(ValueError, match=f"expected a tf_keras (Model|Layer), got {type(wrong).__name__}"):
        call(wrong)


def test_a_layer_is_no_model():
    with pytest.raises(ValueError, match="expected a tf_keras Model, got Dense"):
        keras_rat.quantize_model(L.Dense(2))


@pytest.mark.parametrize(("bits", "method"), [(0, "keep"), (32, "keep"), (True, "keep"), (4, "kept")])
def test_bits_and_method_are_checked_by_both_entrances(bits, method):
    model = networks.build(networks.flatten_dense)
    with pytest.raises(ValueError, match=r"(bits|method) must be"):
        keras_rat.quantize_model(model, bits, method)
    with pytest.raises(ValueError, match=r"(bits|method) must be"):
        keras_rat.quantize_apply(keras_rat.quantize_annotate_model(model), bits=bits, method=method)


def test_the_given_model_and_the_new_one_share_no_weights():
    model = networks.build(networks.residual)
    before = [w.copy() for w in model.get_weights()]
    quantized = keras_rat.quantize_model(model, 1, "keep")
    quantized.set_weights([weight + 1 for weight in quantized.get_weights()])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_prefix():
    quantized = keras_rat.quantize_model(networks.build(networks.flatten_dense), quantized_layer_name_prefix="narrow_")
    assert [layer.name for layer in rescale_layers(quantized)] == ["narrow_dense"]


def partly_annotated(*annotated):
    def note(layer):
        return keras_rat.quantize_annotate_layer(layer) if layer.name in annotated else layer

    x = inputs = keras.Input((8, 8, 1))
    for layer in (
        L.Conv2D(4, 3, activation="relu", name="first"),
        L.MaxPooling2D(name="pool"),
        L.Conv2D(4, 3, activation="relu", name="second"),
        L.LeakyReLU(name="leaky"),
        L.Flatten(name="flatten"),
        L.Dense(10, name="head"),
    ):
        x = note(layer)(x)
    return keras.Model(inputs, x)


def test_annotated_layers_alone_are_quantised():
    quantized = keras_rat.quantize_apply(partly_annotated("first", "pool", "second"), bits=3, method="keep")
    layers = rescale_layers(quantized)
    assert [layer.name for layer in layers] == ["quant_first", "quant_second"]
    assert {layer.quantize_config.quantizer.bits for layer in layers} == {3}
    assert {layer.quantize_config.quantizer.method for layer in layers} == {"keep"}
    assert type(quantized.get_layer("head")) is L.Dense


def test_a_layer_without_a_range_around_it_is_named():
    with pytest.raises(ValueError, match=r"quant_head.*annotate"):
        keras_rat.quantize_apply(partly_annotated("head"))


def test_a_model_without_annotations():
    with pytest.raises(ValueError, match=r"has no annotated layers; call keras_rat\.quantize_model to quantise all"):
        keras_rat.quantize_apply(partly_annotated())


@pytest.mark.parametrize("method", ["requantize", "keep"])
def test_31_bits_compute_what_tfmot_computes(digits, method):
    model = networks.build(networks.negative_gamma)
    quantized = keras_rat.quantize_model(model, 31, method)
    keras_rat.calibrate(quantized, digits[0][:256])
    twin = networks.tfmot_twin(model, quantized)
    assert networks.ranges(twin) == networks.ranges(quantized)
    ours, theirs = (m(digits[2], training=False).numpy() for m in (quantized, twin))
    low, high = networks.ranges(quantized)["quant_dense"]
    step = (high - low) / 255
    assert np.abs(ours - theirs).max() <= 2.01 * step
    assert (np.abs(ours - theirs) > step / 2).mean() < 0.02
    assert np.abs(ours - model(digits[2], training=False)).max() > step / 2  # and not simply the float network


def test_the_class_of_a_scheme_is_no_scheme():
    annotated = keras_rat.quantize_annotate_model(keras.Sequential([keras.Input((3,)), L.Dense(2)]))
    with pytest.raises(ValueError, match=r"class RescaleAwareScheme; give an object of it, RescaleAwareScheme\(\)"):
        keras_rat.quantize_apply(annotated, keras_rat.RescaleAwareScheme)


def test_a_model_that_is_being_pruned_is_to_be_stripped():
    pruned = tfmot.sparsity.keras.prune_low_magnitude(
        keras.Sequential([keras.Input((3,)), L.Dense(2, name="head")]),
    )
    with pytest.raises(ValueError, match=r"PruneLowMagnitude: .*strip_pruning\(model\): prune_low_magnitude_head\n"):
        keras_rat.quantize_model(pruned)


def test_data_without_widths_to_choose():
    with pytest.raises(ValueError, match=r'bits None leaves nothing to choose; give "auto"'):
        keras_rat.quantize_model(keras.Sequential([keras.Input((3,)), L.Dense(2)]), data=np.zeros((8, 3), np.float32))
