# SPDX-License-Identifier: Apache-2.0
"""keras_rat.quantizers: gradients against closed forms, ranges step by step."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from keras_rat import Phase, configs, quantizers, wiring
from tflm_export import rescale


def fake_quant_gradients(kernel, scale, upstream, per_channel):
    kernel, scale = tf.constant(kernel, tf.float32), tf.constant(scale, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([kernel, scale])
        quantized = quantizers.RescaleQuantizer(4, "requantize", per_channel)._requantized(kernel, scale)
        loss = tf.reduce_sum(quantized * upstream)
    return quantized.numpy(), *(g.numpy() for g in tape.gradient(loss, [kernel, scale]))


@pytest.mark.parametrize("per_channel", [True, False])
def test_learned_scale_gradient_is_that_of_lsq(per_channel):
    random = np.random.default_rng(1)
    kernel = random.normal(0, 1, (3, 3, 4, 5)).astype(np.float32)
    upstream = random.normal(0, 1, kernel.shape).astype(np.float32)
    scale = np.float32([0.003, 0.01, 0.012, 0.03, 0.1]) if per_channel else np.float32([0.011])
    quantized, kernel_gradient, scale_gradient = fake_quant_gradients(kernel, scale, upstream, per_channel)

    steps = kernel / scale
    inside = np.abs(steps) <= 127
    assert 0 < inside.mean() < 1
    np.testing.assert_allclose(quantized, np.clip(np.rint(steps), -127, 127) * scale, atol=1e-6)
    np.testing.assert_array_equal(kernel_gradient, np.where(inside, upstream, 0))
    slope = upstream * np.where(inside, np.rint(steps) - steps, 127 * np.sign(steps))
    expected = slope.sum((0, 1, 2)) if per_channel else slope.sum(keepdims=True).reshape(1)
    np.testing.assert_allclose(scale_gradient, expected, rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize("per_channel", [True, False])
def test_kept_integers_are_straight_through(per_channel):
    """Forwards n * scale with the stock scale's integers n; so n is the slope by the scale."""
    random = np.random.default_rng(4)
    kernel = random.normal(0, 1, (3, 3, 4, 5)).astype(np.float32)
    upstream = random.normal(0, 1, kernel.shape).astype(np.float32)
    stock = np.abs(kernel).max((0, 1, 2)) / 127 if per_channel else np.abs(kernel).max(keepdims=True).reshape(1) / 127
    scale = tf.Variable(np.float32([0.7, 0.9, 1, 1.2, 1.4])[: len(stock)] * stock)
    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        kept = quantizers.RescaleQuantizer(4, "keep", per_channel)._kept(variable, scale, tf.constant(stock))
    by_kernel, by_scale = tape.gradient(kept, [variable, scale], upstream)
    integers = np.rint(kernel / stock)
    np.testing.assert_allclose(kept, integers * scale.numpy(), rtol=1e-5)
    np.testing.assert_allclose(by_kernel, upstream * (scale.numpy() / stock), rtol=1e-6)
    slope = upstream * integers
    expected = slope.sum((0, 1, 2)) if per_channel else slope.sum(keepdims=True).reshape(1)
    np.testing.assert_allclose(by_scale, expected, rtol=1e-4)


@pytest.mark.parametrize("per_channel", [True, False])
def test_one_scale_for_one_channel(per_channel):
    kernel = np.float32([[0.5], [-1.0], [0.26]])
    quantized, _, gradient = fake_quant_gradients(kernel, [1 / 127], np.ones_like(kernel), per_channel)
    np.testing.assert_allclose(quantized, np.rint(kernel * 127) / 127, atol=1e-7)
    assert gradient.shape == (1,)


def layer_variables(quantizer, shape, input_scale=0.1, output_scale=0.25, gain=None):
    """The variables of a layer between an input and an output range of these scales."""
    variables = quantizer.build(tf.TensorShape(shape), "kernel", keras.layers.Layer())

    def at(scale):
        return wiring.Range("", tf.constant(-128.0 * scale), tf.constant(127.0 * scale), None)

    links = wiring.Links(at(input_scale), at(output_scale), gain)
    return variables | {"links": lambda: links}


@pytest.mark.parametrize("method", ["requantize", "keep"])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_multiplier_gradient_is_that_of_lsq_in_the_log2_domain(method, weight_bits):
    """dL/dlog2 M = ln 2 * scale * dL/dscale, over sqrt(largest integer * weights of a channel)."""
    random = np.random.default_rng(2)
    kernel, upstream = (random.normal(0, 1, (3, 3, 2, 4)).astype(np.float32) for _ in range(2))
    quantizer = quantizers.RescaleQuantizer(1, method, weight_bits=weight_bits)
    variables = layer_variables(quantizer, kernel.shape)
    most = 2 ** (weight_bits - 1) - 1
    stock = np.abs(kernel).max((0, 1, 2)) / most
    multiplier = 2.0 ** np.floor(np.log2(stock * 0.1 / 0.25))  # too small, so that some weights clip
    quantizer.set_multiplier(variables, multiplier)
    theta = variables["log2_multiplier"]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantizer(tf.constant(kernel), True, variables) * upstream)
    scale = multiplier * 0.25 / 0.1
    steps = kernel / scale
    inside = np.abs(steps) <= most
    if method == "keep":  # the integers are those of the stock scale: the output is proportional to the multiplier
        slope = upstream * np.rint(kernel / stock)
    else:
        assert not inside.all()
        slope = upstream * np.where(inside, np.rint(steps) - steps, most * np.sign(steps))
    expected = slope.sum((0, 1, 2)) * scale * np.log(2) / np.sqrt(most * 18)
    np.testing.assert_allclose(tape.gradient(loss, theta), expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_gradient_of_kept_weights_is_that_of_what_is_computed(per_channel):
    """y = M_q * Sy / (Sx * |gain|) * round(w / Sw), straight through the rounding, differentiated by TensorFlow.

    But for the largest weight of a whole tensor, which counts as constant.
    """
    random = np.random.default_rng(5)
    kernel, upstream = (tf.Variable(random.normal(0, 1, (3, 3, 2, 4)), dtype=tf.float32) for _ in range(2))
    norm = keras.layers.BatchNormalization()
    norm.build((None, 8, 8, 4))
    norm.gamma.assign([0.5, -2.0, 1.0, 3.0])
    norm.moving_variance.assign([1.0, 4.0, 0.25, 2.0])
    quantizer = quantizers.RescaleQuantizer(1, "keep", per_channel=per_channel)
    variables = layer_variables(quantizer, kernel.shape, gain=norm if per_channel else None)
    multiplier = np.float32([0.25, 0.5, 0.125, 1.0] if per_channel else [0.25]) / 128
    quantizer.set_multiplier(variables, multiplier)

    def written_out():
        gain = norm.gamma / tf.sqrt(norm.moving_variance + norm.epsilon) if per_channel else tf.ones([1])
        largest = tf.reduce_max(tf.abs(kernel), axis=[0, 1, 2] if per_channel else None)
        steps = kernel / ((largest if per_channel else tf.stop_gradient(largest)) / 127)
        steps += tf.stop_gradient(tf.round(steps) - steps)
        return multiplier * 0.25 / (0.1 * tf.abs(gain)) * steps

    gradients = []
    for compute in (lambda: quantizer(tf.convert_to_tensor(kernel), True, variables), written_out):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(compute() * upstream)
        gradients.append(tape.gradient(loss, [kernel, norm.gamma] if per_channel else [kernel]))
    for ours, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_multipliers_that_are_not_learned_have_no_gradient():
    quantizer = quantizers.RescaleQuantizer(1, "keep", learn_multipliers=False)
    kernel = tf.constant(np.random.default_rng(3).normal(0, 1, (3, 3, 2, 4)), tf.float32)
    variables = layer_variables(quantizer, kernel.shape)
    assert not variables["log2_multiplier"].trainable
    quantizer.set_multiplier(variables, np.full(4, 2.0**-7))
    with tf.GradientTape() as tape:
        tape.watch(variables["log2_multiplier"])
        loss = tf.reduce_sum(quantizer(kernel, True, variables) ** 2)
    assert tape.gradient(loss, variables["log2_multiplier"]) is None


def test_multipliers_in_files_of_earlier_versions_are_learned():
    config = quantizers.RescaleQuantizer(1, "keep", learn_multipliers=False).get_config()
    del config["learn_multipliers"]
    assert quantizers.RescaleQuantizer(**config).learn_multipliers


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_multipliers_learn_at_their_own_rate(optimizer):
    moved, largest = [], None
    for rate in (1.0, 0.25, 8.0):
        quantizer = quantizers.RescaleQuantizer(2, "requantize", multiplier_rate=rate)
        kernel = tf.constant(np.random.default_rng(3).normal(0, 1, (3, 3, 2, 4)), tf.float32)
        variables = layer_variables(quantizer, kernel.shape)
        multiplier = np.array([0.25, 0.5, 1.0, 3.0]) * 2.0**-7
        quantizer.set_multiplier(variables, multiplier)
        np.testing.assert_allclose(quantizer.multiplier(kernel, variables), multiplier, rtol=1e-6)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(quantizer(kernel, True, variables) ** 3)
        theta = variables["log2_multiplier"]
        before = theta.numpy()
        gradient = tape.gradient(loss, theta)
        largest = largest or tf.reduce_max(tf.abs(gradient))
        optimizer(0.01).apply_gradients([(gradient / largest, theta)])
        moved.append(rate * (theta.numpy() - before))
    assert np.abs(moved[0]).max() > 1e-3
    np.testing.assert_allclose(moved[1], 0.25 * moved[0], atol=1e-5)
    np.testing.assert_allclose(moved[2], 8 * moved[0], atol=1e-5)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), True, "1"])
def test_rate_is_checked(rate):
    with pytest.raises(ValueError, match="multiplier_rate must be a positive number"):
        quantizers.RescaleQuantizer(4, "keep", multiplier_rate=rate)


def test_each_channel_has_the_width_of_its_variable():
    quantizer = quantizers.RescaleQuantizer(1, "keep")
    kernel = tf.constant(np.random.default_rng(4).normal(0, 1, (3, 3, 2, 4)), tf.float32)
    variables = layer_variables(quantizer, kernel.shape)
    variables["bits"].assign([1, 3, 8, 31])
    factor = quantizer.factor(kernel, variables)
    expected = [rescale.decompose(f, bits).value for f, bits in zip(factor, [1, 3, 8, 31], strict=True)]
    np.testing.assert_allclose(quantizer.multiplier(kernel, variables), expected, rtol=2.0**-24)


class Owner(tf.Module):
    """A layer as far as `Quantizer.build` needs one."""

    def add_weight(self, name, shape, initializer, trainable, dtype="float32", aggregation=None):
        return tf.Variable(initializer(shape, dtype), trainable=trainable, name=name)


def range_variables():
    return quantizers.RangeQuantizer().build(None, "output", Owner())


def extremes(variables):
    return float(variables["min_var"]), float(variables["max_var"])


def test_first_batch_sets_the_range_and_later_ones_move_it():
    quantizer, variables = quantizers.RangeQuantizer(), range_variables()
    quantizer(tf.constant([-1.0, 3.0]), True, variables)
    assert extremes(variables) == pytest.approx((-1, 3))
    quantizer(tf.constant([-3.0, 2.0]), True, variables)
    assert extremes(variables) == pytest.approx((-0.99 - 0.03, 2.97 + 0.02))
    assert int(variables["phase"]) == Phase.LEARNING


def test_observing_records_with_its_own_decay_and_passes_floats_through():
    quantizer, variables = quantizers.RangeQuantizer(), range_variables()
    first, second = tf.constant([0.0, 1.00001]), tf.constant([-1.0, 0.5])
    quantizer.observing = True
    np.testing.assert_array_equal(quantizer(first, False, variables), first)
    quantizer(second, False, variables)
    assert int(variables["phase"]) == Phase.OBSERVING
    assert extremes(variables) == pytest.approx((-0.1, 0.9 * 1.00001 + 0.05))


@pytest.mark.parametrize(("training", "phase"), [(True, Phase.FROZEN), (False, Phase.FROZEN), (False, Phase.WAITING)])
def test_frozen_ranges_and_inference_move_nothing(training, phase):
    quantizer, variables = quantizers.RangeQuantizer(), range_variables()
    variables["phase"].assign(phase)
    outputs = quantizer(tf.constant([-100.0, 0.0, 100.0]), training, variables)
    assert extremes(variables) == (-6, 6)
    assert int(variables["phase"]) == phase
    np.testing.assert_allclose(outputs, [-6, 0, 6], atol=12 / 255)


@pytest.mark.parametrize("values", [[2.0, 5.0], [-5.0, -2.0], [0.0, 0.0], [0.0, 1e-30], [-1e-30, 0.0]])
def test_zero_is_inside_the_range_and_exact(values):
    quantizer, variables = quantizers.RangeQuantizer(), range_variables()
    outputs = quantizer(tf.constant([0.0, *values]), True, variables).numpy()
    low, high = extremes(variables)
    assert low <= 0 <= high
    assert low < high
    assert np.isfinite(outputs).all()
    assert outputs[0] == 0


@pytest.mark.parametrize(
    "original",
    [
        quantizers.RangeQuantizer(),
        quantizers.TiedQuantizer(),
        quantizers.RescaleQuantizer(3, "keep", per_channel=False),
        quantizers.RescaleQuantizer(
            31, "requantize", depthwise=True, weight_bits=4, multiplier_rate=0.5, learn_multipliers=False
        ),
        configs.NoQuantizeConfig(),
        configs.OutputConfig(),
        configs.SlopeConfig(3),
        configs.SumConfig(2, output=False),
        configs.TiedOutputConfig(),
        configs.RescaleConfig("depthwise_kernel", 1, "keep", depthwise=True),
        configs.RescaleConfig("kernel", 7, "requantize", per_channel=False),
    ],
    ids=lambda original: type(original).__name__,
)
def test_serialises(original):
    config = original.get_config()
    copy = type(original).from_config(config)
    assert copy.get_config() == config
    if isinstance(original, configs.RescaleConfig):
        assert copy.weight_attr == original.weight_attr
        original, copy = original.quantizer, copy.quantizer
    if isinstance(original, quantizers.RescaleQuantizer):
        assert vars(copy) == vars(original)
