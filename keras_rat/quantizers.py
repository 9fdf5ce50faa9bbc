# SPDX-License-Identifier: Apache-2.0
"""Quantizers: activation ranges, and weights whose scale makes the rescale multiplier k bits wide."""

import math
import numbers

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import phases, tfmot_internals, wiring
from keras_rat.grid import K_BITS, SMALLEST, family_of
from keras_rat.phases import Phase, PhasedQuantizer
from tflm_export.errors import UsageError
from tflm_export.rescale import check_bits
from tflm_export.setting import KEEP

WEIGHT_BITS = (8, 4)
SMALLEST_SHARE = 2.0**-16  # of the largest channel's weights or gain, below which a channel counts as dead


class RangeQuantizer(PhasedQuantizer):
    """Activations: 8 bits, per tensor, asymmetric, the range measured and then frozen.

    `calibrate` measures and freezes. Without it the range follows training batches: the first batch sets it, later ones
    move it by a hundredth. (tfmot's moving average starts at [-6, 6] and takes thousands of steps to forget that.)
    """

    decay = 0.99
    calibration_decay = 0.9

    def build(self, tensor_shape, name, layer):
        """Adds the range `{name}_min` and `{name}_max`, and its phase, `{name}_batches` in files (see `Phase`)."""

        def add(suffix, value, dtype="float32"):
            return layer.add_weight(
                f"{name}_{suffix}",
                shape=(),
                initializer=keras.initializers.Constant(value),
                trainable=False,
                dtype=dtype,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,  # all replicas compute the same
            )

        return {
            "min_var": add("min", -6.0),
            "max_var": add("max", 6.0),
            "phase": add("batches", Phase.WAITING, "int32"),
        }

    def __call__(self, inputs, training, weights, **kwargs):
        if self.observing:
            self._follow(inputs, weights, self.calibration_decay, Phase.OBSERVING)
            return inputs
        low, high = weights["min_var"], weights["max_var"]
        if training:
            low, high = self._follow_unless_frozen(inputs, weights)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)

    def _follow_unless_frozen(self, inputs, weights):
        low, high, phase = weights["min_var"], weights["max_var"], weights["phase"]
        if _is_replica():  # a strategy's variables cannot be assigned in a branch
            frozen = tf.equal(phase, Phase.FROZEN)
            decay, then = tf.where(frozen, 1.0, self.decay), tf.where(frozen, Phase.FROZEN, Phase.LEARNING)
            return self._follow(inputs, weights, decay, then)
        if phases.known(phase) is Phase.FROZEN:  # for good: only `calibrate` thaws a range, and freezes it again
            return low, high
        return tf.cond(
            tf.equal(phase, Phase.FROZEN),
            lambda: (tf.identity(low), tf.identity(high)),
            lambda: self._follow(inputs, weights, self.decay, Phase.LEARNING),
        )

    def _follow(self, inputs, weights, decay, then):
        """Moves the range to that of a batch by 1 - decay; returns its new ends, which have no gradient."""
        inputs = tf.stop_gradient(inputs)
        decay = tf.where(tf.equal(weights["phase"], Phase.WAITING), 0.0, decay)
        low, high = _over_replicas(tf.reduce_min(inputs), tf.reduce_max(inputs))
        low = tf.minimum(low, 0.0)
        high = tf.maximum(high, low + 1e-6)
        low = decay * weights["min_var"] + (1 - decay) * low
        high = decay * weights["max_var"] + (1 - decay) * high
        weights["min_var"].assign(low)
        weights["max_var"].assign(high)
        weights["phase"].assign(then)
        return low, high


def _is_replica() -> bool:
    """Whether the present computation is one replica's under a distribution strategy."""
    return tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()


def _over_replicas(low, high):
    """The extremes over the batches of all replicas."""
    if not _is_replica():
        return low, high
    extremes = tf.distribute.get_replica_context().all_gather(tf.stack([[low, high]]), axis=0)
    return tf.reduce_min(extremes[:, 0]), tf.reduce_max(extremes[:, 1])


class TiedQuantizer(PhasedQuantizer):
    """Outputs of pooling and resizing: rounded to the scale of the input, as the int8 kernels do."""

    def build(self, tensor_shape, name, layer):
        return {"source": lambda: wiring.source_range(layer)}

    def __call__(self, inputs, training, weights, **kwargs):
        tied = weights["source"]()
        if self.observing or tied is None:
            return inputs
        return tf.quantization.fake_quant_with_min_max_vars(inputs, tied.low, tied.high)


class TableQuantizer(PhasedQuantizer):
    """Outputs of softmax, sigmoid and tanh: rounded to the fixed scale that the int8 kernels give them.

    Args:
      activation: "softmax", "sigmoid" or "tanh".
    """

    def __init__(self, activation):
        self.activation = activation

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        if self.observing:
            return inputs
        low, high = wiring.TABLE_RANGES[self.activation]
        return tf.quantization.fake_quant_with_min_max_args(inputs, low, high)

    def get_config(self):
        return {"activation": self.activation}


class RescaleQuantizer(PhasedQuantizer):
    """Weights: 8 (or 4) bits, symmetric, at the scale that gives the layer k-bit rescale multipliers.

    The layer's factor is `M[c] = Sx * Sw[c] * |gain[c]| / Sy` with the batch-norm gain gamma/sigma. A variable
    multiplier `M_q = grid(2**log2_multiplier)` stands in for M, so the weight scale becomes
    `Sw'[c] = M_q[c] * Sy / (Sx * |gain[c]|)`; the stock converter derives M_q from it.

    - requantize: weights are rounded and clipped to Sw'.
    - keep: weights are rounded to their stock scale max|w|/127, and the integers stand for multiples of Sw'.

    Gradient of the weights: straight through the rounding. With keep, `y = M_q * Sy / (Sx * |gain|) * round(w / Sw)`
    depends neither on the size of the gain nor on that of a channel's largest weight, which the derivatives through
    `|gain|` and `Sw = max|w| / 127` say; without these, both would be trained for what they do not do. Left out is that
    of the largest weight of a whole tensor, one of thousands: it would take a sixth of a dense network's step.

    Gradient of a multiplier that is learned: in the log2 domain and straight through the rounding to the grid, as for
    trained quantization thresholds (arXiv 1903.08066), so `dM_q/dlog2_multiplier = M_q ln 2`. The scale's own gradient
    is that of learned step size quantization (arXiv 1902.08153), `(w_q - w)/Sw'` inside the range and +-127 outside
    (with keep, whose integers do not depend on Sw', the integer itself), times that work's gradient scale
    `1/sqrt(127 * weights per channel)`.

    Args:
      bits: width k of the multiplier.
      method: "requantize" or "keep".
      per_channel: one multiplier for each output channel (last axis), or one for the tensor.
      depthwise: the kernel is [height, width, in, multiplier], its last two axes the output channels.
      weight_bits: 8 or 4; with 4 bits, 7 stands where 127 does above.
      multiplier_rate: the learning rate of the multipliers over that of the weights. The variable holds
        log2(multiplier) / multiplier_rate and its gradient leaves the rate out, so a step of any optimizer, also of one
        that does not care for the size of gradients (Adam), moves log2(multiplier) by rate times what it would.
      learn_multipliers: whether multipliers are trained, or stay what they are set to. (Left out in files of earlier
        versions, where they were.)
      grid: the `keras_rat.grid.Family` of the multipliers, or its name.
    """

    def __init__(
        self,
        bits,
        method,
        per_channel=True,
        depthwise=False,
        weight_bits=8,
        multiplier_rate=1.0,
        grid=K_BITS,
        learn_multipliers=True,
    ):
        self.bits = check_bits(bits)
        self.method = method
        self.per_channel = per_channel
        self.depthwise = depthwise
        self.weight_bits = check_weight_bits(weight_bits)
        self.multiplier_rate = check_rate(multiplier_rate)
        self.grid = family_of(grid)
        self.learn_multipliers = bool(learn_multipliers)

    @property
    def weight_max(self) -> int:
        """The largest weight integer: the range is symmetric, -127..127 or -7..7."""
        return 2 ** (self.weight_bits - 1) - 1

    @property
    def rounding(self) -> str:
        """How a factor is rounded to the grid: without gain error, or to what fits into the weights' scale."""
        return "nearest" if self.method == KEEP else "up"

    def build(self, tensor_shape, name, layer):
        """Adds the layer's variables.

        - `{name}_log2_multiplier`, trainable if multipliers are learned.
        - `{name}_multiplier_set`, the multiplier's phase: WAITING or LEARNING.
        - `{name}_bits`, the present width of every channel, which `callbacks.SnappingSchedule` changes.
        """
        last = tensor_shape[-2] * tensor_shape[-1] if self.depthwise else tensor_shape[-1]
        shape = (last if self.per_channel else 1,)
        zeros = keras.initializers.Zeros()
        log2_multiplier = layer.add_weight(
            f"{name}_log2_multiplier", shape=shape, initializer=zeros, trainable=self.learn_multipliers
        )
        if self.learn_multipliers:
            # tfmot's wrapper lists the layer's own weights before or after this one, depending on whether the layer was
            # built before; loading goes by that order, so make it the same in both cases.
            tfmot_internals.list_newest_weight_first(layer)
        return {
            "log2_multiplier": log2_multiplier,
            "phase": layer.add_weight(
                f"{name}_multiplier_set", shape=(), initializer=zeros, trainable=False, dtype="int32"
            ),
            "bits": layer.add_weight(
                f"{name}_bits",
                shape=shape,
                initializer=keras.initializers.Constant(self.bits),
                trainable=False,
                dtype="int32",
            ),
            "links": lambda: wiring.links(layer),
        }

    def __call__(self, inputs, training, weights, **kwargs):
        if self.observing:
            return inputs
        kernel = self._channels_last(inputs)
        stock = self.stock_scale(kernel)
        if not self.per_channel:
            stock = tf.stop_gradient(stock)
        unit = self._unit(weights)
        if unit is None:  # the layers around are not built yet
            return self._as_given(self._fake_quant(kernel, stock), inputs.shape)
        scale = self._multiplier(weights, stock / unit, kernel, training) * unit
        if not training:
            kernel = kernel * (scale / stock) if self.method == KEEP else kernel
            return self._as_given(self._fake_quant(kernel, scale), inputs.shape)
        kernel = self._kept(kernel, scale, stock) if self.method == KEEP else self._requantized(kernel, scale)
        return self._as_given(kernel, inputs.shape)

    def factor(self, kernel, weights):
        """The layer's stock factor M at its present weights and ranges; float64 [channels] or [1]."""
        factor = self.stock_scale(self._channels_last(tf.convert_to_tensor(kernel))) / self._unit(weights)
        return factor.numpy().astype(np.float64)

    def multiplier(self, kernel, weights):
        """The multiplier M_q in use; float32 [channels] or [1]."""
        kernel = self._channels_last(tf.convert_to_tensor(kernel))
        return self._multiplier(weights, self.stock_scale(kernel) / self._unit(weights), kernel, training=False)

    def set_multiplier(self, weights, multiplier) -> None:
        """Gives the multiplier a value of its own.

        Args:
          weights: the layer's variables, from `build`.
          multiplier: positive float64 [channels] or [1].
        """
        weights["log2_multiplier"].assign(np.log2(multiplier) / self.multiplier_rate)
        weights["phase"].assign(Phase.LEARNING)

    def unsnapped(self, weights) -> np.ndarray:
        """The multiplier's variable before it is rounded to the grid; float64 [channels] or [1]."""
        return 2.0 ** (self.multiplier_rate * wiring.read(weights["log2_multiplier"]).astype(np.float64))

    def snapped(self, factor: np.ndarray, bits: np.ndarray, rounding: str = "") -> np.ndarray:
        """Factors on the grid.

        Args:
          factor: positive float64 [channels] or [1].
          bits: width of each, int32 of the same shape.
          rounding: "nearest", "up" or "down"; empty for the method's own.
        """
        factor = np.maximum(factor, SMALLEST)
        result = np.empty_like(factor)
        for width in np.unique(bits):
            of_width = bits == width
            result[of_width] = self.grid.exact(int(width)).snap(factor[of_width], rounding or self.rounding)
        return result

    def stock_scale(self, kernel):
        """max|w| / 127 over a channel or the tensor; float32 [channels] or [1].

        Channels whose weights are all but zero take a millionth of the largest channel's, a scale that int8 kernels can
        compute with.
        """
        axes = list(range(kernel.shape.rank - 1)) if self.per_channel else None
        largest = tf.reshape(tf.reduce_max(tf.abs(kernel), axis=axes), [-1])
        whole = tf.reduce_max(largest)
        largest = tf.maximum(largest, tf.where(whole > 0, whole, 1.0) * SMALLEST_SHARE)
        return largest / self.weight_max

    def _channels_last(self, kernel):
        if not self.depthwise:
            return kernel
        height, width, channels, multiplier = kernel.shape
        return tf.reshape(kernel, [height, width, 1, channels * multiplier])

    def _as_given(self, kernel, shape):
        return tf.reshape(kernel, shape) if self.depthwise else kernel

    def _unit(self, weights):
        """The weight scale that would make the factor 1: Sy / (Sx * |gain|), None before the model is complete.

        With a gradient for `keep` alone: what `requantize` computes depends on the gain.
        """
        links = weights["links"]()
        if links is None:
            return None
        unit = links.output.span() / links.input.span()  # as of the scales, and fewer operations
        if links.batch_norm is None:
            return tf.reshape(unit, [1])
        unit = unit / tf.maximum(tf.abs(links.gain()), 1e-12)
        return unit if self.method == KEEP else tf.stop_gradient(unit)

    def _multiplier(self, weights, factor, kernel, training):
        """M_q on the grid."""
        own = self._own(weights, kernel.shape.num_elements() if training and self.learn_multipliers else 0)
        if training and phases.known(weights["phase"]) is Phase.LEARNING:  # for good, as frozen ranges are
            return own
        follow = self.grid.snap(tf.maximum(factor, SMALLEST), weights["bits"], self.rounding)
        return tf.where(tf.equal(weights["phase"], Phase.LEARNING), own, follow)

    def _own(self, weights, learned_from: int):
        """grid(2**log2_multiplier), learned from so many weights, or from none: then there is no gradient.

        Not by tf.custom_gradient, whose functions TensorFlow keeps for good with the graphs they are traced in.
        """
        theta = tf.convert_to_tensor(weights["log2_multiplier"])
        log2 = theta if self.multiplier_rate == 1 else self.multiplier_rate * theta
        value = tf.pow(2.0, tf.clip_by_value(tf.stop_gradient(log2), -100.0, 100.0))
        value = self.grid.snap(value, weights["bits"], "nearest")
        if not learned_from:
            return value
        slope = math.log(2.0) / math.sqrt(self.weight_max * learned_from / theta.shape.num_elements())
        tangent = theta * slope * value
        return value + (tangent - tf.stop_gradient(tangent))

    def get_config(self):
        return {
            "bits": self.bits,
            "method": self.method,
            "per_channel": self.per_channel,
            "depthwise": self.depthwise,
            "weight_bits": self.weight_bits,
            "multiplier_rate": self.multiplier_rate,
            "grid": self.grid.name,
            "learn_multipliers": self.learn_multipliers,
        }

    def _fake_quant(self, kernel, scale):
        """Rounds to multiples of scale (one, or one for each entry of the last axis), at most weight_max of them."""
        limit = self.weight_max * scale
        options = {"num_bits": self.weight_bits, "narrow_range": True}
        if self.per_channel:
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -limit, limit, **options)
        limit = tf.reshape(limit, [])
        return tf.quantization.fake_quant_with_min_max_vars(kernel, -limit, limit, **options)

    def _requantized(self, kernel, scale):
        """`_fake_quant` with the gradient of learned step size quantization for the scale."""

        @tf.custom_gradient
        def quantize(kernel, scale):
            limit = self.weight_max * scale
            quantized = self._fake_quant(kernel, scale)

            def gradient(upstream):
                # Outside the range quantized / scale is +-weight_max, so this is the slope of both.
                inside = tf.where(tf.abs(kernel) <= limit, upstream, 0.0)
                return inside, self._sum(upstream * quantized - inside * kernel, scale)

            return quantized, gradient

        return quantize(kernel, scale)

    def _kept(self, kernel, scale, stock):
        """The integers of the stock scale as multiples of another; straight through, as no weight is out of range."""

        @tf.custom_gradient
        def quantize(kernel, scale, stock):
            stretch = scale / stock
            stretched = kernel * stretch
            quantized = self._fake_quant(stretched, scale)

            def gradient(upstream):
                by_scales = (self._sum(upstream * quantized, scale), -self._sum(upstream * stretched, stock))
                return upstream * stretch, *by_scales

            return quantized, gradient

        return quantize(kernel, scale, stock)

    def _sum(self, slopes, scale):
        """The gradient of a scale from that of its logarithm by weight."""
        axes = list(range(slopes.shape.rank - 1)) if self.per_channel else None
        return tf.reshape(tf.reduce_sum(slopes, axis=axes), scale.shape) / scale


def check_weight_bits(weight_bits) -> int:
    """Returns `weight_bits` if weights can have it, else raises UsageError."""
    if isinstance(weight_bits, bool) or weight_bits not in WEIGHT_BITS:
        raise UsageError(f"weight_bits must be {' or '.join(map(str, WEIGHT_BITS))}, got {weight_bits!r}")
    return int(weight_bits)


def check_rate(rate) -> float:
    """Returns `rate` if it is a positive finite number, else raises UsageError."""
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0 < rate < math.inf:
        raise UsageError(f"multiplier_rate must be a positive number, got {rate!r}")
    return float(rate)
