# SPDX-License-Identifier: Apache-2.0
"""QuantizeConfigs: which tensors of a layer are quantised, and by which quantizer."""

import tf_keras as keras
from tensorflow_model_optimization.quantization.keras import QuantizeConfig

from keras_rat.graph.channelwise import Channelwise
from keras_rat.graph.kinds import activation_name
from keras_rat.grid import K_BITS, family_of
from keras_rat.quantizers import WEIGHT_BITS, RangeQuantizer, RescaleQuantizer, TableQuantizer, TiedQuantizer
from keras_rat.slopes import SlopesQuantizer
from keras_rat.wiring import CLIPPED_RANGES, TABLE_RANGES
from tflm_export import solver
from tflm_export.grid import POWERS_OF_TWO
from tflm_export.rescale import check_bits
from tflm_export.setting import REQUANTIZE, Setting

# Layers whose inputs share one scale, which is their output's.
TYING = (keras.layers.Concatenate, keras.layers.Maximum, keras.layers.Minimum)
# Fused activations that an int8 kernel applies by clamping: the range is that of their output.
CLAMPING = ("linear", "relu", "relu6")
# Activations with a table or fixed point of their own: the range is that of their input.
TABLED = tuple(TABLE_RANGES)
# Fused activations that are nothing but a range of their own.
CLIPPED = tuple(CLIPPED_RANGES)
# The step of relu6(x + 3) in the int8 kernel of HARD_SWISH, times the 128 that its input is multiplied by.
_HARD_SWISH_STEP = 128 * 3 / 32768


class NoQuantizeConfig(QuantizeConfig):
    """Quantises nothing: the layer moves integers, or leaves its range to the next one."""

    def get_weights_and_quantizers(self, layer):
        return []

    def get_activations_and_quantizers(self, layer):
        return []

    def get_output_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, quantize_weights):
        pass

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_config(self):
        return {}


class OutputConfig(NoQuantizeConfig):
    """Quantises the output to a range of its own."""

    def get_output_quantizers(self, layer):
        return [RangeQuantizer()]


class SumConfig(NoQuantizeConfig):
    """A layer without weights whose rescale factors are k bits wide: additions, subtractions, global poolings.

    Args:
      bits: width k of the multipliers.
      output: whether the layer has the range of its output, or leaves it to the next one.
      grid: as for `RescaleQuantizer`.
    """

    def __init__(self, bits, output=True, grid=K_BITS):
        self.bits = check_bits(bits)
        self.output = output
        self.grid = family_of(grid)

    def get_output_quantizers(self, layer):
        return [RangeQuantizer()] if self.output else []

    def get_config(self):
        return {"bits": self.bits, "output": self.output, "grid": self.grid.name}

    @property
    def setting(self) -> Setting:
        """What the factors are to be on."""
        return Setting(self.grid.exact(self.bits))

    def nodes(self, sources: tuple, target) -> list[tuple[solver.Node, Setting]]:
        """What relates the scales of inputs and output, by their keys in a `solver.Problem`."""
        return [(solver.Sum(sources, target), self.setting)]

    def fixed_scales(self) -> dict:
        """Scales in `nodes` that are neither an input's nor the output's, by key."""
        return {}


class SlopeConfig(SumConfig):
    """A leaky ReLU: two factors, input scale / output scale and `alpha` times that.

    The first is made a power of two, so that the second is k bits wide where alpha is.
    """

    @property
    def setting(self):
        return Setting(POWERS_OF_TWO)


class SlopesConfig(SlopeConfig):
    """A PReLU: two factors, the second is the first times the scale of the slopes, which is on the grid."""

    def get_weights_and_quantizers(self, layer):
        return [(layer.alpha, SlopesQuantizer(self.bits, self.grid))]

    def set_quantize_weights(self, layer, quantize_weights):
        (layer.alpha,) = quantize_weights


class ProductConfig(SumConfig):
    """A multiplication: one factor, the scales of both inputs / output scale."""

    def nodes(self, sources, target):
        return [(solver.Product(sources, target), self.setting)]


class HardSwishConfig(SumConfig):
    """A hard swish in one operator: two factors, input scale / the step of relu6(x + 3), and / output scale."""

    _STEP = ("hard swish", _HARD_SWISH_STEP)

    def nodes(self, sources, target):
        return [(solver.Sum(sources, self._STEP), self.setting), *super().nodes(sources, target)]

    def fixed_scales(self):
        return {self._STEP: _HARD_SWISH_STEP}


class TiedOutputConfig(NoQuantizeConfig):
    """Rounds the output to the range of the input."""

    def get_output_quantizers(self, layer):
        return [TiedQuantizer()]


class TableOutputConfig(NoQuantizeConfig):
    """Rounds the output to the fixed range of the layer's activation."""

    def get_output_quantizers(self, layer):
        name = "softmax" if isinstance(layer, keras.layers.Softmax) else activation_name(layer.activation)
        return [TableQuantizer(name)]


class RescaleConfig(NoQuantizeConfig):
    """A layer with weights and k-bit rescale multipliers.

    Args:
      weight_attr: attribute of the layer that holds the kernel.
      bits, method, options: as for `RescaleQuantizer`.
    """

    def __init__(self, weight_attr, bits, method, **options):
        self.weight_attr = weight_attr
        self.quantizer = RescaleQuantizer(bits, method, **options)

    def get_weights_and_quantizers(self, layer):
        return [(getattr(layer, self.weight_attr), self.quantizer)]

    def set_quantize_weights(self, layer, quantize_weights):
        (weight,) = quantize_weights
        setattr(layer, self.weight_attr, weight)

    def get_activations_and_quantizers(self, layer):
        return [(layer.activation, RangeQuantizer())] if activation_name(layer.activation) in TABLED else []

    def set_quantize_activations(self, layer, quantize_activations):
        if quantize_activations:
            (layer.activation,) = quantize_activations

    def get_output_quantizers(self, layer):
        name = activation_name(getattr(layer.activation, "activation", layer.activation))
        if name in TABLED:
            return [TableQuantizer(name)]
        return [RangeQuantizer()] if name in CLAMPING else []

    def get_config(self):
        return {"weight_attr": self.weight_attr} | self.quantizer.get_config()


def rescale_config(layer: keras.layers.Layer, bits: int, method: str, **options) -> RescaleConfig:
    """The RescaleConfig of a layer with weights.

    Those of Dense are per tensor, as in tfmot, and so are those of Conv2DTranspose: the converter (TensorFlow 2.19)
    fails on a transposed kernel with per-channel scales, tfmot's own too ("mismatched quantized axes").

    Args:
      layer: a Conv2D, Conv2DTranspose, DepthwiseConv2D or Dense layer.
      bits, method, options: as for `RescaleQuantizer`.
    """
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        if isinstance(layer, Channelwise):
            method, options = REQUANTIZE, options | {"weight_bits": max(WEIGHT_BITS)}
        return RescaleConfig("depthwise_kernel", bits, method, depthwise=True, **options)
    per_channel = type(layer) is keras.layers.Conv2D  # of which Conv2DTranspose is a subclass
    return RescaleConfig("kernel", bits, method, per_channel=per_channel, **options)
