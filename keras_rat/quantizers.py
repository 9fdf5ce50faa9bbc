"""Quantizers: activation ranges, and weights whose scale makes the rescale multiplier k bits wide.

The grid arithmetic is that of `tflm_export.rescale` in float32 TensorFlow operations; a test holds the two equal.
"""

import contextlib
import math

import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.quantization.keras import quantizers as tfmot_quantizers

from keras_rat import wiring
from tflm_export.rescale import FLOAT32_TOLERANCE, check_bits
from tflm_export.solver import KEEP

WEIGHT_MAX = 127  # narrow range: int8 weights are -127..127
FROZEN = -1
SMALLEST_SHARE = 2.0**-16  # of the largest channel's weights or gain, below which a channel counts as dead
_SMALLEST = 2.0**-100  # factors below stand for dead channels; keeps every float32 below normal
_observing = False


@contextlib.contextmanager
def observing():
    """While active, newly traced models run in float and activation quantizers record ranges (see `calibrate`)."""
    global _observing
    _observing = True
    try:
        yield
    finally:
        _observing = False


def grid_nearest(value: tf.Tensor, bits: int) -> tf.Tensor:
    """The nearest numbers `m * 2**-s` with k-bit m, halves up; float32 of any shape, positive. No gradient."""
    return _grid(value, bits, tf.floor, 0.5)


def grid_up(value: tf.Tensor, bits: int) -> tf.Tensor:
    """The next larger such numbers; values on the grid up to float32 rounding stay. float32, positive. No gradient."""
    nearest = grid_nearest(value, bits)
    settled = tf.abs(nearest - value) <= FLOAT32_TOLERANCE * value
    return tf.where(settled, nearest, _grid(value, bits, tf.math.ceil, 0.0))


def _grid(value, bits, rounding, bias):
    value = tf.stop_gradient(value)
    if bits > 23:  # every float32 has a 24-bit mantissa
        return value
    exponent = tf.bitwise.right_shift(tf.bitcast(value, tf.int32), 23)  # biased by 127
    unit = tf.bitcast(tf.bitwise.left_shift(exponent - (bits - 1), 23), tf.float32)  # weight of m's last bit
    return rounding(value / unit + bias) * unit


class RangeQuantizer(tfmot_quantizers.Quantizer):
    """Activations: 8 bits, per tensor, asymmetric, the range measured and then frozen.

    `calibrate` measures and freezes. Without it the range follows training batches: the first batch sets it, later ones
    move it by a hundredth. (tfmot's moving average starts at [-6, 6] and takes thousands of steps to forget that.)
    """

    decay = 0.99
    calibration_decay = 0.9

    def build(self, tensor_shape, name, layer):
        """Adds the range `{name}_min`, `{name}_max` and `{name}_batches`, the batches seen (-1: frozen)."""

        def add(suffix, value, dtype="float32"):
            constant = keras.initializers.Constant(value)
            return layer.add_weight(f"{name}_{suffix}", shape=(), initializer=constant, trainable=False, dtype=dtype)

        return {"min_var": add("min", -6.0), "max_var": add("max", 6.0), "batches": add("batches", 0, "int32")}

    def __call__(self, inputs, training, weights, **kwargs):
        if _observing:
            self._observe(inputs, weights, self.calibration_decay)
            return inputs
        low, high = weights["min_var"], weights["max_var"]
        if training:
            low, high = tf.cond(
                weights["batches"] > FROZEN,
                lambda: self._observe(inputs, weights, self.decay),
                lambda: (tf.identity(low), tf.identity(high)),
            )
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)

    def _observe(self, inputs, weights, decay):
        decay = tf.where(weights["batches"] > 0, decay, 0.0)
        low = tf.minimum(tf.reduce_min(inputs), 0.0)
        high = tf.maximum(tf.reduce_max(inputs), low + 1e-6)
        low = weights["min_var"].assign(decay * weights["min_var"] + (1 - decay) * low)
        high = weights["max_var"].assign(decay * weights["max_var"] + (1 - decay) * high)
        weights["batches"].assign_add(1)
        return tf.identity(low), tf.identity(high)

    def get_config(self):
        return {}


class TiedQuantizer(tfmot_quantizers.Quantizer):
    """Outputs of pooling and resizing: rounded to the scale of the input, as the int8 kernels do."""

    def build(self, tensor_shape, name, layer):
        return {"source": lambda: wiring.source_range(layer)}

    def __call__(self, inputs, training, weights, **kwargs):
        tied = weights["source"]()
        if _observing or tied is None:
            return inputs
        return tf.quantization.fake_quant_with_min_max_vars(inputs, tied.low, tied.high)

    def get_config(self):
        return {}


class TableQuantizer(tfmot_quantizers.Quantizer):
    """Outputs of softmax, sigmoid and tanh: rounded to the fixed scale that the int8 kernels give them.

    Args:
      activation: "softmax", "sigmoid" or "tanh".
    """

    def __init__(self, activation):
        self.activation = activation

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        if _observing:
            return inputs
        low, high = wiring.TABLE_RANGES[self.activation]
        return tf.quantization.fake_quant_with_min_max_args(inputs, low, high)

    def get_config(self):
        return {"activation": self.activation}


class RescaleQuantizer(tfmot_quantizers.Quantizer):
    """Weights: 8 bits, symmetric, at the scale that gives the layer k-bit rescale multipliers.

    The layer's factor is `M[c] = Sx * Sw[c] * |gain[c]| / Sy` with the batch-norm gain gamma/sigma. A learnable
    multiplier `M_q = grid(2**log2_multiplier)` stands in for M, so the weight scale becomes
    `Sw'[c] = M_q[c] * Sy / (Sx * |gain[c]|)`; the stock converter derives M_q from it.

    - requantize: weights are rounded and clipped to Sw'.
    - keep: weights are rounded to their stock scale max|w|/127, and the integers stand for multiples of Sw'.

    Gradient: straight through the rounding to the grid (arXiv 1903.08066); the scale's own as in learned step size
    quantization, `(w_q - w)/Sw'` inside the range and +-127 outside, over sqrt(127 * weights per channel)
    (arXiv 1902.08153).

    Args:
      bits: width k of the multiplier.
      method: "requantize" or "keep".
      per_channel: one multiplier for each output channel (last axis), or one for the tensor.
      depthwise: the kernel is [height, width, in, multiplier], its last two axes the output channels.
    """

    def __init__(self, bits, method, per_channel=True, depthwise=False):
        self.bits = check_bits(bits)
        self.method = method
        self.per_channel = per_channel
        self.depthwise = depthwise

    def build(self, tensor_shape, name, layer):
        """Adds `{name}_log2_multiplier` (trainable) and `{name}_multiplier_set`, 0 while it follows the weights."""
        last = tensor_shape[-2] * tensor_shape[-1] if self.depthwise else tensor_shape[-1]
        zeros = keras.initializers.Zeros()
        log2_multiplier = layer.add_weight(
            f"{name}_log2_multiplier", shape=(last if self.per_channel else 1,), initializer=zeros, trainable=True
        )
        # tfmot's wrapper lists the layer's own weights before or after this one, depending on whether the layer was
        # built before; loading goes by that order, so make it the same in both cases.
        layer._trainable_weights.insert(0, layer._trainable_weights.pop())
        return {
            "log2_multiplier": log2_multiplier,
            "multiplier_set": layer.add_weight(
                f"{name}_multiplier_set", shape=(), initializer=zeros, trainable=False, dtype="int32"
            ),
            "links": lambda: wiring.links(layer),
        }

    def __call__(self, inputs, training, weights, **kwargs):
        if _observing:
            return inputs
        kernel = self._channels_last(inputs)
        stock = self.stock_scale(kernel)
        unit = self._unit(weights)
        if unit is None:  # the layers around are not built yet
            return tf.reshape(_fake_quant(kernel, stock, self.per_channel), inputs.shape)
        scale = self._multiplier(weights, stock / unit, kernel, training) * unit
        if self.method == KEEP:
            kernel = kernel * (scale / stock)
        quantize = _fake_quant_learned_scale if training else _fake_quant
        return tf.reshape(quantize(kernel, scale, self.per_channel), inputs.shape)

    def factor(self, kernel, weights):
        """The layer's stock factor M at its present weights and ranges; float32 [channels] or [1]."""
        return self.stock_scale(self._channels_last(tf.convert_to_tensor(kernel))) / self._unit(weights)

    def stock_scale(self, kernel):
        """max|w| / 127 over a channel or the tensor; float32 [channels] or [1]. No gradient.

        Channels whose weights are all but zero take a millionth of the largest channel's, a scale that int8 kernels can
        compute with.
        """
        axes = list(range(kernel.shape.rank - 1)) if self.per_channel else None
        largest = tf.reshape(tf.reduce_max(tf.abs(kernel), axis=axes), [-1])
        whole = tf.reduce_max(largest)
        largest = tf.maximum(largest, tf.where(whole > 0, whole, 1.0) * SMALLEST_SHARE)
        return tf.stop_gradient(largest) / WEIGHT_MAX

    def _channels_last(self, kernel):
        if not self.depthwise:
            return kernel
        height, width, channels, multiplier = kernel.shape
        return tf.reshape(kernel, [height, width, 1, channels * multiplier])

    def _unit(self, weights):
        """The weight scale that would make the factor 1: Sy / (Sx * |gain|), None before the model is complete."""
        links = weights["links"]()
        if links is None:
            return None
        gain = tf.maximum(tf.abs(links.gain()), 1e-12)
        return tf.stop_gradient(links.output.scale() / (links.input.scale() * gain))

    def _multiplier(self, weights, factor, kernel, training):
        """M_q on the grid."""
        theta = weights["log2_multiplier"]
        factor = tf.maximum(factor, _SMALLEST)
        follow = grid_nearest(factor, self.bits) if self.method == KEEP else grid_up(factor, self.bits)
        learned = grid_nearest(tf.pow(2.0, tf.clip_by_value(theta, -100.0, 100.0)), self.bits)
        if training:  # times one, to carry the gradient
            weights_per_scale = kernel.shape.num_elements() / theta.shape.num_elements()
            slope = math.log(2.0) / math.sqrt(WEIGHT_MAX * weights_per_scale)
            learned = learned * tf.exp(slope * (theta - tf.stop_gradient(theta)))
        return tf.where(weights["multiplier_set"] > 0, learned, follow)

    def get_config(self):
        return {
            "bits": self.bits,
            "method": self.method,
            "per_channel": self.per_channel,
            "depthwise": self.depthwise,
        }


def _fake_quant(kernel, scale, per_channel):
    """Rounds to multiples of scale (one, or one for each entry of the last axis), at most 127 of them."""
    limit = WEIGHT_MAX * scale
    if per_channel:
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -limit, limit, narrow_range=True)
    return tf.quantization.fake_quant_with_min_max_vars(kernel, -limit[0], limit[0], narrow_range=True)


def _fake_quant_learned_scale(kernel, scale, per_channel):
    """`_fake_quant` with the gradient of learned step size quantization for the scale."""

    @tf.custom_gradient
    def quantize(kernel, scale):
        quantized = _fake_quant(kernel, scale, per_channel)

        def gradient(upstream):
            inside = tf.abs(kernel) <= WEIGHT_MAX * scale
            step = tf.where(inside, (quantized - kernel) / scale, WEIGHT_MAX * tf.sign(kernel))
            axes = list(range(kernel.shape.rank - 1)) if per_channel else None
            slope = tf.reduce_sum(upstream * step, axis=axes)
            return tf.where(inside, upstream, 0.0), tf.reshape(slope, scale.shape)

        return quantized, gradient

    return quantize(kernel, scale)
