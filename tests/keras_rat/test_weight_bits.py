# SPDX-License-Identifier: Apache-2.0
"""Bits of weights of their own for layers: by patterns, by annotation, and what becomes of them in the file."""

import numpy as np
import pytest
import tf_keras as keras
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

import keras_rat
from keras_rat import rescale_layers
from tests.helpers import networks
from tests.helpers.litert import as_integers
from tests.helpers.nibbles import unpacked
from tests.helpers.sweeps import sampled
from tflm_export import check, runtimes

pytestmark = pytest.mark.sweep(3)

L = keras.layers
PATTERNS = {"separable": 4, "dense$": 4, ".*": 8}


def network():
    def build(x):
        x = networks.conv_bn(x, 8)
        x = L.SeparableConv2D(8, 3, activation="relu", name="separable")(x)
        x = L.Add()([x, networks.conv_bn(x, 8)])
        return L.Dense(10, name="logits")(L.Dense(16, activation="relu")(L.Flatten()(x)))

    return networks.functional(build)


def weight_bits(model) -> dict[str, int]:
    return {
        layer.name.removeprefix("quant_"): layer.quantize_config.quantizer.weight_bits
        for layer in rescale_layers(model)
    }


def test_the_first_pattern_found_in_a_name_counts():
    assert weight_bits(keras_rat.quantize_model(networks.build(network), 1, weight_bits=PATTERNS)) == {
        "conv2d": 8,
        "separable_depthwise": 4,
        "separable_pointwise": 4,
        "conv2d_1": 8,
        "dense": 4,
        "logits": 8,
    }


def test_layers_without_a_pattern_and_patterns_of_no_use_are_all_named():
    model = networks.build(network)
    with pytest.raises(ValueError, match=r"no pattern of weight_bits matches layers separable, dense, logits; add"):
        keras_rat.quantize_model(model, 1, weight_bits={"conv2d": 4})
    with pytest.raises(
        ValueError, match=r"weight_bits that match no layer: 'add'; the layers with weights are conv2d, "
    ):
        keras_rat.quantize_model(model, 1, weight_bits={".*": 4, "add": 8})


@pytest.mark.parametrize("mapping", [{"(": 4}, {4: 4}, {".*": 5}, {".*": True}, {}])
def test_a_mapping_out_of_range(mapping):
    with pytest.raises(ValueError, match="weight_bits"):
        keras_rat.quantize_model(networks.build(network), 1, weight_bits=mapping)


def annotated():
    return keras.Sequential(
        [
            keras_rat.quantize_annotate_layer(L.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), weight_bits=4),
            L.Flatten(),
            L.Dense(8, activation="relu"),
            keras_rat.quantize_annotate_layer(L.Dense(10), bits=6, weight_bits=8),
        ]
    )


@pytest.mark.parametrize("scheme", [4, {"^dense$": 4}], ids=["one for all", "patterns"])
def test_annotated_bits_come_before_the_schemes(scheme):
    model = keras_rat.quantize_annotate_model(networks.build(annotated))
    found = keras_rat.quantize_apply(model, bits=1, weight_bits=scheme)
    assert weight_bits(found) == {"conv2d": 4, "dense": 4, "dense_1": 8}
    assert keras_rat.widths(found) == {"quant_conv2d": 1, "quant_dense": 1, "quant_dense_1": 6}


def test_annotations_are_checked():
    with pytest.raises(ValueError, match="weight_bits must be 8 or 4, got 2"):
        keras_rat.quantize_annotate_layer(L.Dense(2), weight_bits=2)
    config = keras_rat.configs.NoQuantizeConfig()
    with pytest.raises(ValueError, match="layer of_two: give bits and weight_bits or a quantize_config, not both"):
        keras_rat.quantize_annotate_layer(L.Dense(2, name="of_two"), config, bits=1, weight_bits=4)
    with pytest.raises(ValueError, match="layer flat: Flatten with weight_bits, but no weights to quantise"):
        keras_rat.quantize_annotate_layer(L.Flatten(name="flat"), weight_bits=4)


def test_transposed_convolutions_alone_stay_at_8_bits():
    model = networks.build(lambda: networks.functional(lambda x: L.Conv2DTranspose(3, 2)(L.Conv2D(4, 3)(x))))
    with pytest.raises(ValueError, match=r"Conv2DTranspose with 4-bit weights.*: conv2d_transpose\n"):
        keras_rat.quantize_model(model, 1, weight_bits={"conv2d$": 8, ".*": 4})
    found = keras_rat.quantize_model(model, 1, weight_bits={"transpose": 8, ".*": 4})
    assert weight_bits(found) == {"conv2d": 4, "conv2d_transpose": 8}


@pytest.fixture(scope="module", params=["requantize", "keep"])
def converted(request, digits):
    """(model after an epoch, its file)."""
    model = keras_rat.quantize_model(networks.build(network), 2, request.param, weight_bits=PATTERNS)
    keras_rat.calibrate(model, digits[0][:128])
    model.compile(keras.optimizers.Adam(0.002), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits[0], digits[1], epochs=1, verbose=0)
    return model, keras_rat.convert(model)


def stored_weights(data: bytes) -> list[tuple[int, np.ndarray]]:
    """(bits, integers [outputs, ...]) of every layer, by the schema and the definition of packing alone."""
    file = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = file.subgraphs
    names = {getattr(schema.BuiltinOperator, name) for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")}
    found = []
    for op in graph.operators:
        if file.operatorCodes[op.opcodeIndex].builtinCode in names:
            tensor = graph.tensors[op.inputs[1]]
            content = bytes(bytearray(file.buffers[tensor.buffer].data))
            if tensor.type == schema.TensorType.INT4:
                found.append((4, np.array(unpacked(content, np.prod(tensor.shape))).reshape(tensor.shape)))
            else:
                assert tensor.type == schema.TensorType.INT8
                found.append((8, np.frombuffer(content, np.int8).reshape(tensor.shape)))
    return found


def test_the_file_has_the_bits_of_each_layer_and_is_on_the_grid(converted):
    model, data = converted
    stored = stored_weights(data)
    assert [bits for bits, _ in stored] == list(weight_bits(model).values()) == [8, 4, 4, 8, 4, 8]
    assert all(row.narrow for row in check(data, 2).rows)
    for bits, integers in stored:
        assert 2 ** (bits - 2) < np.abs(integers.astype(int)).max() <= 2 ** (bits - 1) - 1
        assert len(np.unique(integers)) > 8


def test_both_runtimes_compute_what_keras_does(converted, digits):
    model, data = converted
    images = digits[2][:200]
    litert = runtimes.LiteRT(data)
    expected = as_integers(model(images, training=False).numpy(), litert.output)
    for runtime in (litert, runtimes.TFLM(data)):
        integers = runtime.run(runtimes.quantize_input(images, litert.input)).astype(int)
        assert integers.std() > 3
        assert np.abs(integers - expected).max() <= 4
        assert (np.abs(integers - expected) > 1).mean() < 0.05


@pytest.mark.parametrize("form", sampled(["h5", "tf"], 2))
def test_bits_of_weights_survive_saving(converted, digits, tmp_path, form):
    model, _ = converted
    model.save(tmp_path / f"model.{form}", save_format=form)
    with keras_rat.quantize_scope():
        copy = keras.models.load_model(tmp_path / f"model.{form}")
    assert weight_bits(copy) == weight_bits(model)
    np.testing.assert_array_equal(copy(digits[2]), model(digits[2]))


def test_annotations_survive_saving(tmp_path):
    model = networks.build(annotated)
    model.save(tmp_path / "model.h5")
    with keras_rat.quantize_scope():
        copy = keras.models.load_model(tmp_path / "model.h5", compile=False)
    assert weight_bits(keras_rat.quantize_model(copy, 1)) == {"conv2d": 4, "dense": 8, "dense_1": 8}
