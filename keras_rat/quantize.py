"""The functions of tfmot.quantization.keras, with k-bit rescales."""

import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_annotate

from keras_rat import configs, quantizers, wiring
from keras_rat.scheme import BATCH_NORM, WEIGHTED, RescaleAwareScheme
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
            configs.TiedOutputConfig,
            quantizers.RangeQuantizer,
            quantizers.RescaleQuantizer,
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
    return quantized


def _require_keras_2(candidate, kind) -> None:
    if isinstance(candidate, kind):
        return
    if type(candidate).__module__.split(".")[0] == "keras" or "keras.src" in type(candidate).__module__:
        raise ValueError(
            f"{type(candidate).__name__} {getattr(candidate, 'name', '')!r} was built with Keras 3, which "
            "tensorflow_model_optimization does not support; build it with tf_keras: `import tf_keras as keras`, or "
            "set TF_USE_LEGACY_KERAS=1 before importing tensorflow"
        )
    raise ValueError(f"expected a tf_keras {kind.__name__}, got {type(candidate).__name__}")


def _require_supported(model, registry) -> None:
    """Raises one ValueError that lists every annotated layer without a QuantizeConfig."""
    offenders = []
    for wrapper in model.layers:
        if not isinstance(wrapper, quantize_annotate.QuantizeAnnotate) or wrapper.quantize_config is not None:
            continue
        layer = wrapper.layer
        if isinstance(layer, BATCH_NORM):
            feeding = [getattr(f, "layer", f) for f in wiring.inputs(wrapper)]
            if not all(type(f) in WEIGHTED and configs.activation_name(f.activation) == "linear" for f in feeding):
                offenders.append(
                    f"{layer.name} (BatchNormalization that follows no linear Conv2D, DepthwiseConv2D or Dense)"
                )
        elif not registry.supports(layer) and type(layer) is not keras.layers.SeparableConv2D:
            kind = type(layer).__name__
            if hasattr(layer, "activation"):
                kind += f" with activation {configs.activation_name(layer.activation)}"
            offenders.append(f"{layer.name} ({kind})")
    if offenders:
        raise ValueError(
            f"layers that cannot be trained with k-bit rescales: {', '.join(offenders)}; annotate the other layers "
            "with quantize_annotate_layer, or give these a QuantizeConfig of their own"
        )


def _require_wired(model) -> None:
    """Raises ValueError where the range before or after a layer with weights cannot be found."""
    offenders = [layer.name for layer in rescale_layers(model) if wiring.links(layer) is None]
    if offenders:
        raise ValueError(
            f"no quantised range before or after layers {', '.join(offenders)}; annotate the layers around them too"
        )


def rescale_layers(model) -> list:
    """The quantised layers with weights and k-bit multipliers, in execution order."""
    return [
        layer for layer in model.layers if isinstance(getattr(layer, "quantize_config", None), configs.RescaleConfig)
    ]
