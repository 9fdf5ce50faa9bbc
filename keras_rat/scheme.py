# SPDX-License-Identifier: Apache-2.0
"""tfmot's 8-bit scheme with k-bit rescales: layout transforms, registry, scheme."""

import collections
import copy
import dataclasses
from collections.abc import Mapping

import numpy as np
import tf_keras as keras
from tensorflow_model_optimization.quantization.keras import default_8bit
from tensorflow_model_optimization.quantization.keras.default_8bit import default_8bit_transforms
from tensorflow_model_optimization.quantization.keras.graph_transformations import model_transformer, transforms

from keras_rat import batch_norm, configs, quantizers, tfmot_internals, wiring
from keras_rat.graph import kinds, rewrite, substitute
from keras_rat.graph.channelwise import HardSwish
from keras_rat.grid import K_BITS, Family, family_of, only_bits
from keras_rat.patterns import PerLayer, checked, require_widths
from keras_rat.quantizers import RangeQuantizer
from tflm_export.errors import UsageError
from tflm_export.rescale import MAX_BITS, check_bits
from tflm_export.setting import METHODS, REQUANTIZE

DEFAULT_BITS = 4
MAX_WEIGHT_BITS = max(quantizers.WEIGHT_BITS)
COARSE_BITS = 4  # up to here no multiplier moved in any of hundreds of trainings at the weights' learning rate
layers = keras.layers

# Layers that training alone has, which files leave out.
TRAINING = (
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
)
# Layers that hand on integers as they are.
MOVING = (
    *TRAINING,
    layers.ActivityRegularization,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.MaxPooling2D,
    layers.Permute,
    layers.Reshape,
    rewrite.BatchReshape,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.ZeroPadding2D,
)
# Layers that compute within one scale.
TIED = (layers.AveragePooling2D, layers.Resizing, layers.UpSampling2D)
# Layers whose inputs share one scale, which is their output's.
TYING = configs.TYING
# Layers without weights that rescale, and what knows their factors.
SUM_CONFIGS = {
    layers.Add: configs.SumConfig,
    layers.Subtract: configs.SumConfig,
    layers.GlobalAveragePooling2D: configs.SumConfig,
    layers.GlobalAveragePooling3D: configs.SumConfig,
    layers.LeakyReLU: configs.SlopeConfig,
    layers.PReLU: configs.SlopesConfig,
    layers.Multiply: configs.ProductConfig,
    HardSwish: configs.HardSwishConfig,
}
SUMS = tuple(SUM_CONFIGS)
# Layers with a rescale to a range of their own.
RESCALING = (*SUMS, layers.ReLU)
# Layers that take any range and have a fixed one.
FIXED = (layers.Softmax,)

# Layers whose batch normalisation the converter, or a transform, folds into their weights.
NORMALISED = substitute.FOLDS_NORM
BATCH_NORM = substitute.BATCH_NORM


class QuantizeInput(default_8bit_transforms.InputLayerQuantize):
    """Quantises the model's inputs."""

    def replacement(self, match_layer):
        quantize = tfmot_internals.QuantizeLayer(RangeQuantizer())
        config = layers.serialize(quantize, use_legacy_format=True)
        config["name"] = quantize.name
        return transforms.LayerNode(config, input_layers=[match_layer])

    def custom_objects(self):
        return {"QuantizeLayer": tfmot_internals.QuantizeLayer, "RangeQuantizer": RangeQuantizer}


class SplitSeparable(default_8bit_transforms.SeparableConvQuantize):
    """A separable convolution as two layers, `{name}_depthwise` and `{name}_pointwise`."""

    def replacement(self, match_layer):
        split = super().replacement(match_layer)
        if split is not match_layer:
            name = match_layer.layer["config"]["name"]
            for node, part in ((split.input_layers[0], "depthwise"), (split, "pointwise")):
                node.layer["name"] = node.layer["config"]["name"] = f"{name}_{part}"
        return split


class FlatReshape(transforms.Transform):
    """Reshape by a fixed shape, for which the converter needs no operators that read the batch size."""

    def pattern(self):
        return transforms.LayerPattern("Reshape")

    def replacement(self, match_layer):
        match_layer.layer["class_name"] = rewrite.BatchReshape.__name__
        return match_layer

    def custom_objects(self):
        return {rewrite.BatchReshape.__name__: rewrite.BatchReshape}


class WeightedReLU(transforms.Transform):
    """Layer with weights, then ReLU: one range, after the ReLU.

    tfmot's own transform for this pattern drops the quantisation of the weights as well.
    """

    def pattern(self):
        named = "|".join(kind.__name__ for kind in kinds.WEIGHTED)
        linear = transforms.LayerPattern(named, config={"activation": "linear"})
        return transforms.LayerPattern("ReLU", inputs=[linear])

    def replacement(self, match_layer):
        node = match_layer.input_layers[0]
        if match_layer.metadata.get("quantize_config") is None and node.metadata.get("quantize_config") is None:
            no_op = tfmot_internals.NoOpActivation()
            node.layer["config"]["activation"] = keras.activations.serialize(no_op, use_legacy_format=True)
        return match_layer

    def custom_objects(self):
        return {"NoOpActivation": tfmot_internals.NoOpActivation}


class WeightedReLUActivation(WeightedReLU):
    """The same with an Activation layer."""

    def pattern(self):
        return transforms.LayerPattern(
            "Activation", config={"activation": "relu|relu6"}, inputs=super().pattern().inputs
        )


class AddReLU(transforms.Transform):
    """Add, then ReLU: one range, after the ReLU."""

    def pattern(self):
        return transforms.LayerPattern("ReLU", inputs=[transforms.LayerPattern("Add")])

    def replacement(self, match_layer):
        match_layer.input_layers[0].metadata["quantize_config"] = configs.NoQuantizeConfig()
        return match_layer

    def custom_objects(self):
        return {"NoQuantizeConfig": configs.NoQuantizeConfig}


class AddReLUActivation(AddReLU):
    """The same with an Activation layer."""

    def pattern(self):
        return transforms.LayerPattern(
            "Activation", config={"activation": "relu|relu6"}, inputs=super().pattern().inputs
        )


class ConvBatchNormActivation(default_8bit_transforms.Conv2DBatchNormActivationQuantize):
    """Convolution, batch normalisation, then an Activation layer; relu6 as well as relu."""

    def pattern(self):
        pattern = super().pattern()
        pattern.config = {"activation": "relu|relu6"}
        return pattern


class FoldBatchNorm(transforms.Transform):
    """Dense or Conv2DTranspose, then batch normalisation: one layer with the normalisation in its kernel and bias.

    The converter cannot fold it into these layers' quantised kernels and would leave them in float.
    """

    def pattern(self):
        dense = transforms.LayerPattern("Dense|Conv2DTranspose", config={"activation": "linear"})
        return transforms.LayerPattern("BatchNormalization|SyncBatchNormalization", inputs=[dense])

    def replacement(self, match_layer):
        node = match_layer.input_layers[0]
        if node.metadata.get("quantize_config") or match_layer.metadata.get("quantize_config"):
            return match_layer
        dense, norm = (dict(n.weights) for n in (node, match_layer))
        gain = norm.get("gamma:0", 1.0) / np.sqrt(norm["moving_variance:0"] + match_layer.layer["config"]["epsilon"])
        bias = (dense.get("bias:0", 0.0) - norm["moving_mean:0"]) * gain + norm.get("beta:0", 0.0)
        node.layer["config"]["use_bias"] = True
        along = gain[:, None] if node.layer["class_name"] == "Conv2DTranspose" else gain  # [height, width, out, in]
        weights = collections.OrderedDict([("kernel:0", dense["kernel:0"] * along), ("bias:0", bias)])
        return transforms.LayerNode(node.layer, weights=weights, metadata=node.metadata)

    def custom_objects(self):
        return {}


class FreezableStatistics(transforms.Transform):
    """Batch normalisation that is left: one whose statistics can be frozen."""

    def pattern(self):
        return transforms.LayerPattern("|".join(batch_norm.FREEZABLE))

    def replacement(self, match_layer):
        match_layer.layer["class_name"] = batch_norm.FREEZABLE[match_layer.layer["class_name"]].__name__
        return match_layer

    def custom_objects(self):
        return {kind.__name__: kind for kind in batch_norm.FREEZABLE.values()}


class SnapSlope(transforms.Transform):
    """Leaky ReLU: its slope to the nearest number that a k-bit multiplier can be.

    Args:
      bits_of: function from a layer's name to the width of its multipliers.
      grid: their family.
    """

    def __init__(self, bits_of, grid=K_BITS):
        self._bits_of, self._grid = bits_of, grid

    def pattern(self):
        return transforms.LayerPattern("LeakyReLU")

    def replacement(self, match_layer):
        config = match_layer.layer["config"]
        if match_layer.metadata.get("quantize_config") is None:
            config["alpha"] = float(self._grid.exact(self._bits_of(config["name"])).snap(config["alpha"]))
        return match_layer

    def custom_objects(self):
        return {}


class LayoutTransform(default_8bit.Default8BitQuantizeLayoutTransform):
    """Fuses batch normalisations and activations the way the converter will.

    Args:
      bits_of: function from a layer's name to the width of its multipliers.
      grid: their family.
    """

    def __init__(self, bits_of, grid=K_BITS):
        self._bits_of, self._grid = bits_of, grid

    def apply(self, model, layer_quantize_map):
        steps = [
            QuantizeInput(),
            FlatReshape(),
            SplitSeparable(),
            FoldBatchNorm(),  # before tfmot's, whose pattern for Conv2D also takes names that only start with it
            default_8bit_transforms.Conv2DBatchNormReLUQuantize(),
            ConvBatchNormActivation(),
            default_8bit_transforms.Conv2DBatchNormQuantize(),
            WeightedReLU(),
            WeightedReLUActivation(),
            AddReLU(),
            AddReLUActivation(),
            SnapSlope(self._bits_of, self._grid),
            FreezableStatistics(),  # after those that look for batch normalisations by name
        ]
        candidates = set(layer_quantize_map)
        transformed, quantize_map = model_transformer.ModelTransformer(
            model, steps, candidates, layer_quantize_map
        ).transform()
        for metadata in quantize_map.values():
            config = metadata.get("quantize_config")
            if isinstance(config, tfmot_internals.OutputQuantizeConfig):
                metadata["quantize_config"] = configs.OutputConfig()
            elif isinstance(config, tfmot_internals.NoOpQuantizeConfig):
                metadata["quantize_config"] = configs.NoQuantizeConfig()
        for layer in transformed.layers:
            metadata = quantize_map.get(layer.name)
            if isinstance(layer, SUMS) and metadata is not None:
                config = metadata.get("quantize_config")
                if config is None or type(config) is configs.NoQuantizeConfig:
                    kind = SUM_CONFIGS[type(layer)]
                    metadata["quantize_config"] = kind(self._bits_of(layer.name), config is None, self._grid)
        _tie_lone_activations(transformed, quantize_map)
        _tie_where_paths_part(transformed, quantize_map)
        return transformed, quantize_map


def _tie_lone_activations(model, quantize_map) -> None:
    """Ties a ReLU to its input's range where the layer before has a range of its own: then no rescale is needed."""
    for layer in model.layers:
        metadata = quantize_map.get(layer.name)
        lone = isinstance(layer, layers.ReLU) or (
            type(layer) is layers.Activation and kinds.activation_name(layer.activation) in ("relu", "relu6")
        )
        if not lone or metadata is None or metadata.get("quantize_config") is not None:
            continue
        (before,) = wiring.inputs(layer)
        leaves_range = isinstance(quantize_map.get(before.name, {}).get("quantize_config"), configs.NoQuantizeConfig)
        leaves_range = leaves_range and not quantize_map[before.name]["quantize_config"].get_output_quantizers(before)
        weighted = type(before) in kinds.WEIGHTED and kinds.activation_name(before.activation) == "NoOpActivation"
        if not (leaves_range or weighted):
            metadata["quantize_config"] = configs.TiedOutputConfig()


def _tie_where_paths_part(model, quantize_map) -> None:
    """Rounds what a layer hands on as it is, where an average pooling or the like reads it beside other layers.

    It has these values already; but the converter hands ranges on through only one of the paths, and leaves the layers
    of the others in float.
    """
    for layer in model.layers:
        if type(layer) not in TIED:
            continue
        before = wiring.inputs(layer)
        while len(before) == 1 and type(before[0]) in (*MOVING, *TYING):
            metadata = quantize_map.get(before[0].name)
            if len(wiring.outputs(before[0])) > 1 and metadata is not None and metadata.get("quantize_config") is None:
                metadata["quantize_config"] = configs.TiedOutputConfig()
            before = wiring.inputs(before[0])


def rescales(layer) -> bool:
    """Whether a layer has multipliers of a width of its own."""
    return isinstance(layer, (*NORMALISED, *kinds.WEIGHTED, *SUMS))


def has_own_weight_bits(layer) -> bool:
    """Whether a layer has weights of a width of its own."""
    return isinstance(layer, NORMALISED) and not isinstance(layer, configs.Channelwise)


class Registry(default_8bit.Default8BitQuantizeRegistry):
    """The QuantizeConfig of every layer that can be trained with k-bit rescales."""

    def __init__(self, bits_of, method, weight_bits_of, learn_multipliers=None, **options):
        super().__init__()
        self._bits_of, self._method, self._weight_bits_of = bits_of, method, weight_bits_of
        self._learn_multipliers = learn_multipliers
        self._options = options

    def weight_bits_of(self, layer) -> int:
        """The bits of a layer's weights; 8 of those that the scheme says nothing of."""
        return self._weight_bits_of(layer.name) or MAX_WEIGHT_BITS

    def supports(self, layer):
        if type(layer) is layers.Activation:
            return kinds.activation_name(layer.activation) in (*configs.CLAMPING, *configs.TABLED)
        if type(layer) in kinds.WEIGHTED:
            known = (*configs.CLAMPING, *configs.TABLED, *configs.CLIPPED, "NoOpActivation")
            return kinds.activation_name(layer.activation) in known
        return type(layer) in (*MOVING, *TIED, *RESCALING, *FIXED, *TYING)

    def get_quantize_config(self, layer):
        if not self.supports(layer):
            raise ValueError(f"layer {layer.name} of type {type(layer).__name__} is not supported")
        if type(layer) in kinds.WEIGHTED:
            # 31 bits: tfmot asks for layers before annotated ones too, for their output's range alone.
            bits, learn = self._bits_of(layer.name) or MAX_BITS, self._learn_multipliers
            if learn is None:
                learn = self._method == REQUANTIZE and bits > COARSE_BITS and layer.trainable
            options = {"weight_bits": self.weight_bits_of(layer), "learn_multipliers": learn}
            return configs.rescale_config(layer, bits, self._method, **options, **self._options)
        if type(layer) is layers.Activation:
            name = kinds.activation_name(layer.activation)
            if name in configs.TABLED:
                return configs.TableOutputConfig()
            return configs.OutputConfig() if name in ("relu", "relu6") else configs.NoQuantizeConfig()
        if type(layer) in FIXED:
            return configs.TableOutputConfig()
        if type(layer) in RESCALING:
            return configs.OutputConfig()
        return configs.TiedOutputConfig() if type(layer) in TIED else configs.NoQuantizeConfig()


class RescaleAwareScheme(default_8bit.Default8BitQuantizeScheme):
    """tfmot's 8-bit scheme with per-channel depthwise weights and k-bit rescale multipliers.

    Args:
      bits: width k of the multipliers, 1 to 31; or a mapping {regular expression: k} that is searched for in the
        names of the given model's layers, the first match counts. Of None, `DEFAULT_BITS`, or those of a family that
        has no others.
      method: "requantize", or "keep" for hardware that cannot change the weights' integers.
      weight_bits: 8, or 4 for int4 weights; or a mapping {regular expression: 8 or 4}, as for `bits`.
      multiplier_rate: learning rate of the multipliers over that of the weights, if they are learned.
      grid: the `keras_rat.grid.Family` of the multipliers, or its name.
      learn_multipliers: whether training moves multipliers, too; by default with a `multiplier_rate` of their own, and
        with "requantize" at more than 4 bits.

    Raises:
      UsageError: an argument out of range, or a pattern that is no regular expression.
    """

    def __init__(
        self,
        bits: int | Mapping[str, int] | None = None,
        method: str = REQUANTIZE,
        *,
        weight_bits: int | Mapping[str, int] = MAX_WEIGHT_BITS,
        multiplier_rate: float = 1.0,
        grid: str | Family = K_BITS,
        learn_multipliers: bool | None = None,
    ):
        super().__init__()
        self.weight_bits = checked("weight_bits", weight_bits, quantizers.check_weight_bits)
        self.multiplier_rate = quantizers.check_rate(multiplier_rate)
        self.grid = family_of(grid)
        self.bits = _check_widths(bits, self.grid)
        if method not in METHODS:
            raise UsageError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        self.method = method
        if learn_multipliers not in (None, True, False):
            raise UsageError(f"learn_multipliers must be True, False or None, got {learn_multipliers!r}")
        if self.multiplier_rate != 1 and learn_multipliers is False:
            raise UsageError(f"multiplier_rate {multiplier_rate!r} is of no use with learn_multipliers=False")
        self.learn_multipliers = True if self.multiplier_rate != 1 else learn_multipliers
        self._bits = PerLayer("bits", self.bits)
        self._weight_bits = PerLayer("weight_bits", self.weight_bits)

    def bits_of(self, name: str) -> int | None:
        """The width for the layer of this name; None where no pattern matches."""
        return self._bits.of(name)

    def resolved(self, bits: Mapping[str, int | None], weight_bits: Mapping[str, int | None]) -> "RescaleAwareScheme":
        """A copy of the scheme for one model.

        Args:
          bits: for every layer that rescales, the width it was annotated with or None; by the layer's name in the
            model as it is given. Parts of separable convolutions take its width.
          weight_bits: the same of the bits of weights, for every layer that has any.

        Raises:
          UsageError: layers that no pattern matches, patterns that match no layer, or widths of layers on a grid that
            has no other; all are listed.
        """
        own = [name for name, width in bits.items() if width is not None]
        if own and only_bits(self.grid) is not None:
            raise UsageError(
                f"layers {', '.join(own)} are annotated with bits, of which grid {self.grid.name} has none"
            )
        scheme = copy.copy(self)
        scheme._bits = self._bits.resolved(bits, "that rescale")
        scheme._weight_bits = self._weight_bits.resolved(weight_bits, "with weights")
        return scheme

    def extended(self, added: Mapping[str, str]) -> "RescaleAwareScheme":
        """A copy that knows more layers, each as wide as another: {name: name of the other}."""
        scheme = copy.copy(self)
        own = {name: self.bits_of(other) for name, other in added.items()}
        scheme._bits = dataclasses.replace(self._bits, own={**self._bits.own, **own})
        return scheme

    def get_layout_transformer(self) -> LayoutTransform:
        return LayoutTransform(self.bits_of, self.grid)

    def get_quantize_registry(self) -> Registry:
        return Registry(
            self.bits_of,
            self.method,
            self._weight_bits.of,
            multiplier_rate=self.multiplier_rate,
            grid=self.grid,
            learn_multipliers=self.learn_multipliers,
        )


def _check_widths(bits: int | Mapping[str, int] | None, family: Family) -> int | dict[str, int]:
    """Returns the widths to train with, `bits` or their default, if the family has them, else raises UsageError."""
    only = only_bits(family)
    if only is not None:
        if bits is not None:
            raise UsageError(f"grid {family.name} stands in place of bits; leave one of them out, got bits {bits!r}")
        return only
    require_widths(bits)
    return checked("bits", DEFAULT_BITS if bits is None else bits, check_bits)
