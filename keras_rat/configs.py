# SPDX-License-Identifier: Apache-2.0
"""QuantizeConfigs: which tensors of a layer are quantised, and by which quantizer."""

import tf_keras as keras
from tensorflow_model_optimization.quantization.keras import QuantizeConfig

from keras_rat.grid import K_BITS, family_of
from keras_rat.quantizers import RangeQuantizer, RescaleQuantizer, TableQuantizer, TiedQuantizer
from keras_rat.wiring import TABLE_RANGES
from tflm_export.rescale import check_bits

# Fused activations that an int8 kernel applies by clamping: the range is that of their output.
CLAMPING = ("linear", "relu", "relu6")
# Activations with a table or fixed point of their own: the range is that of their input.
TABLED = tuple(TABLE_RANGES)


def activation_name(activation) -> str:
    """The name of a Keras activation function or tfmot activation object."""
    return getattr(activation, "__name__", type(activation).__name__)


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
    """A layer without weights whose rescale factors are k bits wide: an addition or a global pooling.

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


class SlopeConfig(SumConfig):
    """A leaky ReLU: two factors, input scale / output scale and `alpha` times that.

    The first is made a power of two, so that the second is k bits wide where alpha is.
    """


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
        return RescaleConfig("depthwise_kernel", bits, method, depthwise=True, **options)
    per_channel = type(layer) is keras.layers.Conv2D  # of which Conv2DTranspose is a subclass
    return RescaleConfig("kernel", bits, method, per_channel=per_channel, **options)
