# SPDX-License-Identifier: Apache-2.0
"""Every layer, activation, regularizer and constraint of Keras 3 rebuilt in tf_keras, held to what Keras 3 computes."""

import inspect

import numpy as np
import pytest
import tf_keras

import keras_rat
from keras_rat.graph import keras3_layers
from tests.helpers.keras3 import assert_equal_outputs, keras, shake

L = keras.layers
IMAGE, ROW, FLAT = (9, 10, 4), (9, 4), (6,)

# One or several of every layer that both have, with arguments off their defaults: (shape of the input, the layer).
SAMPLES = {
    "Activation": [(IMAGE, lambda: L.Activation("relu"))],
    "ActivityRegularization": [(FLAT, lambda: L.ActivityRegularization(l2=0.1))],
    "AlphaDropout": [(FLAT, lambda: L.AlphaDropout(0.2, seed=1))],
    "AveragePooling1D": [(ROW, lambda: L.AveragePooling1D(3, 2, "same"))],
    "AveragePooling2D": [(IMAGE, lambda: L.AveragePooling2D((3, 2), 2, "same"))],
    "AveragePooling3D": [((6, 6, 6, 2), lambda: L.AveragePooling3D(2))],
    "BatchNormalization": [
        (IMAGE, lambda: L.BatchNormalization(momentum=0.9, epsilon=1e-2, center=False)),
        (IMAGE, lambda: L.BatchNormalization(axis=1, scale=False)),
        (IMAGE, lambda: L.BatchNormalization(renorm=True)),
    ],
    "Bidirectional": [
        (ROW, lambda: L.Bidirectional(L.LSTM(3, return_sequences=True))),
        (ROW, lambda: L.Bidirectional(L.GRU(3), merge_mode="sum", backward_layer=L.GRU(3, go_backwards=True))),
    ],
    "CategoryEncoding": [(FLAT, lambda: L.CategoryEncoding(4))],
    "CenterCrop": [(IMAGE, lambda: L.CenterCrop(4, 5))],
    "Conv1D": [(ROW, lambda: L.Conv1D(5, 3, 2, "causal", activation="tanh"))],
    "Conv1DTranspose": [(ROW, lambda: L.Conv1DTranspose(5, 3, 2, "same"))],
    "Conv2D": [
        (IMAGE, lambda: L.Conv2D(6, (3, 2), (2, 1), "same", groups=2, use_bias=False)),
        (IMAGE, lambda: L.Conv2D(6, 3, dilation_rate=2, activation=L.ReLU(6.0))),
    ],
    "Conv2DTranspose": [(IMAGE, lambda: L.Conv2DTranspose(5, 3, 2, "same", output_padding=1))],
    "Conv3D": [((6, 6, 6, 2), lambda: L.Conv3D(3, 2))],
    "Conv3DTranspose": [((4, 4, 4, 2), lambda: L.Conv3DTranspose(3, 2))],
    "ConvLSTM1D": [((3, 8, 2), lambda: L.ConvLSTM1D(3, 3))],
    "ConvLSTM2D": [((3, 8, 8, 2), lambda: L.ConvLSTM2D(3, 3))],
    "ConvLSTM3D": [((2, 4, 4, 4, 2), lambda: L.ConvLSTM3D(2, 2))],
    "Cropping1D": [(ROW, lambda: L.Cropping1D((1, 2)))],
    "Cropping2D": [(IMAGE, lambda: L.Cropping2D(((1, 2), (0, 1))))],
    "Cropping3D": [((6, 6, 6, 2), lambda: L.Cropping3D(1))],
    "Dense": [
        (
            FLAT,
            lambda: L.Dense(5, "relu", kernel_initializer=keras.initializers.HeNormal(keras.random.SeedGenerator(1))),
        ),
        (ROW, lambda: L.Dense(5, use_bias=False)),
    ],
    "DepthwiseConv1D": [(ROW, lambda: L.DepthwiseConv1D(3, depth_multiplier=2))],
    "DepthwiseConv2D": [(IMAGE, lambda: L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, activation="relu6"))],
    "Discretization": [(FLAT, lambda: L.Discretization([-1.0, 0.0, 1.0]))],
    "Dropout": [(IMAGE, lambda: L.Dropout(0.3, (None, 1, 1, 4), seed=3))],
    "ELU": [(FLAT, lambda: L.ELU(0.5))],
    "EinsumDense": [(ROW, lambda: L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", activation="relu"))],
    "Embedding": [(FLAT, lambda: L.Embedding(4, 3))],
    "Flatten": [(IMAGE, lambda: L.Flatten()), (IMAGE, lambda: L.Flatten("channels_first"))],
    "GRU": [
        (ROW, lambda: L.GRU(3, return_sequences=True, go_backwards=True, use_cudnn=False)),
        (ROW, lambda: L.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid")),
    ],
    "GaussianDropout": [(FLAT, lambda: L.GaussianDropout(0.2, seed=1))],
    "GaussianNoise": [(FLAT, lambda: L.GaussianNoise(0.2))],
    "GlobalAveragePooling1D": [(ROW, lambda: L.GlobalAveragePooling1D(keepdims=True))],
    "GlobalAveragePooling2D": [(IMAGE, lambda: L.GlobalAveragePooling2D("channels_first"))],
    "GlobalAveragePooling3D": [((6, 6, 6, 2), lambda: L.GlobalAveragePooling3D())],
    "GlobalMaxPooling1D": [(ROW, lambda: L.GlobalMaxPooling1D())],
    "GlobalMaxPooling2D": [(IMAGE, lambda: L.GlobalMaxPooling2D(keepdims=True))],
    "GlobalMaxPooling3D": [((6, 6, 6, 2), lambda: L.GlobalMaxPooling3D())],
    "GroupNormalization": [(IMAGE, lambda: L.GroupNormalization(2))],
    "Identity": [(IMAGE, lambda: L.Identity())],
    "LSTM": [
        (ROW, lambda: L.LSTM(3, unroll=True)),
        (ROW, lambda: L.LSTM(3, return_sequences=True, dropout=0.1, seed=2)),
    ],
    "LayerNormalization": [(IMAGE, lambda: L.LayerNormalization(-1, 1e-2))],
    "LeakyReLU": [(IMAGE, lambda: L.LeakyReLU(0.1))],
    "Masking": [(ROW, lambda: L.Masking(0.5))],
    "MaxPooling1D": [(ROW, lambda: L.MaxPooling1D(3, 2, "same"))],
    "MaxPooling2D": [(IMAGE, lambda: L.MaxPooling2D((3, 2), 2, "same"))],
    "MaxPooling3D": [((6, 6, 6, 2), lambda: L.MaxPooling3D(2))],
    "Normalization": [
        (IMAGE, lambda: L.Normalization(mean=[0.5, 0.1, 0.2, 0.3], variance=[0.2, 0.1, 2, 3])),
        (IMAGE, lambda: adapted(L.Normalization(axis=(1, 3)), IMAGE)),
        (IMAGE, lambda: adapted(L.Normalization(axis=None, invert=True), IMAGE)),
    ],
    "PReLU": [(IMAGE, lambda: L.PReLU("uniform", shared_axes=(1, 2)))],
    "Permute": [(IMAGE, lambda: L.Permute((3, 1, 2)))],
    "RNN": [(ROW, lambda: L.RNN([L.LSTMCell(3), L.GRUCell(2)])), (ROW, lambda: L.RNN(L.SimpleRNNCell(3)))],
    "RandomBrightness": [(IMAGE, lambda: L.RandomBrightness(0.2, seed=1))],
    "RandomContrast": [(IMAGE, lambda: L.RandomContrast(0.2, value_range=(0, 1)))],
    "RandomFlip": [(IMAGE, lambda: L.RandomFlip("horizontal"))],
    "RandomRotation": [(IMAGE, lambda: L.RandomRotation(0.1, "nearest"))],
    "RandomTranslation": [(IMAGE, lambda: L.RandomTranslation(0.1, (-0.1, 0.2)))],
    "RandomZoom": [(IMAGE, lambda: L.RandomZoom(0.1))],
    "ReLU": [(IMAGE, lambda: L.ReLU(1.5, 0.1, 0.2))],
    "RepeatVector": [(FLAT, lambda: L.RepeatVector(3))],
    "Rescaling": [(IMAGE, lambda: L.Rescaling(1 / 127.5, -1)), (IMAGE, lambda: L.Rescaling([1.0, 2.0, 3.0, 4.0]))],
    "Reshape": [(IMAGE, lambda: L.Reshape((-1, 2)))],
    "Resizing": [
        (IMAGE, lambda: L.Resizing(5, 7)),
        (IMAGE, lambda: L.Resizing(18, 12, "nearest")),
        (IMAGE, lambda: L.Resizing(4, 4, "bicubic", crop_to_aspect_ratio=True)),
    ],
    "SeparableConv1D": [(ROW, lambda: L.SeparableConv1D(5, 3, depth_multiplier=2))],
    "SeparableConv2D": [(IMAGE, lambda: L.SeparableConv2D(5, 3, 2, "same", activation="elu"))],
    "SimpleRNN": [(ROW, lambda: L.SimpleRNN(3, seed=1))],
    "Softmax": [(IMAGE, lambda: L.Softmax(2))],
    "SpatialDropout1D": [(ROW, lambda: L.SpatialDropout1D(0.2))],
    "SpatialDropout2D": [(IMAGE, lambda: L.SpatialDropout2D(0.2))],
    "SpatialDropout3D": [((6, 6, 6, 2), lambda: L.SpatialDropout3D(0.2))],
    "SpectralNormalization": [(IMAGE, lambda: L.SpectralNormalization(L.Conv2D(3, 3)))],
    "TimeDistributed": [(ROW, lambda: L.TimeDistributed(L.Dense(3, "relu")))],
    "UnitNormalization": [(IMAGE, lambda: L.UnitNormalization(1))],
    "UpSampling1D": [(ROW, lambda: L.UpSampling1D(3))],
    "UpSampling2D": [(IMAGE, lambda: L.UpSampling2D((2, 3), interpolation="bilinear"))],
    "UpSampling3D": [((6, 6, 6, 2), lambda: L.UpSampling3D(2))],
    "ZeroPadding1D": [(ROW, lambda: L.ZeroPadding1D((1, 2)))],
    "ZeroPadding2D": [(IMAGE, lambda: L.ZeroPadding2D(((1, 2), (0, 1))))],
    "ZeroPadding3D": [((6, 6, 6, 2), lambda: L.ZeroPadding3D(1))],
}
MERGES = {
    "Add": lambda: L.Add(),
    "AdditiveAttention": lambda: L.AdditiveAttention(),
    "Attention": lambda: L.Attention(use_scale=True),
    "Average": lambda: L.Average(),
    "Concatenate": lambda: L.Concatenate(1),
    "Dot": lambda: L.Dot(1, normalize=True),
    "Maximum": lambda: L.Maximum(),
    "Minimum": lambda: L.Minimum(),
    "Multiply": lambda: L.Multiply(),
    "Subtract": lambda: L.Subtract(),
}
CALLED_OTHERWISE = {"MultiHeadAttention"}  # in a test of its own
PARTS = {"InputLayer", "InputSpec", "Layer", "Wrapper", "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"}


def adapted(layer, shape):
    layer.adapt(np.random.default_rng(3).normal(2, 3, (20, *shape)).astype(np.float32))
    return layer


def held(layer, shape):
    """Rebuilds a model of the layer, and holds it to that of Keras 3; returns the layer in tf_keras."""
    model = keras.Sequential([keras.Input(shape), layer])
    if layer.__class__.__name__ != "Normalization":
        shake(model)
    new = keras_rat.from_keras3(model)
    inputs = np.random.default_rng(1).normal(0, 2, (3, *shape)).astype(np.float32)
    if isinstance(layer, (L.CategoryEncoding, L.Embedding)):
        inputs = np.abs(inputs).astype(np.int32) % 4
    assert_equal_outputs(model, new, inputs)
    return new.layers[0]


def own_layers(package):
    return {name for name, kind in vars(package.layers).items() if inspect.isclass(kind) and kind.__name__ == name}


def test_there_is_a_sample_of_every_layer_that_both_have():
    both = own_layers(keras) & {name for name, kind in vars(tf_keras.layers).items() if inspect.isclass(kind)}
    known = SAMPLES.keys() | MERGES.keys() | CALLED_OTHERWISE | PARTS | {"Lambda", *keras3_layers.DIFFERENT}
    assert both - known == set()


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        pytest.param(*sample, id=f"{name}{n or ''}")
        for name, samples in SAMPLES.items()
        for n, sample in enumerate(samples)
    ],
)
def test_layers_compute_what_they_did(shape, make):
    layer = make()
    new = held(layer, shape)
    assert new.name == layer.name
    assert type(new).__name__ == type(layer).__name__


@pytest.mark.parametrize("name", MERGES)
def test_layers_of_several_inputs(name):
    first, second = keras.Input(ROW), keras.Input(ROW)
    model = keras.Model([first, second], MERGES[name]()([first, second]))
    shake(model)
    rows = np.random.default_rng(1).normal(0, 2, (2, 3, *ROW)).astype(np.float32)
    assert_equal_outputs(model, keras_rat.from_keras3(model), list(rows))


@pytest.mark.parametrize("arguments", [{}, {"use_causal_mask": True}], ids=["", "causal"])
def test_attention(arguments):
    query, value = keras.Input((5, 8)), keras.Input((6, 8))
    model = keras.Model([query, value], L.MultiHeadAttention(2, 4, value_dim=3, dropout=0.1)(query, value, **arguments))
    shake(model)
    rng = np.random.default_rng(1)
    rows = [rng.normal(0, 2, (3, *shape)).astype(np.float32) for shape in ((5, 8), (6, 8))]
    assert_equal_outputs(model, keras_rat.from_keras3(model), rows)


def functions():
    return sorted(name for name, value in vars(keras.activations).items() if inspect.isfunction(value))


@pytest.mark.parametrize("name", sorted(set(functions()) - {"deserialize", "get", "serialize"}))
@pytest.mark.parametrize("as_object", [False, True], ids=["by name", "as function"])
def test_activations_are_the_same_functions_or_refused(name, as_object):
    function = getattr(keras.activations, name)
    layer = L.Activation(function if as_object else name, name="it")
    if function.__name__ in keras3_layers.ACTIVATIONS:
        held(layer, FLAT)
    else:
        with pytest.raises(ValueError, match=rf"activations that tf_keras has not: it \({function.__name__}\)"):
            keras_rat.from_keras3(keras.Sequential([keras.Input(FLAT), layer]))


@pytest.mark.parametrize("name", ["relu6", "leaky_relu", "hard_swish", "hard_silu", "swish", "hard_sigmoid", "gelu"])
def test_activations_of_convolutions(name):
    held(L.Conv2D(3, 3, activation=name), IMAGE)


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (lambda: L.ReLU(), "relu"),
        (lambda: L.ReLU(6), "relu6"),
        (lambda: L.LeakyReLU(0.2), "leaky_relu"),
        (lambda: L.Softmax(), "softmax"),
    ],
    ids=["ReLU", "ReLU6", "LeakyReLU", "Softmax"],
)
def test_activations_that_are_layers(activation, name):
    assert held(L.Dense(5, activation=activation()), FLAT).activation.__name__ == name


@pytest.mark.parametrize("activation", [lambda: L.ReLU(5.0), lambda: L.LeakyReLU(0.1), lambda: L.PReLU()])
def test_activations_that_are_other_layers_are_refused(activation):
    with pytest.raises(ValueError, match=r"it \(activation \w*ReLU\)"):
        held(L.Dense(5, activation=activation(), name="it"), FLAT)


def test_models_with_the_activations_of_keras_3_are_saved(tmp_path):
    model = keras.Sequential([keras.Input(FLAT), L.Dense(4, "hard_silu"), L.Activation("hard_sigmoid")])
    new = keras_rat.from_keras3(model)
    for file in ("model", "model.keras"):  # not .h5, for tf_keras reads none with functions that are not its own
        new.save(tmp_path / file)
        loaded = tf_keras.models.load_model(tmp_path / file, compile=False)
        rows = np.random.default_rng(0).normal(0, 3, (5, *FLAT)).astype(np.float32)
        np.testing.assert_array_equal(loaded(rows), new(rows))


REGULARIZERS = {
    "L1": lambda: keras.regularizers.L1(0.1),
    "L2": lambda: keras.regularizers.L2(0.1),
    "L1L2": lambda: keras.regularizers.L1L2(0.1, 0.2),
    "orthogonal": lambda: keras.regularizers.OrthogonalRegularizer(0.1, "columns"),
}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizers_give_the_same_loss(name):
    model = keras.Sequential([keras.Input(FLAT), L.Dense(5, kernel_regularizer=REGULARIZERS[name]())])
    np.testing.assert_allclose(keras_rat.from_keras3(model).losses, model.losses, rtol=1e-6)


CONSTRAINTS = {
    "MaxNorm": lambda: keras.constraints.MaxNorm(0.5, axis=1),
    "MinMaxNorm": lambda: keras.constraints.MinMaxNorm(0.1, 0.3, rate=0.5),
    "NonNeg": lambda: keras.constraints.NonNeg(),
    "UnitNorm": lambda: keras.constraints.UnitNorm(axis=1),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_give_the_same_weights(name):
    constraint = CONSTRAINTS[name]()
    new = held(L.Dense(5, kernel_constraint=constraint), FLAT)
    kernel = np.random.default_rng(1).normal(0, 1, (6, 5)).astype(np.float32)
    np.testing.assert_allclose(new.kernel_constraint(kernel), constraint(kernel), rtol=1e-6)


def test_normalisation_of_all_replicas_stays_one():
    assert held(L.BatchNormalization(synchronized=True), IMAGE).synchronized


def test_seeds_are_kept():
    assert held(L.Dropout(0.5, seed=7), FLAT).seed == 7
    initializer = keras.initializers.HeNormal(keras.random.SeedGenerator(5))
    assert held(L.Dense(3, kernel_initializer=initializer), FLAT).kernel_initializer.get_config() == {"seed": 5}


@keras.saving.register_keras_serializable("tests")
class Halved(keras.regularizers.Regularizer):
    def __call__(self, x):
        return keras.ops.sum(x) / 2

    def get_config(self):
        return {}


def ours(x):
    return x


REFUSED = {
    "lora": (lambda: L.Dense(4, lora_rank=2, name="it"), r"arguments .* has not: it \(Dense with lora_rank=2\)"),
    "antialias": (lambda: L.Resizing(2, 2, antialias=True, name="it"), r"arguments .*antialias=True"),
    "absent": (lambda: L.RMSNormalization(name="it"), r"layers that tf_keras has not: it \(RMSNormalization\)"),
    "regularizer": (lambda: L.Dense(3, bias_regularizer=Halved(), name="it"), r"it \(bias_regularizer Halved\)"),
    "function": (lambda: L.Dense(3, ours, name="it"), r"functions of Keras 3: it \(activation ours\)"),
    "lambda": (lambda: L.Dense(3, lambda x: x, name="it"), r"it \(activation lambda\)"),
    "Lambda": (lambda: L.Lambda(lambda x: x, name="it"), r"Lambda layers, .*: it;"),
    "inner": (lambda: L.TimeDistributed(L.Dense(3, ours), name="it"), r"it \(activation ours\)"),
    "half": (lambda: L.Dense(3, dtype="mixed_float16", name="it"), r"float32, .*: it \(mixed_float16\)"),
    "inner half": (lambda: L.TimeDistributed(L.Dense(3, dtype="mixed_float16"), name="it"), r"it \(layer Dense: mixed"),
    "double": (lambda: L.Dense(3, dtype="float64", name="it"), r"float32, .*: it \(float64\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_tf_keras_has_not_is_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        held(make(), IMAGE)
