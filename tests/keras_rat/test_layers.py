# SPDX-License-Identifier: Apache-2.0
"""Every kind of layer through the stock converter: on the grid, whole int8, and LiteRT computes what Keras does."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

import keras_rat
from keras_rat import rescale_layers, tfmot_internals, widths
from tests.helpers import networks
from tests.helpers.litert import LiteRT, as_integers, off_grid
from tflm_export import check, runtimes

pytestmark = pytest.mark.sweep(3)

L = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def image_layers():
    """Transposed convolutions with normalisation and ReLU, leaky ReLUs, sizes up and down, and both global poolings."""

    def build(x):
        x = L.LeakyReLU(0.3, name="leaky")(networks.conv_bn(x, 4, relu=False))
        x = L.Conv2DTranspose(4, 3, strides=2, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
        x = L.Cropping2D(2)(L.Conv2DTranspose(6, 2, activation="relu")(x))
        x = L.UpSampling2D()(L.SpatialDropout2D(0.1)(L.MaxPooling2D()(x)))
        x = L.LeakyReLU(0.1)(L.Conv2D(8, 3)(L.ZeroPadding2D()(x)))
        x = L.Concatenate()([L.GlobalMaxPooling2D()(x), L.GlobalAveragePooling2D()(x)])
        return L.Dense(10)(L.Permute((1,))(x))

    return networks.functional(build)


def sequence_layers():
    """One dimension: causal, separable and pooled, in two nested models, with one ReLU object for all."""
    relu = L.ReLU()

    def block(filters, kind, **kwargs):
        inputs = keras.Input((None, filters))
        x = relu(L.BatchNormalization()(kind(filters, 3, use_bias=False, **kwargs)(inputs)))
        return keras.Model(inputs, x)

    x = inputs = keras.Input((24, 3))
    x = relu(L.Conv1D(8, 5, strides=2)(L.ZeroPadding1D(2)(x)))
    x = L.MaxPooling1D()(block(8, L.Conv1D, padding="causal")(x))
    x = L.AveragePooling1D()(block(8, L.SeparableConv1D, padding="same")(x))
    x = L.Reshape((24,))(x)
    return keras.Model(inputs, L.Dense(10)(x))


def volumes():
    """The layers for volumes that have no weights, on a reshaped image."""

    def build(x):
        x = L.Reshape((4, 4, 4, 4))(L.Conv2D(4, 3, padding="same", activation="relu")(x))
        x = L.SpatialDropout3D(0.1)(L.Cropping3D(1)(x))
        return L.Dense(10)(L.Concatenate()([L.GlobalAveragePooling3D()(x), L.GlobalMaxPooling3D()(x)]))

    return networks.functional(build)


NETWORKS = [(image_layers, 1), (sequence_layers, 1), (volumes, 2)]


def random_inputs(model, rows=96):
    return np.random.default_rng(0).normal(0.2, 1, (rows, *model.input_shape[1:])).astype(np.float32)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda case: f"{case[0].__name__}, {case[1]} bits")
def converted(request):
    """(width, float model, quantised model after a step of training, .tflite file, inputs)."""
    network, bits = request.param
    model = networks.build(network)
    quantized = keras_rat.quantize_model(model, bits)
    inputs = random_inputs(model)
    keras_rat.calibrate(quantized, inputs)
    quantized.compile(keras.optimizers.Adam(0.001), LOSS)
    quantized.fit(inputs, np.arange(len(inputs)) % 10, batch_size=len(inputs), verbose=0)
    return bits, model, quantized, keras_rat.convert(quantized), inputs


def test_every_factor_is_on_the_grid(converted):
    bits, _, quantized, data, _ = converted
    rows = [row for row in check(data, bits).rows if row.op not in ("SHAPE", "STRIDED_SLICE", "PACK")]
    assert all(row.narrow for row in rows)
    assert len(rows) == len(widths(quantized))


PARTED = {
    "maximum pooling": lambda x: L.MaxPooling2D(3, 2)(x),
    "padding": lambda x: L.ZeroPadding2D(1)(x),
    "dropout, which is no operator": lambda x: L.Dropout(0.1)(x),
    "cropping": lambda x: L.Cropping2D(1)(x),
    "concatenation": lambda x: L.Concatenate()([networks.conv_bn(x, 3), L.MaxPooling2D(3, 1, "same")(x)]),
}
READERS = {"average": lambda x: L.AveragePooling2D(3, 1, "same")(x), "up": lambda x: L.UpSampling2D()(x)}


@pytest.mark.sweep(8)
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("moved", PARTED.values(), ids=PARTED)
def test_what_moves_is_read_by_layers_of_either_kind(moved, reader):
    """As in InceptionV3: an average pooling beside convolutions, of a maximum pooling or a concatenation with one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    x = moved(networks.conv_bn(inputs, 4))
    one = L.GlobalMaxPooling2D()(L.Conv2D(3, 1, activation="relu")(reader(x)))
    other = L.GlobalMaxPooling2D()(L.Conv2D(4, 1)(x))
    quantized = keras_rat.quantize_model(keras.Model(inputs, L.Dense(5)(L.Concatenate()([one, other]))), 4)
    rows = random_inputs(quantized)
    keras_rat.calibrate(quantized, rows)
    runtime = LiteRT(keras_rat.convert(quantized))
    difference = np.abs(runtime.run(rows) - runtime.as_integers(quantized(rows, training=False).numpy()))
    assert difference.max() <= 3
    assert (difference > 1).mean() < 0.05


def test_litert_computes_what_keras_does(converted):
    _, _, quantized, data, inputs = converted
    runtime = LiteRT(data)
    integers = runtime.run(inputs).astype(int)
    expected = runtime.as_integers(quantized(inputs, training=False).numpy())
    assert integers.std() > 3
    assert np.abs(integers - expected).max() <= 3
    assert (np.abs(integers - expected) > 1).mean() < 0.05
    assert "DEQUANTIZE" not in {op["op_name"] for op in runtime.ops}


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_slopes_are_k_bit_numbers(bits):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(2)(L.LeakyReLU(0.3)(L.Dense(3)(inputs))))
    quantized = keras_rat.quantize_model(model, bits)
    slope = float(quantized.layers[3].layer.alpha)
    assert off_grid(slope, bits) == 0
    assert abs(slope - 0.3) <= 0.3 * 2.0**-bits
    assert float(model.layers[2].alpha) == pytest.approx(0.3)


def several_inputs():
    image, other = keras.Input((8, 8, 1), name="image"), keras.Input((6,), name="other")
    x = L.Flatten()(L.Conv2D(4, 3, activation="relu")(image))
    y = L.Dense(8, activation="relu")(other)
    both = L.Concatenate()([L.Dense(8, activation="relu")(x), y])
    return keras.Model(
        [image, other], [L.Dense(3, name="first")(both), L.Dense(2, activation="softmax", name="last")(y)]
    )


def feeds(image, other):
    halves = [slice(0, 32), slice(32, 64)]
    return {
        "dict of arrays": {"image": image, "other": other},
        "batches of lists": [[image[s], other[s]] for s in halves],
        "tuples with labels": [((image[s], other[s]), None) for s in halves],
        "dataset": tf.data.Dataset.from_tensor_slices((({"image": image, "other": other}), image[:, 0, 0, 0])).batch(
            32
        ),
    }


@pytest.mark.slow
def test_several_inputs_and_outputs_from_every_kind_of_feed():
    model = networks.build(several_inputs)
    random = np.random.default_rng(0)
    image, other = (
        random.normal(size=(64, 8, 8, 1)).astype(np.float32),
        random.uniform(0, 3, (64, 6)).astype(np.float32),
    )
    quantized = keras_rat.quantize_model(model, 1)
    found = []
    for feed in feeds(image, other).values():
        keras_rat.calibrate(quantized, feed, batch_size=32)
        found.append(networks.ranges(quantized))
    assert all(ranges == found[0] for ranges in found)

    interpreter = Interpreter(model_content=keras_rat.convert(quantized))
    interpreter.allocate_tensors()
    expected = [tensor.numpy() for tensor in quantized([image, other], training=False)]
    worst = 0
    for row in range(64):
        for details in interpreter.get_input_details():
            values = image if len(details["shape"]) == 4 else other
            interpreter.set_tensor(details["index"], runtimes.quantize_input(values[row : row + 1], details))
        interpreter.invoke()
        for details in interpreter.get_output_details():
            (real,) = [e[row] for e in expected if e.shape[1:] == tuple(details["shape"][1:])]
            got = interpreter.get_tensor(details["index"])[0].astype(float)
            worst = max(worst, np.abs(got - as_integers(real, details)).max())
    assert worst <= 2


@pytest.fixture(scope="module")
def four_bits(digits):
    """A network with 4-bit weights after two epochs, and its file."""
    model = keras_rat.quantize_model(networks.build(networks.depth_multiplier), 1, weight_bits=4)
    keras_rat.calibrate(model, digits[0][:256])
    model.compile(keras.optimizers.Adam(0.003), LOSS)
    model.fit(digits[0], digits[1], epochs=2, verbose=0)
    return model, keras_rat.convert(model)


def test_4_bit_weights_are_stored_two_a_byte_and_are_the_variables(four_bits):
    model, data = four_bits
    file = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = file.subgraphs
    weights = [tensor for tensor in graph.tensors if tensor.type == schema.TensorType.INT4]
    layers = rescale_layers(model)
    assert len(weights) == len(layers)
    for tensor in weights:
        packed = file.buffers[tensor.buffer].data
        assert len(packed) == -(-np.prod(tensor.shape) // 2)
    kernel = tfmot_internals.quantized_weights(layers[-1])[0][0].numpy().T
    (head,) = [tensor for tensor in weights if tuple(tensor.shape) == kernel.shape]
    packed = np.asarray(file.buffers[head.buffer].data, np.uint8)
    nibbles = np.stack([packed & 15, packed >> 4], 1).ravel().astype(int)[: kernel.size]  # the low one comes first
    stored = np.where(nibbles > 7, nibbles - 16, nibbles).reshape(kernel.shape)
    assert len(np.unique(stored)) > 8
    np.testing.assert_array_equal(stored, np.clip(np.rint(kernel / head.quantization.scale[0]), -7, 7))


def test_4_bit_weights_run_on_litert_and_tflm(four_bits, digits):
    model, data = four_bits
    images = digits[2][:200]
    litert = runtimes.LiteRT(data)
    expected = as_integers(model(images, training=False).numpy(), litert.output)
    for runtime in (litert, runtimes.TFLM(data)):
        integers = runtime.run(runtimes.quantize_input(images, litert.input)).astype(int)
        assert integers.std() > 3
        assert np.abs(integers - expected).max() <= 4
        assert (np.abs(integers - expected) > 1).mean() < 0.05


def test_4_bit_transposed_convolutions_are_refused():
    with pytest.raises(ValueError, match=r"Conv2DTranspose with 4-bit weights.*: conv2d_transpose, conv2d_transpose_1"):
        keras_rat.quantize_model(networks.build(image_layers), 1, weight_bits=4)


@pytest.mark.parametrize("weight_bits", [0, 3, 16, True, "4", None])
def test_weight_bits_are_checked(weight_bits):
    with pytest.raises(ValueError, match="weight_bits must be 8 or 4, got"):
        keras_rat.quantize_model(networks.build(networks.flatten_dense), weight_bits=weight_bits)


def test_mixed_precision_is_refused():
    try:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        with pytest.raises(ValueError, match=r"mixed_bfloat16.*set_global_policy"):
            keras_rat.quantize_model(keras.Sequential([L.Flatten(input_shape=(2, 2))]))
        model = networks.build(networks.flatten_dense)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    with pytest.raises(ValueError, match=r"layers dense do not compute in float32.*set_global_policy"):
        keras_rat.quantize_model(model)


@pytest.mark.parametrize("nested", [False, True])
def test_synchronised_batch_norm_is_not_lost_in_silence(nested):
    def build(x):
        part = [L.Conv2D(2, 3), L.BatchNormalization(synchronized=True)]
        for layer in [keras.Sequential(part)] if nested else part:
            x = layer(x)
        return L.Dense(2)(L.Flatten()(x))

    with pytest.raises(ValueError, match="SyncBatchNormalization"):
        keras_rat.quantize_model(networks.functional(build))


@pytest.mark.slow
def test_xla_trains_as_the_graph_does(digits):
    losses = []
    for compiled in (False, True):
        model = keras_rat.quantize_model(networks.build(networks.flatten_dense), 2)
        keras_rat.calibrate(model, digits[0][:64])
        model.compile(keras.optimizers.SGD(0.05), LOSS, jit_compile=compiled)
        history = model.fit(digits[0][:256], digits[1][:256], epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0][1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
