# SPDX-License-Identifier: Apache-2.0
"""Models annotated in part: the float layers stay float32 in the file, which LiteRT and TFLM run as Keras does."""

import numpy as np
import pytest
import tf_keras as keras
from tflite_micro import runtime as tflm

import keras_rat
from tests.helpers import networks
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import grid_of
from tflm_export.narrow import check
from tflm_export.runtimes import litert_module

pytestmark = pytest.mark.sweep(3)

L = keras.layers
BITS = 2


def annotated(*names):
    """A network with an addition; the layers of these names are annotated."""

    def note(layer):
        return keras_rat.quantize_annotate_layer(layer) if layer.name in names else layer

    inputs = keras.Input((8, 8, 1))
    first = note(L.Conv2D(4, 3, padding="same", activation="relu", name="first"))(inputs)
    second = note(L.Conv2D(4, 3, padding="same", name="second"))(first)
    x = note(L.Add(name="join"))([first, second])
    x = note(L.MaxPooling2D(name="pool"))(x)
    x = note(L.Conv2D(4, 3, activation="relu", name="third"))(x)
    x = note(L.Flatten(name="flatten"))(x)
    x = note(L.Dense(32, activation="relu", name="hidden"))(x)
    return keras.Model(inputs, note(L.Dense(10, name="head"))(x))


def real(values, tensor):
    """What is in a tensor, as real numbers."""
    return values if tensor.type == "FLOAT32" else (values.astype(np.float32) - tensor.zero_point) * tensor.scale


def taken(values, tensor):
    """Real numbers as they are in a tensor."""
    if tensor.type == "FLOAT32":
        return values
    return np.clip(np.rint(values / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)


def litert(data, values):
    interpreter = litert_module().Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def micro(data, values):
    interpreter = tflm.Interpreter.from_bytes(data, arena_size=1 << 20)
    interpreter.set_input(values, 0)
    interpreter.invoke()
    return interpreter.get_output(0)


@pytest.mark.parametrize(
    ("names", "floats"),
    [
        (("first", "second", "join", "pool", "third"), 2),
        (("first",), 5),
        (("pool", "third"), 5),
        (("flatten", "hidden", "head"), 4),
    ],
    ids=["first layers", "one layer", "in the middle", "last layers"],
)
def test_float_parts_stay_in_float_and_the_file_runs(digits, names, floats):
    model = annotated(*names)
    model = keras_rat.quantize_apply(model, bits=BITS)
    keras_rat.calibrate(model, digits[0][:64])
    data = keras_rat.convert(model)
    operators = parse(data).subgraphs[0].operators
    computing = [op for op in operators if op.name in ("CONV_2D", "FULLY_CONNECTED", "ADD")]
    assert sum(op.outputs[0].type == "FLOAT32" for op in computing) == floats
    rows = [row for row in check(data, grid_of(BITS)).rows if row.factors]
    assert rows
    assert all(row.narrow for row in rows)
    graph = parse(data).subgraphs[0]
    row = taken(digits[2][:1], graph.inputs[0])
    expected = model(digits[2][:1], training=False).numpy()
    for run in (litert, micro):
        np.testing.assert_allclose(real(run(data, row), graph.outputs[0]), expected, atol=0.03 * np.abs(expected).max())


def test_shapes_are_known_where_layers_in_float_compute_them():
    """Attention in float, which has shapes computed of the number of rows; the exporter reads such of no file."""
    inputs = keras.Input((8, 6))
    x = keras_rat.quantize_annotate_layer(L.Dense(8, "relu"))(inputs)
    x = L.Flatten()(L.MultiHeadAttention(2, 4)(x, x))
    model = keras_rat.quantize_apply(keras.Model(inputs, L.Dense(3)(x)), bits=BITS)
    rows = np.random.default_rng(0).normal(size=(32, 8, 6)).astype(np.float32)
    keras_rat.calibrate(model, rows)
    data = keras_rat.convert(model)
    assert check(data, grid_of(BITS)).offenders == ()
    graph = parse(data).subgraphs[0]
    expected = model(rows[:1], training=False).numpy()
    found = real(litert(data, taken(rows[:1], graph.inputs[0])), graph.outputs[0])
    np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max())


def test_it_trains_and_float_layers_move(digits):
    model = keras_rat.quantize_apply(annotated("first", "second", "join"), bits=BITS)
    keras_rat.calibrate(model, digits[0][:64])
    before = model.get_layer("head").get_weights()[0]
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits[0][:64], digits[1][:64], verbose=0)
    assert (before != model.get_layer("head").get_weights()[0]).any()
    assert keras_rat.convert(model)


@pytest.mark.parametrize("names", [("hidden",), ("third", "flatten"), ("join",)])
def test_layers_between_float_ones_that_have_no_range_are_refused_at_once(names):
    with pytest.raises(
        ValueError, match=r"no quantised range before or after layers quant_\w+.*stay in float"
    ) as error:
        keras_rat.quantize_apply(annotated(*names), bits=BITS)
    assert "first, second" in str(error.value)


def test_a_whole_model_has_no_float_operators(digits):
    model = keras_rat.quantize_model(networks.build(networks.flatten_dense), BITS)
    keras_rat.calibrate(model, digits[0][:64])
    types = {t.type for op in parse(keras_rat.convert(model)).operators for t in (*op.inputs, *op.outputs) if t}
    assert "FLOAT32" not in types
