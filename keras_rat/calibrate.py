"""Measures activation ranges, puts the scales on the k-bit grid, and starts the learnable multipliers there."""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_layer

from keras_rat import configs, quantizers, wiring
from keras_rat.quantize import rescale_layers
from keras_rat.scheme import BATCH_NORM
from tflm_export import rescale, solver
from tflm_export.grid import POWERS_OF_TWO, Grid
from tflm_export.setting import KEEP, Setting

STEPS = 40


def calibrate(
    model: keras.Model, data: Any, batch_size: int = 32, steps: int = STEPS, freeze_batch_norm: bool = True
) -> None:
    """Prepares a quantised model for training.

    Runs the float network on the data and records the range of every activation (moving averages of the batches'
    extremes, decay 0.9), then freezes the ranges. Those of residual additions, global poolings and per-tensor Dense
    layers grow (never shrink) until their rescale factors are on the k-bit grid, by the rules of `tflm_export`; the
    learnable multipliers of the other layers start at the grid point of their present factor.

    Batch normalisations go on with the statistics they have. A gain that the grid moved by up to a third shows in a
    batch's own statistics at once and in the moving averages late, so that a network that trains with the former is
    not the one that is exported; gamma and beta go on training (arXiv 1806.08342, section 3.2.2).

    Args:
      model: from `quantize_model` or `quantize_apply`.
      data: inputs as an array [rows, ...], a tf.data.Dataset or an iterable of batches; of (inputs, ...) tuples the
        first is taken. For a model with several inputs, a dict of arrays by input name, or batches that are lists or
        dicts of arrays, or tuples with such first.
      batch_size: rows of a batch where data is an array.
      steps: batches to use, at most.
      freeze_batch_norm: whether batch normalisations compute as in inference from here on.

    Raises:
      ValueError: the model has no quantised layers with weights, there is no data, or values in it or in the network
        are not finite.
    """
    if not rescale_layers(model):
        raise ValueError("the model has no layers with k-bit rescales; make it with keras_rat.quantize_model")
    for range_ in _ranges(model):
        range_.batches.assign(0)
        for end in (range_.low, range_.high):  # what they were has no weight any more, but 0 * NaN is NaN
            end.assign(tf.where(tf.math.is_finite(end), end, 0.0))
    for layer in rescale_layers(model):
        for _, _, variables in layer._weight_vars:
            variables["multiplier_set"].assign(0)
    _require_finite({weight.name: wiring.read(weight) for weight in model.weights}, "weights")
    with quantizers.observing():
        observe = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
        batches = 0
        for batch in itertools.islice(_batches(data, batch_size, len(model.inputs) > 1), steps):
            if not all(np.isfinite(values).all() for values in tf.nest.flatten(batch)):
                raise ValueError(
                    f"batch {batches} of the calibration data has values that are not finite (NaN, infinite)"
                )
            observe(batch)
            batches += 1
    if not batches:
        raise ValueError("no data to calibrate with")
    _require_finite({r.owner: np.array([wiring.read(r.low), wiring.read(r.high)]) for r in _ranges(model)}, "outputs")
    settle(model)
    if freeze_batch_norm and freeze_statistics(model):
        model.train_function = None  # to be traced anew, if it was


def _require_finite(values: dict[str, np.ndarray], what: str) -> None:
    """Raises ValueError where arrays hold NaN or infinite values, by name."""
    broken = [name for name, array in values.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{what} that are not finite (NaN, infinite): {', '.join(broken)}")


def freeze_statistics(model) -> bool:
    """Makes batch normalisations use their moving statistics in training; whether any did not.

    A training function that was traced before does not know.
    """
    changed = False
    for wrapper in model.layers:
        config = getattr(wrapper, "quantize_config", None)
        if isinstance(wiring.inner(wrapper), BATCH_NORM) and isinstance(config, configs.NoQuantizeConfig):
            changed = changed or not config.frozen_statistics
            config.frozen_statistics = True
    return changed


def settle(model) -> None:
    """Freezes the ranges as they are, with the scales on the grid, and sets the multipliers that are not set yet."""
    for range_ in _ranges(model):
        range_.batches.assign(quantizers.FROZEN)
    weighted = rescale_layers(model)
    problem, ranges = _problem(model, weighted)
    scales = solver.solve(problem).scales
    for owner, range_ in ranges.items():
        growth = scales[owner] / problem.scales[owner]
        if growth != 1:
            range_.low.assign(range_.low * growth)
            range_.high.assign(range_.high * growth)
    for layer in weighted:
        _start_multiplier(layer)


def is_settled(model) -> bool:
    """Whether all ranges are frozen."""
    return all(wiring.read(range_.batches) == quantizers.FROZEN for range_ in _ranges(model))


def unseen(model) -> list[str]:
    """Names of the layers whose range has seen no data."""
    return [range_.owner for range_ in _ranges(model) if wiring.read(range_.batches) == 0]


def _ranges(model) -> list[wiring.Range]:
    return [range_ for range_ in map(wiring.own_range, model.layers) if range_ is not None]


def _batches(data, batch_size, several_inputs):
    if isinstance(data, (np.ndarray, tf.Tensor, dict)):
        rows = len(next(iter(data.values()))) if isinstance(data, dict) else len(data)
        slices = (slice(i, i + batch_size) for i in range(0, rows, batch_size))
        batches = (tf.nest.map_structure(lambda array, s=s: array[s], data) for s in slices)
    else:
        batches = data
    for batch in batches:
        if isinstance(batch, tuple) or (isinstance(batch, list) and not several_inputs):
            batch = batch[0]
        yield tf.nest.map_structure(lambda array: tf.cast(array, tf.float32), batch)


def _start_multiplier(layer) -> None:
    quantizer = layer.quantize_config.quantizer
    for weight, _, variables in layer._weight_vars:
        if wiring.read(variables["multiplier_set"]):
            continue
        factor = quantizer.factor(weight, variables).numpy().astype(np.float64)
        quantizer.set_multiplier(variables, snapped(quantizer, factor, wiring.read(variables["bits"])))


def snapped(quantizer, factor, bits) -> np.ndarray:
    """Factors on the grid, rounded as the quantizer's method does.

    Args:
      quantizer: a RescaleQuantizer.
      factor: positive float64 [channels] or [1].
      bits: width of each, int32 of the same shape.
    """
    rounding = "nearest" if quantizer.method == KEEP else "up"
    factor = np.maximum(factor, quantizers.SMALLEST)
    result = np.empty_like(factor)
    for width in np.unique(bits):
        of_width = bits == width
        result[of_width] = rescale.snap(factor[of_width], int(width), rounding).value
    return result


def _problem(model, weighted) -> tuple[solver.Problem, dict[str, wiring.Range]]:
    """The activation scales of a Keras model as the exporter's solver takes them."""
    ranges = {range_.owner: range_ for range_ in _ranges(model)}
    nodes, ties = [], []
    for layer in model.layers:
        sources = [range_ for range_ in wiring.source_ranges(layer) if range_ is not None]
        keys = tuple(range_.owner for range_ in sources)
        if layer in weighted:
            nodes.append((_weighted_node(layer), Setting(Grid(layer.quantize_config.quantizer.bits))))
        elif isinstance(getattr(layer, "quantize_config", None), configs.SumConfig):
            target, _ = wiring.sink(layer)
            power_of_two = isinstance(layer.quantize_config, configs.SlopeConfig)
            grid = POWERS_OF_TWO if power_of_two else Grid(layer.quantize_config.bits)
            nodes.append((solver.Sum(keys, target.owner), Setting(grid)))
        elif isinstance(wiring.inner(layer), keras.layers.Concatenate):
            ties.append(keys)
    for tie in ties:
        _unite([ranges[key] for key in tie if key in ranges])
    scales = {owner: float(np.float32(range_.scale())) for owner, range_ in ranges.items()}
    fixed = {range_.owner: float(range_.scale()) for range_ in map(wiring.fixed_range, model.layers) if range_}
    pinned = _border(model, ranges) | fixed.keys()
    return solver.Problem(scales | fixed, nodes, ties, pinned, set()), ranges


def _border(model, ranges) -> set[str]:
    """Owners of the ranges of the model's inputs and outputs."""
    inputs = {layer.name for layer in model.layers if isinstance(layer, quantize_layer.QuantizeLayer)}
    return (inputs | set(model.output_names)) & ranges.keys()


def _weighted_node(layer) -> solver.Weighted:
    links = wiring.links(layer)
    quantizer = layer.quantize_config.quantizer
    scale = None
    if not quantizer.per_channel and links.batch_norm is None:
        (weight, _, _) = layer._weight_vars[0]
        scale = float(quantizer.stock_scale(tf.convert_to_tensor(weight)).numpy()[0])
    return solver.Weighted(links.input.owner, links.output.owner, scale)


def _unite(ranges: list[wiring.Range]) -> None:
    """Gives ranges their common hull."""
    low = min(float(wiring.read(range_.low)) for range_ in ranges)
    high = max(float(wiring.read(range_.high)) for range_ in ranges)
    for range_ in ranges:
        range_.low.assign(low)
        range_.high.assign(high)
