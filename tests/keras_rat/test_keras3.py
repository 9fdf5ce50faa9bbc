# SPDX-License-Identifier: Apache-2.0
"""Models of Keras 3, rebuilt in tf_keras and quantised: held to what Keras 3 computes."""

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tf_keras

import keras_rat
from tests.helpers.keras3 import assert_equal_outputs, keras, shake

L = keras.layers


def sequential(*layers):
    return lambda: keras.Sequential([keras.Input((12, 12, 3), name="picture"), *(layer() for layer in layers)])


def without_input(build):
    def make():
        model = keras.Sequential([L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(3)], name="open")
        build(model)
        return model

    return make


def trained(model):
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 12, 12, 3)), np.ones((8, 3)), batch_size=4, verbose=0)


def branched():
    x = inputs = keras.Input((12, 12, 3))
    left = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    right = L.LeakyReLU(0.1)(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(left)))
    x = L.Concatenate()([L.Add()([left, right]), L.AveragePooling2D(3, 1, "same")(x)])
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)), name="branched")


def arithmetic():
    x = inputs = keras.Input((12, 12, 3))
    y = L.Conv2D(3, 1)(x)
    x = (x + y) * 0.5 - y * (2 - x) / 3
    x = 1 - keras.ops.maximum(x, keras.ops.minimum(y, x - 0.25))
    return keras.Model(inputs, L.ReLU(6.0)(x + 3.0) * (1.0 / 6.0))


def block(name):
    return keras.Sequential([L.Conv2D(4, 3, padding="same"), L.BatchNormalization(), L.ReLU()], name=name)


def nested():
    inner_inputs = keras.Input((12, 12, 4))
    inner = keras.Model(inner_inputs, L.Add()([block("deepest")(inner_inputs), inner_inputs]), name="inner")
    x = inputs = keras.Input((12, 12, 3))
    x = block("first")(x)
    x = inner(inner(x, training=False))
    return keras.Model(inputs, keras.Sequential([L.Flatten(), L.Dense(3)], name="head")(x), name="outer")


def in_sequential():
    return keras.Sequential([keras.Input((12, 12, 3)), branched(), L.Dense(2)])


def shared():
    x = inputs = keras.Input((12, 12, 3))
    conv, relu = L.Conv2D(3, 3, padding="same"), L.ReLU()
    return keras.Model(inputs, relu(conv(relu(conv(x)))))


def shared_with_a_nested_model():
    base = branched()
    features = keras.Model(base.input, base.layers[1].output)
    x = keras.Input((12, 12, 3))
    return keras.Model(x, [base(x), base.layers[1](x), features(x)])


def cut():
    whole = branched()
    return keras.Model(whole.layers[-2].input, whole.output)


def channels_first():
    x = inputs = keras.Input((12, 12, 3))
    x = L.BatchNormalization(axis=1)(L.Permute((3, 1, 2))(x))
    x = L.ZeroPadding2D(1, data_format="channels_first")(x)
    return keras.Model(inputs, [L.GlobalMaxPooling2D("channels_first")(x), L.Flatten("channels_first")(x)])


class Wired(keras.Model):
    """A functional model in a class with a constructor of its own."""

    def __init__(self, units):
        inputs = keras.Input((12, 12, 3))
        super().__init__(inputs, L.Dense(units)(L.Flatten()(inputs)), name="wired")
        self.units = units


class Stacked(keras.Sequential):
    def __init__(self, units):
        super().__init__([keras.Input((12, 12, 3)), L.Flatten(), L.Dense(units)])

    def get_config(self):
        return {"units": 3}


ON_IMAGES = {
    "sequential": sequential(
        lambda: L.Conv2D(4, 3), lambda: L.MaxPooling2D(), L.Flatten, lambda: L.Dense(3, "softmax")
    ),
    "built by shape": without_input(lambda model: model.build((None, 12, 12, 3))),
    "built by data": without_input(lambda model: model(np.zeros((2, 12, 12, 3)))),
    "built by training": without_input(trained),
    "branched": branched,
    "arithmetic": arithmetic,
    "nested": nested,
    "in sequential": in_sequential,
    "shared": shared,
    "shared with a nested model": shared_with_a_nested_model,
    "cut out": cut,
    "channels first": channels_first,
    "a class": lambda: Wired(3),
    "a class of sequential models": lambda: Stacked(3),
}


@pytest.mark.parametrize("name", ON_IMAGES)
def test_models_compute_what_they_did(name):
    model = ON_IMAGES[name]()
    shake(model)
    before = [weight.copy() for weight in model.get_weights()]
    new = keras_rat.from_keras3(model)
    assert isinstance(new, tf_keras.Model)
    shape = model.inputs[0].shape[1:]
    assert [tuple(tensor.shape) for tensor in new.inputs] == [(None, *shape)]
    assert_equal_outputs(model, new, np.random.default_rng(1).normal(0, 1, (3, *shape)).astype(np.float32))
    if name == "sequential":
        assert new.input_names == ["picture"]
    assert (new.name, new.count_params()) == (model.name, model.count_params())
    names = [layer.name for layer in model.layers]
    assert [layer.name for layer in new.layers if layer.name in names] == names
    for old, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, old)
    new.set_weights([weight + 1 for weight in new.get_weights()])
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def twins():
    """One nested model on two inputs, whose outputs are outputs of the whole, too."""
    left, right = keras.Input((9, 2), name="left"), keras.Input((9, 2), name="right")
    steps = [L.Conv1D(4, 3, padding="causal", activation="relu"), L.GlobalAveragePooling1D(), L.Dense(3)]
    tower = keras.Sequential([keras.Input((9, 2)), *steps])
    inner = keras.Input((9, 2))
    tower = keras.Model(inner, tower(inner), name="tower")
    first, second = tower(left), tower(right)
    return keras.Model({"left": left, "right": right}, {"b": first, "a": second, "near": L.Dot(1)([first, second])})


def in_a_list():
    left, right = keras.Input((9, 2)), keras.Input((9, 2))
    return keras.Model([left, right], [L.Subtract()([right, left]), L.Concatenate()([left, right])])


def test_several_inputs_and_outputs_by_name():
    model = twins()
    shake(model)
    new = keras_rat.from_keras3(model)
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(0, 1, (4, 9, 2)).astype(np.float32) for name in ("left", "right")}
    assert sorted(new(rows)) == ["a", "b", "near"]
    assert sorted(new.input_names) == ["left", "right"]
    assert_equal_outputs(model, new, rows)


def test_several_inputs_and_outputs_in_order():
    rows = list(np.random.default_rng(0).normal(0, 1, (2, 4, 9, 2)).astype(np.float32))
    model = in_a_list()
    assert_equal_outputs(model, keras_rat.from_keras3(model), rows)


def test_words_and_masks():
    steps = [L.Embedding(10, 4, mask_zero=True), L.LSTM(4, return_sequences=True), L.GRU(3), L.Dense(2)]
    model = keras.Sequential([keras.Input((7,), dtype="int32"), *steps])
    shake(model)
    rows = np.random.default_rng(0).integers(0, 10, (6, 7), np.int32)
    rows[:, 4:] = 0
    assert_equal_outputs(model, keras_rat.from_keras3(model), rows)


def test_what_is_frozen_stays_frozen():
    base = branched()
    base.trainable = False
    x = inputs = keras.Input((12, 12, 3))
    stem = L.Conv2D(3, 1, name="stem")
    stem.trainable = False
    norm = L.BatchNormalization(name="norm")
    half = L.Bidirectional(L.LSTM(2), name="half")
    half.forward_layer.trainable = False
    x = half(L.Reshape((3, 1))(base(norm(stem(x)))))
    model = keras.Model(inputs, L.Dense(2, name="head")(x))
    new = keras_rat.from_keras3(model)
    for name in ("stem", "norm", "half", "head", "branched"):
        assert new.get_layer(name).trainable == model.get_layer(name).trainable
    for of_model in (lambda m: m.trainable_weights, lambda m: m.non_trainable_weights):
        assert [w.shape for w in of_model(new)] == [w.shape for w in of_model(model)]
    assert not any(layer.trainable for layer in new.get_layer("branched").layers[1:])
    model.trainable = False
    assert keras_rat.from_keras3(model).trainable_weights == []


@keras.saving.register_keras_serializable("tests")
class Own(L.Layer):
    def __init__(self, depth, **kwargs):  # and no get_config
        super().__init__(**kwargs)
        self.depth = depth

    def call(self, x):
        return x + self.depth


class Halved(L.Dense):
    def call(self, inputs):
        return super().call(inputs) / 2


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="seen_from_outside")
        self.dense = L.Dense(3)

    def call(self, x):
        return self.dense(x)


def test_all_that_cannot_be_rebuilt_is_listed_by_reason():
    x = inputs = keras.Input((6, 3))
    x = Own(3, name="mine")(x)
    x = Halved(3, name="half")(x)
    x = L.Lambda(lambda t: t * 2, name="twice")(x)
    x = L.RMSNormalization(name="rms")(x)
    x = keras.ops.cumsum(x, axis=1)
    x = Subclassed()(x)
    x = L.Dense(3, "sparsemax", name="sparse")(x)
    x = keras.Sequential([L.Dense(4, dtype="mixed_float16", name="brief")])(x)
    model = keras.Model(inputs, x, name="mixture")
    for call in (keras_rat.from_keras3, keras_rat.quantize_model, keras_rat.quantize_annotate_model):
        with pytest.raises(ValueError, match="mixture") as error:
            call(model)
        first, *lines = str(error.value).split("\n")
        assert first.startswith("Functional 'mixture' was built with Keras 3 and cannot be rebuilt in tf_keras")
        assert [line.partition(":")[0] for line in lines] == [
            "- custom layers",
            "- Lambda layers, whose function is written for Keras 3",
            "- layers that tf_keras has not",
            "- functions called on Keras tensors",
            "- subclassed models, whose layers cannot be seen",
            "- activations that tf_keras has not",
            "- layers that do not compute in float32, without which scales cannot make rescales k bits wide",
        ]
        assert [line.partition(": ")[2].partition(";")[0] for line in lines] == [
            "mine (Own), half (Halved)",
            "twice",
            "rms (RMSNormalization)",
            "cumsum (Cumsum)",
            "seen_from_outside (Subclassed)",
            "sparse (sparsemax)",
            "brief (mixed_float16)",
        ]


def on_a_constant():
    x = keras.Input((3,))
    return keras.Model(x, L.Add(name="sum")([x, np.ones((1, 3), np.float32)]))


def of_a_constant():
    x = keras.Input((3,))
    return keras.Model(x, x + np.ones((1, 3), np.float32))


def divided():
    x = keras.Input((3,))
    return keras.Model(x, 1 / x)


def of_nothing():
    x = keras.Input((3,))
    return keras.Model(x, x / 0)


def of_integers():
    x = keras.Input((3,), dtype="int32")
    return keras.Model(x, x * 2)


def masked():
    x = inputs = keras.Input((4,), dtype="int32")
    x = L.Embedding(5, 3, mask_zero=True, name="words")(x)
    return keras.Model(inputs, L.LSTM(3)(L.Masking(name="mask")(x)))


def frozen_weight():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, name="dense")])
    model.layers[0].bias.trainable = False
    return model


def optional():
    x, y = keras.Input((3,)), keras.Input((3,), optional=True, name="perhaps")
    return keras.Model([x, y], L.Add()([x, y]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (on_a_constant, r"calls on constants: sum \(Add\); keep"),
        (of_a_constant, r"functions called on Keras tensors: add\w* \(Add\); put"),
        (divided, r"functions called on Keras tensors: true_divide\w* \(TrueDivide\)"),
        (of_nothing, r"functions called on Keras tensors: true_divide\w* \(TrueDivide\)"),
        (of_integers, r"functions called on Keras tensors: multiply\w* \(Multiply\)"),
        (frozen_weight, r"single weights that are frozen: dense; freeze whole layers"),
        (masked, r"\n- layers that mask .*: words \(Embedding\), mask \(Masking\); leave the masks out$"),
        (optional, r"optional inputs, .*: perhaps \(InputLayer\)"),
        (lambda: keras.Sequential([L.Dense(2)], name="open"), r"not built: open \(Sequential\); give"),
        (Subclassed, r"subclassed models, .*: seen_from_outside \(Subclassed\)"),
    ],
)
def test_what_cannot_be_rebuilt(make, message):
    with pytest.raises(ValueError, match=message):
        keras_rat.quantize_model(make())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tf_keras.Sequential([tf_keras.Input((2,))]), r"got tf_keras\.\S*Sequential; it needs no rebuilding"),
        (lambda: L.Dense(2), r"expected a Keras 3 Model, got keras\.\S*Dense$"),
        (lambda: "model.keras", r"got builtins\.str$"),
        (lambda: None, r"got builtins\.NoneType$"),
    ],
)
def test_only_models_of_keras_3_are_rebuilt(wrong, message):
    with pytest.raises(ValueError, match=message):
        keras_rat.from_keras3(wrong())


def test_layers_of_keras_3_are_not_annotated():
    with pytest.raises(ValueError, match=r"Dense 'three' is of Keras 3.*from_keras3"):
        keras_rat.quantize_annotate_layer(L.Dense(3, name="three"))


def test_a_model_of_keras_3_has_no_annotations():
    with pytest.raises(ValueError, match="annotated"):
        keras_rat.quantize_apply(branched())


def test_keras_3_is_left_to_its_users():
    """TensorFlow may import it, keras_rat does not."""
    for path in pathlib.Path(keras_rat.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                assert not any(name.partition(".")[0] == "keras" for name in names), path


OTHER_BACKEND = """
import numpy as np, keras
L = keras.layers
x = keras.Input((8, 8, 3))
y = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(x))
model = keras.Model(x, L.Dense(3)(L.GlobalAveragePooling2D()(y * 0.5)))
import keras_rat
new = keras_rat.from_keras3(model)
rows = np.random.default_rng(0).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
assert np.abs(model.predict(rows, verbose=0) - new.predict(rows, verbose=0)).max() < 1e-6
print(keras.backend.backend())
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend(backend):
    pytest.importorskip(backend, reason=f"needs {backend}")
    done = subprocess.run(
        [sys.executable, "-c", OTHER_BACKEND],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{backend}\n", done.stderr[-2000:]
