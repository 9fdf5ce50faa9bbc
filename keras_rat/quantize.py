# SPDX-License-Identifier: Apache-2.0
"""The functions of tfmot.quantization.keras, with k-bit rescales."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.quantization.keras.default_8bit import Default8BitQuantizeScheme

from keras_rat import (
    auto,
    configs,
    feed,
    freedom,
    models,
    quantizers,
    refusals,
    tfmot_internals,
    wiring,
)
from keras_rat.calibrate import ABSORBED, STEPS
from keras_rat.graph import kinds, rewrite
from keras_rat.graph.keras3 import from_keras3, is_keras3
from keras_rat.graph.listed import listed
from keras_rat.grid import K_BITS, Family
from keras_rat.patterns import AUTO, open_widths
from keras_rat.refusals import grouped
from keras_rat.rescales import rescale_layers
from keras_rat.scheme import BATCH_NORM, MAX_WEIGHT_BITS, NORMALISED, RescaleAwareScheme, has_own_weight_bits, rescales
from keras_rat.scope import RescaleAnnotate, quantize_scope
from keras_rat.wrapper import adopt
from tflm_export.errors import UsageError
from tflm_export.rescale import MAX_BITS, check_bits
from tflm_export.setting import REQUANTIZE

_tfmot = tfmot.quantization.keras
PREFIX = "quant_"
NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*")  # of a layer: what TensorFlow allows in names of its graphs
ATTEMPTS = 4  # to give scales that cannot be on the grid a rescale of their own, which may tie others down


def quantize_model(
    model: keras.Model,
    bits: int | str | Mapping[str, int | str] | None = None,
    method: str = REQUANTIZE,
    quantized_layer_name_prefix: str = PREFIX,
    *,
    weight_bits: int | Mapping[str, int] = MAX_WEIGHT_BITS,
    multiplier_rate: float = 1.0,
    grid: str | Family = K_BITS,
    learn_multipliers: bool | None = None,
    data: feed.Data | None = None,
    max_drop: float = auto.MAX_DROP,
) -> keras.Model:
    """Makes a model ready for rescale-aware training.

    The new model computes with 8-bit weights and activations and k-bit rescale multipliers; its weights are copies.
    Call `calibrate` on it, compile and fit it, then `convert` it.

    Args:
      model: a Sequential or functional model of tf_keras or Keras 3, trained or not.
      bits: width k of the multipliers, 1 (pure shifts) to 31 (plain quantisation-aware training); 4 if left out. Or a
        mapping {regular expression: k}: every layer that rescales (those with weights, additions and global poolings)
        takes the first pattern found in its name; patterns must cover all of them (end with ".*" for the others) and
        each be of use. Layers annotated with bits of their own keep these. "auto", alone or as a value in the mapping,
        has widths chosen on `data`, by `choose_bits`; `widths` shows them.
      method: "requantize" trains weights at the scales that the narrow multipliers imply; "keep" trains a network
        whose weight integers do not depend on the multipliers.
      quantized_layer_name_prefix: put before the names of quantised layers.
      weight_bits: 8, or 4 for weights of -7..7 (see `convert`). Or a mapping {regular expression: 8 or 4}, as for
        `bits`, that covers every layer with weights.
      multiplier_rate: learning rate of the multipliers over that of the weights, with any optimizer, where
        they are learned. `callbacks.LearnMultipliers` sets it by the length of the training.
      grid: the numbers that multipliers can be: by default those of k bits; "csd2" for two signed digits, then without
        bits; or another registered `keras_rat.grid.Family`, or its name; what `bits` means to it is its own affair.
      learn_multipliers: whether training moves the multipliers by their gradient, too. By default with "requantize" at
        more than 4 bits, where they are the scales of the weights and a usual training moves them: by a few hundredths
        of an octave, which coarser grids do not see (`callbacks.LearnMultipliers` goes further); and where they have a
        `multiplier_rate` of their own. Else they stay what `calibrate` chose and training adapts all else, which came
        out at least as well (docs/results.md).
      data, max_drop: for bits="auto" alone: as for `choose_bits`.

    Returns:
      A new tf_keras model, not compiled.

    Raises:
      ValueError: the model is no Keras model, or has layers that are not supported; all are listed.
      UsageError (a ValueError): an argument out of range.
    """
    if data is not None:
        open_widths(bits, grid)
        bits = choose_bits(model, data, max_drop, method, bits=bits, weight_bits=weight_bits).bits
    scheme = RescaleAwareScheme(
        bits,
        method,
        weight_bits=weight_bits,
        multiplier_rate=multiplier_rate,
        grid=grid,
        learn_multipliers=learn_multipliers,
    )
    annotated = _annotated(model)
    return _apply(annotated, scheme, quantized_layer_name_prefix, model.trainable)


def choose_bits(
    model: keras.Model,
    data: feed.Data,
    max_drop: float = auto.MAX_DROP,
    method: str = REQUANTIZE,
    *,
    bits: str | Mapping[str, int | str] = AUTO,
    weight_bits: int | Mapping[str, int] = MAX_WEIGHT_BITS,
    multipliers: str = ABSORBED,
    batch_size: int = 32,
    steps: int = STEPS,
) -> auto.Choice:
    """Chooses the narrowest width for each layer that keeps the network's outputs within a tolerance.

    Three quarters of the rows calibrate, every fourth measures. By the search of `tflm_export --search`: all layers
    are widened together until the drop is within the tolerance, after one bit the additions alone; then single layers
    go back to one bit where the drop stays within it. For every setting the network is calibrated as `calibrate` does
    it, so that gain errors that are absorbed cost no bits. Training is not looked ahead to, and usually wins back more.

    Args:
      model: as for `quantize_model`; stays as it is.
      data, batch_size, steps, multipliers: as for `calibrate`.
      max_drop: tolerated drop of the top-1 agreement with the network at 31 bits, in points (0.01 is one in a hundred
        of the rows that measure); for outputs that are no classes, tolerated relative change. It holds for each output.
      method, weight_bits: as for `quantize_model`.
      bits: "auto", or a mapping {regular expression: k or "auto"}, as for `quantize_model`. Layers that are annotated
        with bits of their own keep these.

    Returns:
      An `auto.Choice`, whose `bits` are for `quantize_model`.

    Raises:
      ValueError: as `quantize_model` and `calibrate`.
      UsageError (a ValueError): an argument out of range, data with fewer than four rows, or of several shapes.
      ModelError (a ValueError): no width up to 16 bits is within the tolerance.
    """
    widths = open_widths(bits)
    annotated = _annotated(model)
    scheme = RescaleAwareScheme(MAX_BITS, method, weight_bits=weight_bits)
    trial = _apply(annotated, scheme, PREFIX, model.trainable)
    own = _own(annotated.model, "bits", rescales)
    resolved = widths.resolved(own, "that rescale")
    rows = auto.rows(trial, data, batch_size, steps)
    return auto.choose(trial, PREFIX, {name: resolved.of(name) for name in own}, *rows, max_drop, multipliers)


def quantize_annotate_model(model: keras.Model) -> keras.Model:
    """Marks all layers of a model for quantisation by `quantize_apply`; layers annotated already keep their config.

    A model of Keras 3 is rebuilt in tf_keras first, by `from_keras3`.

    Raises:
      ValueError: the model is no Sequential or functional model that is built, or uses layers with weights several
        times; all are listed.
    """
    annotated = _annotated(model)
    _raise_offenders(annotated.offenders)
    return annotated.model


def _annotated(model) -> rewrite.Rewritten:
    """The model in flat form with every layer annotated."""
    model = _as_keras_2(model)
    _require_built(model)

    def wrap(layer, origin):
        if isinstance(layer, keras.Model):  # of a class of its own, among the offenders
            return layer
        if isinstance(origin, tfmot_internals.QuantizeAnnotate):
            return _annotation_like(origin, layer)
        return tfmot_internals.QuantizeAnnotate(layer)

    flat = rewrite.rewrite(model, wrap)
    if flat.model is model:
        annotated = keras.models.clone_model(model, clone_function=lambda layer: wrap(rewrite.bare(layer), layer))
        return rewrite.Rewritten(annotated, [])
    return flat


def _annotation_like(annotation, layer):
    """Another layer with the same annotation."""
    if isinstance(annotation, RescaleAnnotate):
        weight_bits = annotation.weight_bits if has_own_weight_bits(layer) else None
        return RescaleAnnotate(layer, annotation.quantize_config, annotation.bits, weight_bits)
    return tfmot_internals.QuantizeAnnotate(layer, annotation.quantize_config)


def quantize_annotate_layer(
    layer: keras.layers.Layer,
    quantize_config: _tfmot.QuantizeConfig | None = None,
    *,
    bits: int | None = None,
    weight_bits: int | None = None,
) -> keras.layers.Layer:
    """Marks one layer for quantisation by `quantize_apply`.

    Args:
      layer: a tf_keras layer.
      quantize_config: a tfmot QuantizeConfig that replaces the scheme's.
      bits: width k of this layer's multipliers, in place of the scheme's.
      weight_bits: 8 or 4, of this layer's weights, in place of the scheme's.

    Raises:
      ValueError: the layer is no tf_keras layer.
      UsageError (a ValueError): bits out of range, or given together with a quantize_config, or bits of weights where
        there are none.
    """
    _require_keras_2(layer, keras.layers.Layer)
    given = {"bits": (bits, check_bits), "weight_bits": (weight_bits, quantizers.check_weight_bits)}
    own = {name: check(value) for name, (value, check) in given.items() if value is not None}
    if own and quantize_config is not None:
        raise UsageError(f"layer {layer.name}: give {' and '.join(own)} or a quantize_config, not both")
    if "weight_bits" in own and not has_own_weight_bits(layer):
        raise UsageError(f"layer {layer.name}: {type(layer).__name__} with weight_bits, but no weights to quantise")
    if own:
        return RescaleAnnotate(layer, **own)
    return _tfmot.quantize_annotate_layer(layer, quantize_config)


def quantize_apply(
    model: keras.Model,
    scheme: Default8BitQuantizeScheme | None = None,
    quantized_layer_name_prefix: str = PREFIX,
    *,
    bits: int | Mapping[str, int] | None = None,
    method: str = REQUANTIZE,
    grid: str | Family = K_BITS,
    weight_bits: int | Mapping[str, int] = MAX_WEIGHT_BITS,
) -> keras.Model:
    """Quantises the annotated layers of a model.

    Args:
      model: a model with layers annotated by `quantize_annotate_model` or `quantize_annotate_layer`.
      scheme: the scheme; by default, and in place of tfmot's Default8BitQuantizeScheme, which is its own default,
        `RescaleAwareScheme(bits, method, grid=grid, weight_bits=weight_bits)`.
      quantized_layer_name_prefix, bits, method, grid, weight_bits: as for `quantize_model`.

    Returns:
      A new tf_keras model, not compiled.

    Raises:
      UsageError (a ValueError): the scheme is of another kind.
      ValueError: the model is no tf_keras model, has no annotated layers, or layers that are not supported; all are
        listed.
    """
    model = _as_keras_2(model)
    _require_built(model)
    _require_annotated(model)
    if scheme is None or type(scheme) is Default8BitQuantizeScheme:
        scheme = RescaleAwareScheme(bits, method, grid=grid, weight_bits=weight_bits)
    if isinstance(scheme, type):
        raise UsageError(f"scheme is the class {scheme.__name__}; give an object of it, {scheme.__name__}()")
    if not isinstance(scheme, RescaleAwareScheme):
        raise UsageError(
            f"{type(scheme).__name__} is no RescaleAwareScheme: its quantizers know nothing of rescales, and those of "
            "k bits would not keep the zeros of pruned or the values of clustered weights; leave the scheme out, or "
            "quantise with tfmot and narrow the converted file with tflm_export"
        )

    def wrap(layer, origin):
        annotated = isinstance(origin, tfmot_internals.QuantizeAnnotate)
        return _annotation_like(origin, layer) if annotated else layer

    flat = rewrite.rewrite(model, wrap, lambda layer: getattr(layer, "quantize_config", layer) is None)
    return _apply(flat, scheme, quantized_layer_name_prefix, model.trainable)


def _apply(flat: rewrite.Rewritten, scheme, quantized_layer_name_prefix, trainable):
    model = flat.model
    if not isinstance(quantized_layer_name_prefix, str) or not NAME.fullmatch(f"{quantized_layer_name_prefix}x"):
        raise UsageError(
            "quantized_layer_name_prefix must be a string of letters, digits, '_', '.', '-' and '/', the first one a "
            f"letter or digit; got {quantized_layer_name_prefix!r}"
        )
    scheme = scheme.resolved(_own(model, "bits", rescales), _own(model, "weight_bits", has_own_weight_bits))
    _raise_offenders([*flat.offenders, *_unsupported(model, scheme.get_quantize_registry())])
    for _ in range(ATTEMPTS):
        with quantize_scope():
            quantized = _tfmot.quantize_apply(model, scheme, quantized_layer_name_prefix)
        adopt(quantized)
        _require_wired(quantized)
        stuck = freedom.stuck(quantized, quantized_layer_name_prefix)
        if not stuck:
            break
        model, added = freedom.loosened(model, stuck, _annotation_like)
        scheme = scheme.extended(added)
    models.adopt(quantized)
    _revive_gains(quantized)
    if not trainable:
        quantized.trainable = False
    return quantized


def _as_keras_2(model):
    return from_keras3(model) if is_keras3(model) else model


def _require_keras_2(candidate, kind) -> None:
    if isinstance(candidate, kind):
        return
    if is_keras3(candidate):
        raise ValueError(
            f"{type(candidate).__name__} {getattr(candidate, 'name', '')!r} is of Keras 3, whose models take no "
            "annotated layers; annotate layers of keras_rat.from_keras3(model), or build the model with tf_keras"
        )
    raise ValueError(f"expected a tf_keras {kind.__name__}, got {type(candidate).__name__}")


def _require_built(model) -> None:
    """Raises ValueError for all but Sequential and functional tf_keras models with weights."""
    _require_keras_2(model, keras.Model)
    if not isinstance(model, keras.Sequential) and not tfmot_internals.is_functional(model):
        raise ValueError(
            f"{type(model).__name__} {model.name!r} is a subclassed model, whose layers cannot be seen; build it "
            "with the functional API, keras.Model(inputs, outputs), or as keras.Sequential"
        )
    if not model.built or not model.inputs:
        raise ValueError(f"{type(model).__name__} {model.name!r} is not built; give its first layer an input_shape")
    quantised = (tfmot_internals.QuantizeLayer, _tfmot.QuantizeWrapper)
    if any(isinstance(layer, quantised) for layer in tfmot_internals.layers_at_any_depth(model)):
        raise ValueError(
            f"{type(model).__name__} {model.name!r} is quantised already; calibrate, train and convert it as it is, or "
            "pass the float model"
        )
    _require_float32(model)


def _require_annotated(model) -> None:
    if not any(isinstance(x, tfmot_internals.QuantizeAnnotate) for x in tfmot_internals.layers_at_any_depth(model)):
        raise ValueError(
            f"{type(model).__name__} {model.name!r} has no annotated layers; call keras_rat.quantize_model to quantise "
            "all of them, or annotate some with quantize_annotate_layer"
        )


def _require_float32(model) -> None:
    """Raises ValueError for mixed precision: float16 has too few bits for scales that stand for k-bit multipliers."""
    policy = keras.mixed_precision.global_policy()
    found = [layer for layer in tfmot_internals.layers_at_any_depth(model) if not isinstance(layer, keras.Model)]
    layers = dict.fromkeys(layer.name for layer in found if layer.weights and layer.compute_dtype != "float32")
    if layers or policy.compute_dtype != "float32":
        what = f"layers {', '.join(layers)} do not compute" if layers else f"policy {policy.name!r} does not compute"
        raise ValueError(
            f"{what} in float32, without which scales cannot make rescales k bits wide; call "
            'keras.mixed_precision.set_global_policy("float32"), build the model again and set_weights from this one'
        )


def _unsupported(model, registry) -> list[tuple[str, str]]:
    """(name, reason) of every annotated layer that cannot be trained."""
    offenders = []
    for wrapper in model.layers:
        if not isinstance(wrapper, tfmot_internals.QuantizeAnnotate) or wrapper.quantize_config is not None:
            continue
        obstacle = _obstacle(wrapper, registry)
        if obstacle:
            offenders.append((wrapper.layer.name, obstacle))
    return offenders


def _raise_offenders(offenders) -> None:
    """Raises one ValueError with all of them."""
    if offenders:
        raise ValueError(
            f"layers that cannot be trained with k-bit rescales:\n{grouped(offenders)}\nannotate the other layers "
            "with quantize_annotate_layer, or give these a QuantizeConfig of their own"
        )


def _own(model, argument: str, concerns: Callable[[Any], bool]) -> dict[str, int | None]:
    """The annotated layers that something concerns, and what each was annotated with."""
    return {
        wrapper.layer.name: getattr(wrapper, argument, None)
        for wrapper in model.layers
        if isinstance(wrapper, tfmot_internals.QuantizeAnnotate)
        and wrapper.quantize_config is None
        and concerns(wrapper.layer)
    }


def _obstacle(wrapper, registry) -> str:
    """Why an annotated layer cannot be trained, empty if it can."""
    layer = wrapper.layer
    feeding = [getattr(f, "layer", f) for f in wiring.inputs(wrapper)]
    kind = type(layer).__name__
    if isinstance(layer, BATCH_NORM):
        if not all(type(f) in NORMALISED and kinds.activation_name(f.activation) == "linear" for f in feeding):
            return f"{kind} along another axis than the last, or synchronized=True and no layer to fold it into"
        if getattr(layer, "synchronized", False) and type(layer) is keras.layers.BatchNormalization:
            return f"{kind} with synchronized=True, which copies lose; use layers.experimental.SyncBatchNormalization"
        return ""
    if max(getattr(layer, "dilation_rate", (1,))) > 1:
        following = [getattr(f, "layer", f) for f in wiring.outputs(wrapper)]
        if any(isinstance(f, BATCH_NORM) for f in following):
            return f"dilated {kind} with batch normalisation, which the converter leaves in float"
    weight_bits = registry.weight_bits_of(layer)
    if isinstance(layer, keras.layers.Conv2DTranspose) and weight_bits < MAX_WEIGHT_BITS:
        return f"{kind} with {weight_bits}-bit weights, which the converter cannot write; give it weight_bits of 8"
    if type(layer) is keras.layers.SeparableConv2D:
        return ""
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        return "a TensorFlow function called on a Keras tensor; put the Keras layer for it in its place"
    if not registry.supports(layer):
        return refusals.why(layer)
    if isinstance(layer, keras.layers.ReLU) and (
        layer.negative_slope or layer.threshold or layer.max_value not in (None, 6)
    ):
        return f"{kind} with negative_slope, threshold or a max_value other than 6"
    if isinstance(layer, keras.layers.LeakyReLU) and not 0 < layer.alpha < 1:
        return f"{kind} with alpha {float(layer.alpha)}, which is not between 0 and 1"
    if isinstance(layer, keras.layers.Add) and len(feeding) != 2:
        return f"{kind} of {len(feeding)} inputs; add them two at a time"
    return ""


def _require_wired(model) -> None:
    """Raises ValueError where the range before or after a layer that rescales cannot be found: others are in float."""
    offenders = [layer.name for layer in rescale_layers(model) if wiring.links(layer) is None]
    sums = [layer for layer in model.layers if isinstance(getattr(layer, "quantize_config", None), configs.SumConfig)]
    offenders += [s.name for s in sums if None in (*wiring.source_ranges(s), wiring.sink(s)[0])]
    if offenders:
        raise ValueError(
            f"no quantised range before or after layers {', '.join(offenders)}; annotate the layers around them too: "
            f"{listed(wiring.in_float(model)) or 'none'} stay in float"
        )


def _revive_gains(model) -> None:
    """Makes batch-norm gains of exactly 0 tiny: the converter divides by them."""
    for layer in rescale_layers(model):
        norm = wiring.links(layer).batch_norm
        if norm is not None and norm.scale:
            gamma = wiring.read(norm.gamma)
            floor = quantizers.SMALLEST_SHARE * (np.abs(gamma).max() or 1.0)
            norm.gamma.assign(np.where(np.abs(gamma) < floor, np.copysign(floor, gamma), gamma))
