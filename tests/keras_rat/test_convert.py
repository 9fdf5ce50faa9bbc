# SPDX-License-Identifier: Apache-2.0
"""keras_rat.convert, judged by the stock converter's file on LiteRT's reference kernels."""

import functools
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import keras_rat
import tflm_export
from keras_rat import rescale_layers, tfmot_internals
from keras_rat.convert import _too_wide as too_wide
from tests.helpers import networks
from tests.helpers.litert import LiteRT, as_integers, off_grid, stock_convert
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import runtimes
from tflm_export.flatbuffer.model import parse

pytestmark = pytest.mark.sweep(5)

TOLERANCE = 2.0**-21  # what a few float32 roundings do to a factor
L = keras.layers

# Conversions take seconds: two forms for the first networks, one for the others, all four forms among both.
FORMS = ((1, "requantize"), (4, "keep"), (4, "requantize"), (1, "keep"))
CASES = [(network, *form) for index, network in enumerate(networks.ALL[:5]) for form in FORMS[index % 2 :: 2]]
CASES += [(network, *FORMS[index % 4]) for index, network in enumerate(networks.ALL[5:])]
CORNERS = [(network, 1, "requantize") for network in networks.CORNERS]
TRAINED = (networks.depth_multiplier, networks.flatten_dense)


@pytest.fixture(scope="module")
def converted(digits):
    """(quantised model, LiteRT) of a network, converted once; some are trained for two steps before."""

    @functools.cache
    def make(network, bits, method):
        model = keras_rat.quantize_model(networks.build(network), bits, method)
        keras_rat.calibrate(model, digits[0][:512])
        if network in TRAINED:
            model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.fit(digits[0][:64], digits[1][:64], verbose=0)
        return model, LiteRT(stock_convert(model))

    return make


def case_id(value):
    return getattr(value, "__name__", str(value))


every_case = pytest.mark.parametrize(("network", "bits", "method"), sampled(CASES + CORNERS, 2), ids=case_id)


@every_case
def test_every_factor_is_on_the_grid(converted, network, bits, method):
    _, runtime = converted(network, bits, method)
    factors = runtime.factors()
    assert sum(name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") for name, _ in factors) >= 1
    for name, factor in factors:
        assert off_grid(factor, bits).max() < TOLERANCE, (name, factor)


@every_case
def test_the_whole_network_is_int8(converted, network, bits, method):
    _, runtime = converted(network, bits, method)
    assert runtime.input["dtype"] == runtime.output["dtype"] == np.int8
    assert "DEQUANTIZE" not in {op["op_name"] for op in runtime.ops}
    for op in runtime.weighted:
        types = [runtime.tensor(index)["dtype"] for index in (*op["inputs"], *op["outputs"]) if index >= 0]
        assert set(types) == {np.int8, np.int32}
        assert runtime.is_constant(op["inputs"][1]), f"{op['op_name']} computes its weights on the device"


@every_case
def test_keras_and_litert_agree(converted, digits, network, bits, method):
    """Up to rounding, which layers behind add up.

    Where both factors of an addition are powers of two, up to half of its sums are ties. Kernels round these away from
    zero, float32 either way, by processor and version of TensorFlow: of one network with four seeds 0 to 8 % of the
    outputs were more than a step apart, with multipliers of 4 bits 0.02 %.
    """
    model, runtime = converted(network, bits, method)
    images = digits[2]
    real = model(images, training=False).numpy()
    keras_integers = runtime.as_integers(real)
    integers = runtime.run(images).astype(int)
    assert integers.std() > 3  # or agreement says nothing
    difference = np.abs(integers - keras_integers)
    ties = bits == 1 and "ADD" in {op["op_name"] for op in runtime.ops}
    assert difference.max() <= (4 if ties else 3)
    assert (difference > 1).mean() < (0.15 if ties else 0.05)
    at_keras_top = np.take_along_axis(integers, real.argmax(1)[:, None], 1)[:, 0]
    assert (at_keras_top >= integers.max(1) - 1).mean() > 0.99  # ties are common: LiteRT's best, up to one step


def test_additions_agree_but_for_ties(converted, digits):
    """Factors of 1 and 1/2 put half of the sums between two steps, where Keras rounds as float32 has it; see above."""
    model, runtime = converted(networks.pre_activation, 1, "requantize")
    kept = runtimes.LiteRT(keras_rat.convert(model), reference=True, keep_tensors=True)
    kept.run(as_integers(digits[2], runtime.input))
    (op,) = [op for op in runtime.ops if op["op_name"] == "ADD"]
    a, b, y = (runtime.tensor(index) for index in (*op["inputs"], *op["outputs"]))
    litert = [kept.tensor(each["index"]).astype(int) for each in (a, b, y)]
    steps = [
        (integers - each["quantization"][1]) * np.rint(each["quantization"][0] / y["quantization"][0] * 4) / 4
        for integers, each in zip(litert[:2], (a, b), strict=True)
    ]
    exact = sum(steps) + y["quantization"][1]
    assert np.abs(litert[2] - np.clip(exact, -128, 127)).max() <= 0.5

    add = model.get_layer("quant_add")
    inner = keras.Model(model.inputs, [*add.input, add.output])
    in_keras = [as_integers(x.numpy(), each) for x, each in zip(inner(digits[2]), (a, b, y), strict=True)]
    same = (litert[0] == in_keras[0]) & (litert[1] == in_keras[1])
    assert same.mean() > 0.99
    tie = exact % 1 == 0.5
    assert 0.2 < tie.mean() < 0.6
    np.testing.assert_array_equal(litert[2][same & ~tie], in_keras[2][same & ~tie])

    scale, zero_point = y["quantization"]
    x = tf.constant((litert[2] - zero_point) * scale, tf.float32)
    for layer in model.layers[model.layers.index(add) + 1 :]:
        x = layer(x)
    difference = np.abs(runtime.run(digits[2]).astype(int) - runtime.as_integers(x.numpy()))
    assert difference.max() <= 1


def channels_first(layer) -> tuple[np.ndarray, np.ndarray]:
    """The float kernel of a layer as [channels, weights per channel], and its batch-norm gain [channels] or [1]."""
    kernel = tfmot_internals.quantized_weights(layer)[0][0].numpy().astype(np.float64)
    channels = layer.layer.output_shape[-1]
    gain = np.ones(1)
    for node in layer.outbound_nodes:
        follower = getattr(node.layer, "layer", None)
        if isinstance(follower, L.BatchNormalization):
            gain = follower.gamma.numpy() / np.sqrt(follower.moving_variance.numpy() + follower.epsilon)
    return kernel.reshape(-1, channels).T, gain


@pytest.mark.parametrize(("network", "bits", "method"), sampled(CASES, 2), ids=case_id)
def test_int8_weights_are_the_rounded_variables(converted, network, bits, method):
    model, runtime = converted(network, bits, method)
    stored = []
    for op in runtime.weighted:
        integers, scale = runtime.values(op["inputs"][1]), runtime.scales(op["inputs"][1])
        if op["op_name"] == "DEPTHWISE_CONV_2D":  # channels last; else first
            integers = integers.reshape(-1, integers.shape[-1]).T
        stored.append((integers.reshape(integers.shape[0], -1).astype(int), scale[:, None]))
    layers = rescale_layers(model)
    assert len(stored) == len(layers)
    for layer in layers:
        kernel, gain = channels_first(layer)
        distances = []
        for integers, scale in stored:
            if integers.shape != kernel.shape:
                continue
            real = kernel * gain[:, None] / scale
            if method == "keep":  # the integers are those of the stock scale, one a channel or one a tensor
                largest = np.abs(kernel).max(axis=1 if scale.size > 1 else None, keepdims=True)
                real = 127 * np.sign(gain)[:, None] * kernel / largest
            distances.append(np.abs(np.clip(real, -127, 127) - integers).max())
        assert min(distances) < 0.5 + 1e-4, f"{layer.name}: no operator has its weights"  # float32 decides near ties


@pytest.mark.parametrize("network", [networks.residual, networks.one_logit, networks.dead_channel], ids=case_id)
def test_convert_returns_the_stock_file(converted, network):
    model, runtime = converted(network, 1, "requantize")
    ours = LiteRT(keras_rat.convert(model))
    for (name, factor), (stock_name, stock) in zip(ours.factors(), runtime.factors(), strict=True):
        assert name == stock_name
        np.testing.assert_array_equal(factor, stock)
    for weights, stock in zip(ours.weights(), runtime.weights(), strict=True):
        np.testing.assert_array_equal(weights, stock)


def saturating(relu6, normalised):
    """A ReLU6 that cuts, and whose scale an addition moves."""

    def build(x):
        wide = keras.initializers.RandomNormal(stddev=4, seed=1)
        y = L.Conv2D(8, 3, padding="same", use_bias=not normalised, kernel_initializer=wide)(x)
        y = relu6(L.BatchNormalization()(y) if normalised else y)
        return L.Dense(10)(L.Flatten()(L.Add()([y, L.Conv2D(8, 1)(x)])))

    return networks.functional(build)


@pytest.mark.parametrize("normalised", [False, True], ids=["bias", "batch_norm"])
@pytest.mark.parametrize("relu6", [lambda x: L.ReLU(6.0)(x), lambda x: L.Activation("relu6")(x)], ids=["ReLU", "name"])
def test_a_relu6_whose_range_grows_still_ends_at_6(digits, relu6, normalised):
    """The converter writes the activation, so that it does not depend on the range."""
    model = keras_rat.quantize_model(networks.build(lambda: saturating(relu6, normalised)), 1)
    keras_rat.calibrate(model, digits[0][:256])
    data = keras_rat.convert(model)
    y = next(op.outputs[0] for op in parse(data).operators if op.inputs[1].shape == (8, 3, 3, 1))
    assert y.scale * 255 > 6.05
    kernels = OpResolverType.BUILTIN_REF
    interpreter = Interpreter(
        model_content=data, experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    top = 0
    for row in digits[0][:20]:
        x = parse(data).subgraphs[0].inputs[0]
        interpreter.set_tensor(x.index, (np.rint(row[None] / x.scale) + x.zero_point).astype(np.int8))
        interpreter.invoke()
        top = max(top, y.scale * (int(interpreter.get_tensor(y.index).max()) - y.zero_point))
    assert abs(top - 6) <= y.scale / 2


@pytest.mark.slow
def test_a_model_trained_without_calibration(digits):
    model = keras_rat.quantize_model(networks.build(networks.residual), 2)
    model.compile(keras.optimizers.Adam(0.003), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits[0], digits[1], verbose=0)
    runtime = LiteRT(keras_rat.convert(model))
    for name, factor in runtime.factors():
        assert off_grid(factor, 2).max() < TOLERANCE, name
    expected = runtime.as_integers(model(digits[2], training=False).numpy())
    difference = np.abs(runtime.run(digits[2]) - expected)
    assert difference.max() <= 3
    assert (difference > 1).mean() < 0.05


def test_ranges_that_saw_no_data_are_named():
    model = keras_rat.quantize_model(networks.build(networks.flatten_dense))
    with pytest.raises(ValueError, match=r"quantize_layer, quant_dense; call keras_rat\.calibrate"):
        keras_rat.convert(model)


def test_a_model_that_was_not_quantised():
    with pytest.raises(ValueError, match=r"keras_rat\.quantize_model"):
        keras_rat.convert(networks.build(networks.flatten_dense))


def test_a_layer_is_found_by_its_name_at_either_end_of_the_tensors():
    """And is held to its own width, not to that of the widest layer."""
    b = TFLiteBuilder()
    y = b.conv(b.input([1, 8, 8, 2]), 3, name="narrow_1;model/narrow_1/BiasAdd")
    y = b.conv(y, 3, name="model/re_lu/Relu;model/narrow_2")
    y = b.conv(y, 3, name="narrow_3")
    data, _ = tflm_export.narrow(b.build(0, b.conv(y, 3, name="model/wide/BiasAdd")), 4)
    widths = {"narrow_1": 1, "narrow_2": 1, "narrow_3": 1, "wide": 4}
    assert [row.name for row, _ in too_wide(data, widths)] == [
        "narrow_1;model/narrow_1/BiasAdd", "model/re_lu/Relu;model/narrow_2", "narrow_3"
    ]  # fmt: skip
    assert too_wide(data, dict.fromkeys(widths, 4)) == []


def test_two_outputs(digits):
    def heads(x):
        x = L.Flatten()(networks.conv_bn(x, 4))
        return [L.Dense(10)(x), L.Dense(3, activation="softmax")(x)]

    model = keras_rat.quantize_model(networks.build(lambda: networks.functional(heads)), 1)
    keras_rat.calibrate(model, digits[0][:64])
    for name, factor in LiteRT(keras_rat.convert(model)).factors():
        assert off_grid(factor, 1).max() < TOLERANCE, name


def leaves_a_graph_behind(make) -> bool:
    """Whether the graph of a model, traced once, outlives the model."""
    model = make()
    serve = tf.function(functools.partial(model, training=False))
    graph = weakref.ref(serve.get_concrete_function(tf.TensorSpec(model.input_shape)).graph)
    del serve, model
    keras.backend.clear_session()
    gc.collect()
    return graph() is not None


def test_inference_leaves_no_graph_behind(digits):
    """A traced model's graph goes with the model; TensorFlow would keep it for good with a tf.custom_gradient."""

    def quantized():
        model = keras_rat.quantize_model(networks.build(networks.flatten_dense), 2)
        keras_rat.calibrate(model, digits[0][:32])
        return model

    if leaves_a_graph_behind(lambda: networks.build(networks.flatten_dense)):
        pytest.skip(f"TensorFlow {tf.__version__} keeps the graphs of float models, too")
    assert not leaves_a_graph_behind(quantized)
