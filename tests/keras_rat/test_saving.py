# SPDX-License-Identifier: Apache-2.0
"""Where a model goes: .keras files are refused when they are written, convert writes files, schemes are named."""

import copy
import os
import pickle

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts import cluster_preserve, prune_preserve

import keras_rat
from keras_rat.graph.listed import listed
from keras_rat.refusals import grouped
from tests.helpers import networks
from tflm_export.errors import UsageError

L = keras.layers


@pytest.fixture(scope="module")
def quantized(digits):
    model = keras_rat.quantize_model(networks.build(networks.flatten_dense), 4)
    keras_rat.calibrate(model, digits[0][:64])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_keras_files_are_refused_before_there_is_one(quantized, tmp_path):
    with pytest.raises(UsageError, match=r"cannot be saved as \.keras.*\.h5 or as a folder"):
        quantized.save(tmp_path / "model.keras")
    with pytest.raises(UsageError, match=r"cannot be saved as \.weights\.h5.*save_weights\('NAME\.h5'\)"):
        quantized.save_weights(tmp_path / "model.weights.h5")
    assert os.listdir(tmp_path) == []


def test_a_refused_file_of_weights_leaves_the_one_that_is_there(quantized, tmp_path):
    path = tmp_path / "model.weights.h5"
    networks.build(networks.flatten_dense).save_weights(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"cannot be saved as \.weights\.h5"):
        quantized.save_weights(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "model"])
def test_weights_of_the_float_model_by_name_are_refused(quantized, tmp_path, whole):
    model = networks.build(networks.flatten_dense)
    (model.save if whole else model.save_weights)(tmp_path / "float.h5")
    before = quantized.get_weights()
    with pytest.raises(UsageError, match=r"finds no layers quant_dense in .*float\.h5.*give that to quantize_model"):
        quantized.load_weights(tmp_path / "float.h5", by_name=True)
    for value, expected in zip(quantized.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def partly(annotate):
    """A layer that stays in float, and has the same name in the quantised model, one before others, and one for two."""

    def build(x):
        x = L.Conv2D(2, 3, name="before")(L.Conv2D(2, 3, name="in_float")(x))
        x = annotate(L.SeparableConv2D(2, 3, name="separable"))(x)
        return annotate(L.Dense(3, name="logits"))(annotate(L.Flatten())(x))

    return networks.build(lambda: networks.functional(build))


def test_every_layer_that_would_be_passed_over_is_named(tmp_path):
    partly(lambda layer: layer).save_weights(tmp_path / "float.h5")
    model = keras_rat.quantize_apply(partly(keras_rat.quantize_annotate_layer))
    missed = "quant_before, quant_separable_depthwise, quant_separable_pointwise, quant_logits"
    with pytest.raises(UsageError, match=f"finds no layers {missed} in"):
        model.load_weights(tmp_path / "float.h5", by_name=True)


def test_weights_of_a_quantised_model_load_by_name(quantized, tmp_path):
    quantized.save_weights(tmp_path / "quantized.h5")
    other = keras_rat.quantize_model(networks.build(networks.flatten_dense, seed=1), 4)
    other.load_weights(tmp_path / "quantized.h5", by_name=True)
    for value, expected in zip(other.get_weights(), quantized.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.sweep(2)
@pytest.mark.parametrize("name", ["weights.h5", "weights"])
@pytest.mark.filterwarnings("ignore:`Model.state_updates`:UserWarning")
def test_weights_load_in_a_graph_of_tensorflow_1(tmp_path, name):
    rows = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 8, 8, 1)
    path = str(tmp_path / name)
    with tf.Graph().as_default(), tf.compat.v1.Session().as_default():
        saved, loaded = (keras_rat.quantize_model(networks.build(networks.flatten_dense), 4) for _ in range(2))
        saved.set_weights([2 * value for value in saved.get_weights()])
        saved.save_weights(path)
        assert not np.array_equal(loaded.predict(rows), saved.predict(rows))
        loaded.load_weights(path)
        np.testing.assert_array_equal(loaded.predict(rows), saved.predict(rows))


@pytest.mark.parametrize("network", [networks.hidden_sigmoid, networks.flatten_dense], ids=lambda n: n.__name__)
def test_objects_of_keras_3_are_refused_by_name(network):
    keras_3 = pytest.importorskip("keras")
    model = keras_rat.quantize_model(networks.build(network))
    with pytest.raises(
        UsageError, match=r"compile got RMSprop of Keras 3.*pass tf_keras\.optimizers\.RMSprop in place"
    ):
        model.compile(keras_3.optimizers.RMSprop(), "mse")
    everything = {
        "optimizer": type("Mine", (keras_3.optimizers.Adam,), {})(),
        "loss": {"a": keras_3.losses.MeanSquaredError()},
        "metrics": [keras.metrics.MeanSquaredError(), [keras_3.metrics.CategoricalAccuracy()]],
    }
    with pytest.raises(UsageError) as error:
        model.compile(**everything)
    for name in ("optimizers.Adam", "losses.MeanSquaredError", "metrics.CategoricalAccuracy"):
        assert f"tf_keras.{name}" in str(error.value)
    model.compile(keras.optimizers.Adam(), keras.losses.MeanSquaredError(), ["mse", keras.metrics.MeanSquaredError()])
    model.compile(loss="mse")
    assert isinstance(model.optimizer, keras.optimizers.RMSprop)


@pytest.mark.parametrize("function", ["fit", "evaluate", "predict"])
def test_callbacks_of_keras_3_are_refused_by_name(quantized, digits, function):
    keras_3 = pytest.importorskip("keras")
    rows = digits[0][:32] if function == "predict" else (digits[0][:32], digits[1][:32])
    rows = rows if isinstance(rows, tuple) else (rows,)
    stops = [keras_3.callbacks.EarlyStopping("loss")]
    with pytest.raises(UsageError, match=rf"{function} got EarlyStopping.*pass tf_keras\.callbacks\.EarlyStopping in"):
        getattr(quantized, function)(*rows, callbacks=stops, verbose=0)
    getattr(quantized, function)(*rows, callbacks=[keras.callbacks.Callback()], verbose=0)


@pytest.mark.sweep(4)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("network", [networks.hidden_sigmoid, networks.flatten_dense], ids=lambda n: n.__name__)
def test_copies_go_on_like_the_model(network, again, digits):
    model = keras_rat.quantize_model(networks.build(network), 4)
    keras_rat.calibrate(model, digits[0][:64])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits[0][:64], digits[1][:64], shuffle=False, verbose=0)
    copied = again(model)
    assert type(copied) is type(model)
    for each in (model, copied):
        each.fit(digits[0][:64], digits[1][:64], shuffle=False, verbose=0)
    np.testing.assert_array_equal(copied.predict(digits[2], verbose=0), model.predict(digits[2], verbose=0))
    assert keras_rat.convert(copied) == keras_rat.convert(model)


def test_a_checkpoint_is_refused_and_one_in_h5_is_not(quantized, digits, tmp_path):
    def fit(name):
        checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / name))
        quantized.fit(digits[0][:32], digits[1][:32], verbose=0, callbacks=[checkpoint])

    with pytest.raises(UsageError, match=r"cannot be saved as \.keras"):
        fit("model.keras")
    fit("model.h5")
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "model.h5")
    assert keras_rat.convert(loaded) == keras_rat.convert(quantized)


def test_float_and_copied_models_are_left_alone(quantized, digits, tmp_path):
    networks.build(networks.flatten_dense).save(tmp_path / "float.keras")
    keras.models.load_model(tmp_path / "float.keras")
    with keras_rat.quantize_scope():
        copied = keras.models.clone_model(quantized)
    copied.set_weights(quantized.get_weights())
    np.testing.assert_array_equal(copied(digits[2][:9]), quantized(digits[2][:9]))


def test_convert_writes_what_it_returns(quantized, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    data = keras_rat.convert(quantized, path)
    assert path.read_bytes() == data == keras_rat.convert(quantized)
    assert os.listdir(tmp_path) == ["model.tflite"]


@pytest.mark.parametrize("path", ["missing/model.tflite", ".", 3])
def test_convert_refuses_paths_at_once(quantized, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"cannot write|path must be"):
        keras_rat.convert(quantized, path)
    assert os.listdir(tmp_path) == []


def test_the_default_scheme_of_tfmot_is_that_of_keras_rat():
    annotated = keras_rat.quantize_annotate_model(networks.build(networks.flatten_dense))
    scheme = tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme()
    assert keras_rat.widths(keras_rat.quantize_apply(annotated, scheme, bits=3)) == {"quant_dense": 3}


@pytest.mark.parametrize(
    "scheme",
    [
        prune_preserve.default_8bit_prune_preserve_quantize_scheme.Default8BitPrunePreserveQuantizeScheme,
        cluster_preserve.default_8bit_cluster_preserve_quantize_scheme.Default8BitClusterPreserveQuantizeScheme,
    ],
)
def test_schemes_with_quantizers_of_their_own_are_refused(scheme):
    annotated = keras_rat.quantize_annotate_model(networks.build(networks.flatten_dense))
    with pytest.raises(UsageError, match=rf"{scheme.__name__} is no RescaleAwareScheme.*narrow the converted file"):
        keras_rat.quantize_apply(annotated, scheme())


def test_refusals_are_a_line_for_each_reason():
    offenders = [(f"a{i}", "one") for i in range(20)] + [("b", "other")]
    assert grouped(offenders) == "  one: a0, a1, a2, a3, a4, a5 and 14 more\n  other: b"
    assert listed("abcdef") == "a, b, c, d, e, f"
    assert listed("abcdefgh") == "a, b, c, d, e, f and 2 more"


def test_a_large_model_is_refused_in_few_lines():
    x = inputs = keras.Input((8, 8, 1))
    for _ in range(40):
        x = L.Conv2D(2, 1, activation="elu")(x)
    with pytest.raises(ValueError, match="activation elu") as error:
        keras_rat.quantize_model(keras.Model(inputs, x))
    assert len(str(error.value)) < 500
    assert "and 34 more" in str(error.value)
