# SPDX-License-Identifier: Apache-2.0
"""Gain errors of the keep grid moved into the next layer, and the multipliers chosen where they cannot go."""

import importlib
import warnings

import numpy as np
import pytest
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import keras_rat
from keras_rat import phases, rescale_layers, tfmot_internals
from keras_rat.choose import fitted
from tests.helpers import networks
from tests.helpers.litert import LiteRT, off_grid
from tests.helpers.sweeps import sampled
from tflm_export import factors
from tflm_export.errors import UsageError
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate

pytestmark = [pytest.mark.arithmetic, pytest.mark.sweep(5)]
L = keras.layers
ROWS = 64


def grouped():
    def build(x):
        x = L.Conv2D(8, 3, activation="relu")(x)
        x = L.Conv2D(8, 3, groups=4, activation="relu")(x)
        return L.Dense(10)(L.Flatten()(x))

    return networks.functional(build)


def transposed():
    def build(x):
        x = L.Conv2D(4, 3, activation="relu")(x)
        x = L.Conv2DTranspose(6, 3, activation="relu")(x)
        return L.Dense(10)(L.GlobalAveragePooling2D()(x))

    return networks.functional(build)


def reshaped():
    """The dense layers see two columns of pixels at a time."""

    def build(x):
        x = L.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = L.Dense(6, activation="relu")(L.Reshape((8, 4, 8))(x))
        return L.Dense(10)(L.Flatten()(x))

    return networks.functional(build)


NETWORKS = (*networks.ALL, *networks.CORNERS, grouped, transposed, reshaped)


def quantized(network, bits, digits, multipliers="absorbed", method="keep"):
    model = keras_rat.quantize_model(networks.build(network), bits, method)
    keras_rat.calibrate(model, digits[0][:ROWS], batch_size=ROWS, multipliers=multipliers)
    return model


def in_float(model, rows):
    """What the network computes with nothing quantised; its ranges then mean nothing any more."""
    with phases.observing(model):
        return model(rows, training=False).numpy()


def converted(model) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras_rat.convert(model)


@pytest.fixture
def only_absorbed(monkeypatch):
    """Without what is done where a gain error cannot go."""
    module = importlib.import_module("keras_rat.calibrate")  # behind the function of that name
    monkeypatch.setattr(module, "choose", lambda model, rows, fit: 0)


@pytest.mark.usefixtures("only_absorbed")
@pytest.mark.parametrize("network", sampled(NETWORKS, 2), ids=lambda network: network.__name__)
def test_the_float_network_stays(digits, network):
    rows = digits[0][:ROWS]
    before = in_float(keras_rat.quantize_model(networks.build(network), 1, "keep"), rows)
    after = in_float(quantized(network, 1, digits), rows)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


ABSORBED = {  # layers that nothing is in the way of, and factors of which per-channel rescales have none off the grid
    networks.sequential: ["quant_conv2d"],
    networks.separate_relu: ["quant_conv2d", "quant_conv2d_1"],
    networks.average_pool: ["quant_conv2d", "quant_conv2d_1"],
    networks.negative_gamma: ["quant_conv2d", "quant_conv2d_1"],
    networks.depth_multiplier: ["quant_conv2d", "quant_depthwise_conv2d"],
    networks.separable: ["quant_conv2d", "quant_separable_conv2d_depthwise", "quant_separable_conv2d_pointwise"],
    networks.concatenate: [],
    networks.relu_after_average_pool: ["quant_conv2d"],
    grouped: ["quant_conv2d", "quant_conv2d_1"],
    transposed: ["quant_conv2d"],
    reshaped: ["quant_conv2d"],
}


@pytest.mark.usefixtures("only_absorbed")
@pytest.mark.parametrize("bits", sampled([1, 2, 4], 3))
@pytest.mark.parametrize("network", sampled(ABSORBED, 2), ids=lambda network: network.__name__)
def test_factors_lie_on_the_grid(digits, network, bits):
    model = quantized(network, bits, digits)
    off = {m.layer: off_grid(m.factor, bits).max() for m in keras_rat.multipliers(model)}
    for name in ABSORBED[network]:
        assert off[name] < 2.0**-20, name
    nearest = quantized(network, bits, digits, multipliers="nearest")
    off = {m.layer: off_grid(m.factor, bits).max() for m in keras_rat.multipliers(nearest)}
    assert all(off[name] > 2.0**-12 for name in ABSORBED[network])


def off_but_for_the_last(found, wanted):
    """Root mean square of what outputs are off by, but for one factor of the last layer's products: its own rescale."""
    found, wanted = found - found.mean(0), wanted - wanted.mean(0)  # without its biases
    return np.sqrt(np.mean((found - (found * wanted).sum() / (wanted**2).sum() * wanted) ** 2))


@pytest.mark.slow
def test_a_shift_loses_nothing(digits):
    """The int8 file of pure shifts against that of 31 bits, on LiteRT: steps of the output."""
    wide, shifts, nearest = (
        LiteRT(converted(quantized(networks.separable, bits, digits, multipliers=how)))
        .run(digits[2][:200])
        .astype(float)
        for bits, how in ((31, "absorbed"), (1, "absorbed"), (1, "nearest"))
    )
    assert off_but_for_the_last(shifts, wide) < 1.2
    assert off_but_for_the_last(nearest, wide) > 2 * off_but_for_the_last(shifts, wide)


@pytest.mark.usefixtures("only_absorbed")
@pytest.mark.parametrize("network", ABSORBED, ids=lambda network: network.__name__)
def test_nothing_leaves_its_range(digits, network):
    """On the rows that measured it: a channel that has no room takes the grid point below."""
    model = quantized(network, 1, digits)
    ranges = networks.ranges(model)
    outputs = [model.get_layer(name).output for name in ranges if not name.startswith("quantize_layer")]
    with phases.observing(model):
        found = keras.Model(model.inputs, outputs)(digits[0][:ROWS], training=False)
    for name, values in zip([name for name in ranges if not name.startswith("quantize_layer")], found, strict=True):
        low, high = ranges[name]
        assert low * (1 + 1e-4) - 1e-6 <= values.numpy().min(), name
        assert values.numpy().max() <= high * (1 + 1e-4), name


@pytest.mark.slow
def test_requantize_has_no_gain_errors(digits):
    """Its multipliers and weights are the same, unless they are to be chosen on data."""
    weights = {
        how: quantized(networks.residual, 1, digits, how, "requantize").get_weights()
        for how in ("absorbed", "nearest", "chosen")
    }
    same = {
        how: [np.array_equal(*pair) for pair in zip(weights[how], weights["nearest"], strict=True)] for how in weights
    }
    assert all(same["absorbed"])
    assert not all(same["chosen"])


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_no_gain_error_is_left(digits, network):
    """Where it cannot move, a channel's weights take on the factor of its multiplier."""
    for found in keras_rat.multipliers(quantized(network, 1, digits)):
        alive = found.factor > 1e-4 * found.factor.max()
        np.testing.assert_allclose(found.value[alive], found.factor[alive], rtol=2.0**-20)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 5)),
        elements=st.floats(-4, 4, width=32, allow_subnormal=False),
    ),
    st.data(),
)
def test_few_weights_take_on_a_factor(kernel, data):
    channels = kernel.shape[1]
    ratio = data.draw(arrays(np.float64, channels, elements=st.floats(0.5, 2)))
    result = fitted(kernel[:, None, :], ratio)
    assert result.shape == (len(kernel), 1, channels)
    assert result.dtype == np.float32
    result, largest = result[:, 0], np.abs(kernel).max(0)
    np.testing.assert_allclose(np.abs(result).max(0), ratio * largest, rtol=1e-6)
    within = np.abs(kernel) <= ratio * largest
    changed = (result != kernel) & within
    assert (changed.sum(0) <= 1).all()
    # Never worse than the gain error of all weights.
    error, gain_error = np.linalg.norm(result - kernel, axis=0), np.linalg.norm((ratio - 1) * kernel, axis=0)
    assert (error <= gain_error + 1e-6 * largest).all()


@pytest.mark.usefixtures("only_absorbed")
def test_relu6_is_no_obstacle_to_channels_that_it_clips_seldom(digits):
    """A channel that never reaches 6 is as before a ReLU; one that does now and then is clipped further up."""
    scales = np.geomspace(1, 64, 16, dtype=np.float32)

    def network():
        model = networks.functional(
            lambda x: L.Dense(10)(L.Flatten()(L.ReLU(6.0)(L.Conv2D(16, 3, padding="same", name="wide")(x))))
        )
        kernel, bias = model.get_layer("wide").get_weights()
        model.get_layer("wide").set_weights([kernel * scales, bias])
        return model

    rows = digits[0][:ROWS]
    float_model = networks.build(network)
    (wide,) = (layer for layer in float_model.layers if layer.name == "wide")
    values = keras.Model(float_model.inputs, wide.output)(rows).numpy().reshape(-1, 16)
    clipped, largest = (values >= 6).mean(0), values.max(0)
    never, seldom, often = clipped == 0, (clipped > 0) & (clipped < 1 / 32), clipped > 1 / 32
    assert never.any()
    assert seldom.any()
    assert often.any()
    model = quantized(network, 1, digits)
    ((variable, *_),) = tfmot_internals.quantized_weights(model.get_layer("quant_wide"))
    gain = (variable.numpy() / wide.kernel.numpy())[1, 1, 0]
    np.testing.assert_allclose(variable.numpy(), wide.kernel.numpy() * gain, rtol=1e-5)
    np.testing.assert_allclose(gain[often], 1, rtol=1e-6)
    assert (gain[seldom] <= 1 + 1e-6).all()
    assert (gain * np.minimum(largest, 6) <= 6 * (1 + 1e-5)).all()
    assert (off_grid(keras_rat.multipliers(model)[0].factor, 1)[~often] < 2.0**-20).all()


def reshaped_into_groups():
    def build(x):
        x = L.Reshape((8, 4, 8))(L.Conv2D(4, 3, padding="same", activation="relu")(x))
        return L.Dense(10)(L.GlobalAveragePooling2D()(L.Conv2D(8, 3, groups=2, activation="relu")(x)))

    return networks.functional(build)


def reshaped_before_a_transposed_convolution():
    def build(x):
        x = L.Reshape((8, 4, 8))(L.Conv2D(4, 3, padding="same", activation="relu")(x))
        return L.Dense(10)(L.GlobalAveragePooling2D()(L.Conv2DTranspose(6, 3, activation="relu")(x)))

    return networks.functional(build)


def channels_that_move():
    """With the channels first, as these two layers are told, the flattened numbers have another order."""

    def build(x):
        x = L.Conv2D(4, 3, padding="same", activation="relu")(x)
        return L.Dense(10)(L.Flatten(data_format="channels_first")(x))

    return networks.functional(build)


@pytest.mark.slow
@pytest.mark.usefixtures("only_absorbed")
@pytest.mark.parametrize(
    "network", [reshaped_into_groups, reshaped_before_a_transposed_convolution, channels_that_move]
)
def test_the_float_network_stays_where_channels_are_shuffled(digits, network):
    rows = digits[0][:ROWS]
    before = in_float(keras_rat.quantize_model(networks.build(network), 1, "keep"), rows)
    after = in_float(quantized(network, 1, digits), rows)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


def test_what_a_layer_with_one_scale_feeds_is_absorbed_as_well(digits):
    """Its range moves when it takes on a gain, and with it the factors behind it."""

    def build(x):
        x = L.Conv2DTranspose(6, 3, activation="relu")(L.Conv2D(4, 3, activation="relu")(x))
        x = L.Conv2D(8, 3, activation="relu", name="behind")(x)
        return L.Dense(10)(L.GlobalAveragePooling2D()(x))

    model = keras_rat.quantize_model(networks.build(lambda: networks.functional(build)), 1, "keep")
    module = importlib.import_module("keras_rat.calibrate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "choose", lambda model, rows, fit: 0)
        keras_rat.calibrate(model, digits[0][:ROWS], batch_size=ROWS)
    found = {m.layer: off_grid(m.factor, 1).max() for m in keras_rat.multipliers(model)}
    assert found["quant_behind"] < 2.0**-18


@pytest.mark.slow
def test_batches_of_several_sizes(digits):
    """Images of any size: rows to choose by are those like the first."""
    inputs = keras.Input((None, None, 1))
    x = L.Conv2D(4, 3, activation="relu")(inputs)
    x = L.Add()([L.Conv2D(4, 3, padding="same")(x), x])
    network = keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))
    for method in ("keep", "requantize"):
        model = keras_rat.quantize_model(network, 1, method)
        keras_rat.calibrate(model, [digits[0][:8], digits[0][:8, :6, :6], digits[0][8:16]])
        assert np.isfinite(model(digits[0][:4]).numpy()).all()


def test_inputs_by_names_of_their_own(digits):
    """A model that is called with a dict whose keys are not its layers' names."""
    one, two = keras.Input((8, 8, 1), name="one"), keras.Input((8, 8, 1), name="two")
    x = L.Add()([L.Conv2D(4, 3, activation="relu")(one), L.Conv2D(4, 3, activation="relu")(two)])
    network = keras.Model({"p": one, "q": two}, L.Dense(10)(L.GlobalAveragePooling2D()(x)))
    model = keras_rat.quantize_model(network, 1, "keep")
    rows = {"p": digits[0][:ROWS], "q": digits[0][ROWS : 2 * ROWS]}
    keras_rat.calibrate(model, rows)
    assert np.isfinite(model(rows).numpy()).all()


def test_plain_training_is_left_alone(digits):
    model = quantized(networks.average_pool, 31, digits)
    float_model = networks.build(networks.average_pool)
    np.testing.assert_array_equal(model.get_layer("quant_conv2d").layer.bias, float_model.get_layer("conv2d").bias)


def one_convolution():
    return networks.functional(lambda x: L.Dense(10)(L.Flatten()(L.ReLU(6.0)(L.Conv2D(8, 3, padding="same")(x)))))


@pytest.mark.slow
def test_channels_are_chosen_by_the_integers_of_the_file(digits):
    """Each multiplier against both of its neighbours on the grid, in the simulator of the converted file."""
    rows = digits[0][:ROWS]
    model = quantized(one_convolution, 1, digits, multipliers="chosen")
    (layer,) = (layer for layer in rescale_layers(model) if "conv2d" in layer.name)
    chosen = next(m for m in keras_rat.multipliers(model) if m.layer == layer.name)
    integers, scale = {}, {}
    quantizer, variables = layer.quantize_config.quantizer, tfmot_internals.quantized_weights(layer)[0][2]
    below = 2.0 ** np.floor(np.log2(chosen.factor))
    for name, bits, multiplier in (("exact", 31, chosen.factor), ("down", 1, below), ("up", 1, 2 * below)):
        variables["bits"].assign(np.full(8, bits, np.int32))
        quantizer.set_multiplier(variables, multiplier)
        layer.quantize_config.quantizer.bits = bits
        integers[name], scale[name] = convolved(converted(model), rows)
    assert len({*scale.values()}) == 1
    error = {name: ((integers[name] - integers["exact"]) ** 2).reshape(-1, 8).sum(0) for name in ("down", "up")}
    clear = np.abs(error["down"] - error["up"]) > 0.02 * (error["down"] + error["up"])
    assert clear.sum() >= 5
    expected = np.where(error["down"] < error["up"], below, 2 * below)
    np.testing.assert_allclose(chosen.value[clear], expected[clear])


def convolved(data: bytes, rows):
    """Integers that leave the convolution of a file, float64, and their scale."""
    model = parse(data)
    (tensor,) = model.subgraphs[0].inputs
    inputs = np.clip(np.rint(rows / np.float32(tensor.scale)) + tensor.zero_point, -128, 127).astype(np.int8)
    (operator,) = (operator for operator in model.operators if operator.name == "CONV_2D")
    return simulate(data, inputs, "tflm")[operator.outputs[0]].astype(np.float64), operator.outputs[0].scale


def test_the_file_has_the_multipliers_of_the_model(digits):
    model = quantized(networks.residual, 1, digits)
    written = np.concatenate([np.ravel(values) for values in factors(converted(model)).values()])
    assert off_grid(written, 1).max() < 2.0**-20


def test_an_unknown_way(digits):
    with pytest.raises(UsageError, match="multipliers must be one of nearest, chosen, absorbed, got 'best'"):
        quantized(networks.flatten_dense, 1, digits, multipliers="best")
