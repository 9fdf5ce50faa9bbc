"""The functions of tfmot.quantization.keras, with k-bit rescales."""

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_annotate

from keras_rat import configs, quantizers, wiring
from keras_rat.scheme import BATCH_NORM, NORMALISED, RescaleAwareScheme
from tflm_export.solver import REQUANTIZE

_tfmot = tfmot.quantization.keras


def quantize_scope(*args):
    """Scope for loading models with quantised layers, as tfmot's; pass further custom objects as dicts."""
    objects = {
        cls.__name__: cls
        for cls in (
            configs.NoQuantizeConfig,
            configs.OutputConfig,
            configs.RescaleConfig,
            configs.TableOutputConfig,
            configs.TiedOutputConfig,
            quantizers.RangeQuantizer,
            quantizers.RescaleQuantizer,
            quantizers.TableQuantizer,
            quantizers.TiedQuantizer,
        )
    }
    return _tfmot.quantize_scope(*args, objects)


def quantize_model(model, bits: int = 4, method: str = REQUANTIZE, quantized_layer_name_prefix: str = "quant_"):
    """Makes a model ready for rescale-aware training.

    The new model computes with 8-bit weights and activations and k-bit rescale multipliers; its weights are copies.
    Call `calibrate` on it, compile and fit it, then `convert` it.

    Args:
      model: a Sequential or functional tf_keras model, trained or not.
      bits: width k of the multipliers, 1 (pure shifts) to 31 (plain quantisation-aware training).
      method: "requantize" trains weights at the scales that the narrow multipliers imply; "keep" trains a network
        whose weight integers do not depend on the multipliers.
      quantized_layer_name_prefix: put before the names of quantised layers.

    Returns:
      A new tf_keras model, not compiled.

    Raises:
      ValueError: the model is no tf_keras model, or has layers that are not supported; all are listed.
      UsageError (a ValueError): bits or method out of range.
    """
    scheme = RescaleAwareScheme(bits, method)
    return quantize_apply(
        quantize_annotate_model(model), scheme=scheme, quantized_layer_name_prefix=quantized_layer_name_prefix
    )


def quantize_annotate_model(model):
    """Marks all layers of a model for quantisation by `quantize_apply`; layers annotated already keep their config.

    Raises:
      ValueError: the model is no Sequential or functional tf_keras model.
    """
    _require_keras_2(model, keras.Model)
    return _tfmot.quantize_annotate_model(model)


def quantize_annotate_layer(layer, quantize_config=None):
    """Marks one layer for quantisation by `quantize_apply`.

    Args:
      layer: a tf_keras layer.
      quantize_config: a tfmot QuantizeConfig that replaces the scheme's.

    Raises:
      ValueError: the layer is no tf_keras layer.
    """
    _require_keras_2(layer, keras.layers.Layer)
    return _tfmot.quantize_annotate_layer(layer, quantize_config)


def quantize_apply(
    model,
    scheme: RescaleAwareScheme | None = None,
    quantized_layer_name_prefix: str = "quant_",
    *,
    bits: int = 4,
    method: str = REQUANTIZE,
):
    """Quantises the annotated layers of a model.

    Args:
      model: a model with layers annotated by `quantize_annotate_model` or `quantize_annotate_layer`.
      scheme: the scheme; by default `RescaleAwareScheme(bits, method)`.
      quantized_layer_name_prefix, bits, method: as for `quantize_model`.

    Returns:
      A new tf_keras model, not compiled.

    Raises:
      ValueError: the model is no tf_keras model, or has layers that are not supported; all are listed.
    """
    _require_keras_2(model, keras.Model)
    scheme = scheme or RescaleAwareScheme(bits, method)
    _require_supported(model, scheme.get_quantize_registry())
    with quantize_scope():
        quantized = _tfmot.quantize_apply(model, scheme, quantized_layer_name_prefix)
    _require_wired(quantized)
    _revive_gains(quantized)
    return quantized


def _require_keras_2(candidate, kind) -> None:
    if isinstance(candidate, kind):
        return
    if type(candidate).__module__.split(".")[0] == "keras":
        raise ValueError(
            f"{type(candidate).__name__} {getattr(candidate, 'name', '')!r} was built with Keras 3, which "
            "tensorflow_model_optimization does not support; build it with tf_keras: `import tf_keras as keras`, or "
            "set TF_USE_LEGACY_KERAS=1 before importing tensorflow"
        )
    raise ValueError(f"expected a tf_keras {kind.__name__}, got {type(candidate).__name__}")


def _require_supported(model, registry) -> None:
    """Raises one ValueError that lists every annotated layer that cannot be trained, and why."""
    offenders = []
    for wrapper in model.layers:
        if not isinstance(wrapper, quantize_annotate.QuantizeAnnotate) or wrapper.quantize_config is not None:
            continue
        problem = _problem(wrapper, registry)
        if problem:
            offenders.append(f"{wrapper.layer.name} ({problem})")
    if offenders:
        raise ValueError(
            f"layers that cannot be trained with k-bit rescales: {', '.join(offenders)}; annotate the other layers "
            "with quantize_annotate_layer, or give these a QuantizeConfig of their own"
        )


def _problem(wrapper, registry) -> str:
    """Why an annotated layer cannot be trained, empty if it can."""
    layer = wrapper.layer
    feeding = [getattr(f, "layer", f) for f in wiring.inputs(wrapper)]
    kind = type(layer).__name__
    if len(wrapper._inbound_nodes) > 1:
        return f"{kind} used {len(wrapper._inbound_nodes)} times"
    if isinstance(layer, BATCH_NORM):
        if not all(type(f) in NORMALISED and configs.activation_name(f.activation) == "linear" for f in feeding):
            return f"{kind} that follows no linear Conv2D, DepthwiseConv2D, SeparableConv2D or Dense"
        return ""
    if max(getattr(layer, "dilation_rate", (1,))) > 1:
        following = [getattr(f, "layer", f) for f in wiring.outputs(wrapper)]
        if any(isinstance(f, BATCH_NORM) for f in following):
            return f"dilated {kind} with batch normalisation, which the converter leaves in float"
    if type(layer) is keras.layers.SeparableConv2D:
        return ""
    if not registry.supports(layer):
        has_activation = hasattr(layer, "activation")
        return f"{kind} with activation {configs.activation_name(layer.activation)}" if has_activation else kind
    if isinstance(layer, keras.layers.ReLU) and (
        layer.negative_slope or layer.threshold or layer.max_value not in (None, 6)
    ):
        return f"{kind} with negative_slope, threshold or a max_value other than 6"
    if isinstance(layer, keras.layers.Add) and len(feeding) != 2:
        return f"{kind} of {len(feeding)} inputs; add them two at a time"
    return ""


def _require_wired(model) -> None:
    """Raises ValueError where the range before or after a layer with weights cannot be found."""
    offenders = [layer.name for layer in rescale_layers(model) if wiring.links(layer) is None]
    if offenders:
        raise ValueError(
            f"no quantised range before or after layers {', '.join(offenders)}; annotate the layers around them too"
        )


def _revive_gains(model) -> None:
    """Makes batch-norm gains of exactly 0 tiny: the converter divides by them."""
    for layer in rescale_layers(model):
        norm = wiring.links(layer).batch_norm
        if norm is not None and norm.scale:
            gamma = norm.gamma.numpy()
            floor = quantizers.SMALLEST_SHARE * (np.abs(gamma).max() or 1.0)
            norm.gamma.assign(np.where(np.abs(gamma) < floor, np.copysign(floor, gamma), gamma))


def rescale_layers(model) -> list:
    """The quantised layers with weights and k-bit multipliers, in execution order."""
    return [
        layer for layer in model.layers if isinstance(getattr(layer, "quantize_config", None), configs.RescaleConfig)
    ]
