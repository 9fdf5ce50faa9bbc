# SPDX-License-Identifier: Apache-2.0
"""Measures activation ranges, puts the scales on the grid, and chooses the multipliers."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import configs, feed, tfmot_internals, wiring
from keras_rat.absorb import absorb
from keras_rat.batch_norm import freeze_statistics
from keras_rat.choose import choose
from keras_rat.observe import Seen, observe
from keras_rat.phases import Phase
from keras_rat.rescales import grids, require_rescale_layers, rescale_layers
from keras_rat.small_ranges import widen
from tflm_export import solver
from tflm_export.errors import UsageError
from tflm_export.setting import Setting

STEPS = 40
ABSORPTIONS = 3  # at most: each moves ranges of layers with one scale, and with them the factors of what these feed
MULTIPLIERS = NEAREST, CHOSEN, ABSORBED = "nearest", "chosen", "absorbed"


def calibrate(
    model: keras.Model,
    data: feed.Data,
    batch_size: int = 32,
    steps: int = STEPS,
    freeze_batch_norm: bool = True,
    multipliers: str = ABSORBED,
) -> None:
    """Prepares a quantised model for training.

    Runs the float network on the data and records the range of every activation (moving averages of the batches'
    extremes, decay 0.9), then freezes the ranges. Those of residual additions, global poolings and per-tensor Dense
    layers grow (never shrink) until their rescale factors are on the grid, by the rules of `tflm_export`; the
    multipliers of the other layers take the grid point of their factor. Ranges too small to compute with, as of layers
    whose outputs are all zero, grow until they can be (`small_ranges`).

    Batch normalisations go on with the statistics they have. A gain that the grid moved by up to a third shows in a
    batch's own statistics at once and in the moving averages late, so that a network that trains with the former is
    not the one that is exported; gamma and beta go on training (arXiv 1806.08342, section 3.2.2).

    Where weights are kept (`method="keep"`), rounding a factor to the grid is a gain error, and `multipliers` says what
    becomes of it. "absorbed": none is left; it moves into the next layer's weights, in float, before anything is
    quantised (`absorb`), and where it cannot go (additions, several consumers, the last layer) the channel's largest
    weights take on the factor (`fitted`). "chosen": each multiplier is the grid point below or above its factor, by the
    layer's output error on 256 rows (`choose`), also where weights are not kept. "nearest": it stays.

    That changes the weights of the model for good: calibrate once, and make the model anew to do it otherwise.

    Args:
      model: from `quantize_model` or `quantize_apply`.
      data: inputs, as `fit` and `predict` take them: an array [rows, ...] or (inputs, labels); for several inputs
        [a, b], (a, b) or a dict by input name; a tf.data.Dataset, generator, Keras sequence, list or function that
        has or returns batches of these; the path of an .npy or .npz file. `feed.batches` says what is taken for what.
      batch_size: rows of a batch where arrays are cut into batches, and where batches have a single row.
      steps: batches to use, at most; so data may be endless.
      freeze_batch_norm: whether batch normalisations compute as in inference from here on.
      multipliers: "absorbed", "chosen" or "nearest".

    Raises:
      UsageError (a ValueError): an argument out of range, or data that does not fit the model's inputs: then the model
        is as it was.
      ValueError: the model has no quantised layers with weights, there is no data, or values in it or in the network
        are not finite.
    """
    require_known(multipliers)
    require_counts(batch_size=batch_size, steps=steps)
    require_rescale_layers(model)
    batches = itertools.islice(feed.batches(model, data, batch_size), steps)
    first = next(batches, None)
    if first is None:
        raise UsageError("no data to calibrate with: there is no batch in it, or a generator was used up before")
    with _restored_on_error(model):
        seen = observed(model, itertools.chain([first], batches))
    put_on_grid(model, seen, multipliers)
    if freeze_batch_norm and freeze_statistics(model):
        model.train_function = None  # to be traced anew, if it was


def require_known(multipliers: str) -> None:
    """Raises UsageError for another word than `MULTIPLIERS`."""
    if multipliers not in MULTIPLIERS:
        raise UsageError(f"multipliers must be one of {', '.join(MULTIPLIERS)}, got {multipliers!r}")


def require_counts(**numbers: int) -> None:
    """Raises UsageError for arguments that are no integers from 1."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise UsageError(f"{name} must be an integer from 1, got {number!r}")


def put_on_grid(model: keras.Model, seen: Seen, multipliers: str) -> None:
    """Settles a model whose ranges are measured, and chooses its multipliers, as `calibrate` takes them."""
    settle(model, dict(seen.extremes) if multipliers == ABSORBED else None)
    if multipliers != NEAREST:
        choose(model, seen.rows, fit=multipliers == ABSORBED)


def observed(model: keras.Model, batches: Iterable) -> Seen:
    """What the float network shows, after which its ranges follow these batches alone."""
    _reset(model)
    _require_finite({weight.name: wiring.read(weight) for weight in model.weights}, "weights")
    seen = observe(model, batches)
    ends = {r.owner: np.array([wiring.read(r.low), wiring.read(r.high)]) for r in wiring.own_ranges(model)}
    _require_finite(ends, "outputs")
    return seen


@contextlib.contextmanager
def _restored_on_error(model) -> Iterator[None]:
    """Gives ranges, and the phases of ranges and multipliers, their values back where data or network are no good."""
    ranges = [variable for r in wiring.own_ranges(model) for variable in (r.low, r.high, r.phase)]
    phases = [v["phase"] for layer in rescale_layers(model) for _, _, v in tfmot_internals.quantized_weights(layer)]
    before = [(variable, wiring.read(variable)) for variable in (*ranges, *phases)]
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def _reset(model) -> None:
    """Takes ranges and multipliers back to Phase.WAITING."""
    for range_ in wiring.own_ranges(model):
        range_.phase.assign(Phase.WAITING)
        for end in (range_.low, range_.high):  # what they were has no weight any more, but 0 * NaN is NaN
            end.assign(tf.where(tf.math.is_finite(end), end, 0.0))
    for layer in rescale_layers(model):
        for _, _, variables in tfmot_internals.quantized_weights(layer):
            variables["phase"].assign(Phase.WAITING)


def _require_finite(values: dict[str, np.ndarray], what: str) -> None:
    """Raises ValueError where arrays hold NaN or infinite values, by name."""
    broken = [name for name, array in values.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{what} that are not finite (NaN, infinite): {', '.join(broken)}")


def settle(model: keras.Model, extremes: dict[str, np.ndarray] | None = None) -> None:
    """Freezes the ranges as they are, with the scales on the grid, and sets the multipliers that are not set yet.

    Args:
      model: whose ranges are measured.
      extremes: as for `absorb`, which is left out without them.
    """
    ranges = wiring.own_ranges(model)
    measured = [(wiring.read(range_.low), wiring.read(range_.high)) for range_ in ranges]
    for range_ in ranges:
        range_.phase.assign(Phase.FROZEN)
    _put_scales_on_grid(model)
    left = ABSORPTIONS if extremes is not None else 0
    while left and absorb(model, extremes):
        for range_, (low, high) in zip(ranges, measured, strict=True):
            range_.low.assign(low)
            range_.high.assign(high)
        _put_scales_on_grid(model)
        left -= 1
    for layer in rescale_layers(model):
        _start_multiplier(layer)


def _put_scales_on_grid(model) -> None:
    widen(model)
    problem, ranges = scales_problem(model, rescale_layers(model))
    scales = solver.solve(problem).scales
    for owner, range_ in ranges.items():
        growth = scales[owner] / problem.scales[owner]
        if growth != 1:
            range_.low.assign(range_.low * growth)
            range_.high.assign(range_.high * growth)


def waiting(model: keras.Model) -> list[str]:
    """Names of the layers whose range has seen no data."""
    return [range_.owner for range_ in wiring.own_ranges(model) if wiring.read(range_.phase) == Phase.WAITING]


def _start_multiplier(layer) -> None:
    """Sets a layer's multiplier to the grid point of its present factor, unless it is learning already."""
    for weight, quantizer, variables in tfmot_internals.quantized_weights(layer):
        if wiring.read(variables["phase"]) == Phase.WAITING:
            factor = quantizer.factor(weight, variables)
            quantizer.set_multiplier(variables, quantizer.snapped(factor, wiring.read(variables["bits"])))


def scales_problem(model, weighted) -> tuple[solver.Problem, dict[str, wiring.Range]]:
    """The activation scales of a Keras model as the exporter's solver takes them."""
    ranges = {range_.owner: range_ for range_ in wiring.own_ranges(model)}
    nodes, ties, fixed, grid_by_layer = [], [], {}, grids(model)
    for layer in model.layers:
        sources = [range_ for range_ in wiring.source_ranges(layer) if range_ is not None]
        keys = tuple(range_.owner for range_ in sources)
        if layer in weighted:
            nodes.append((_weighted_node(layer), Setting(grid_by_layer[layer.name])))
        elif isinstance(getattr(layer, "quantize_config", None), configs.SumConfig):
            target, _ = wiring.sink(layer)
            nodes += layer.quantize_config.nodes(keys, target.owner)
            fixed |= layer.quantize_config.fixed_scales()
        elif isinstance(wiring.inner(layer), configs.TYING):
            ties.append(keys)
    for tie in ties:
        _unite([ranges[key] for key in tie if key in ranges])
    scales = {owner: float(np.float32(range_.scale())) for owner, range_ in ranges.items()}
    fixed |= {range_.owner: float(range_.scale()) for range_ in map(wiring.fixed_range, model.layers) if range_}
    pinned = _border(model, ranges) | fixed.keys()
    return solver.Problem(scales | fixed, nodes, ties, pinned, set()), ranges


def _border(model, ranges) -> set[str]:
    """Owners of the ranges of the model's inputs and outputs."""
    inputs = {layer.name for layer in model.layers if isinstance(layer, tfmot_internals.QuantizeLayer)}
    return (inputs | set(model.output_names)) & ranges.keys()


def _weighted_node(layer) -> solver.Weighted:
    links = wiring.links(layer)
    quantizer = layer.quantize_config.quantizer
    scale = None
    if not quantizer.per_channel and links.batch_norm is None:
        ((weight, _, _),) = tfmot_internals.quantized_weights(layer)
        scale = float(quantizer.stock_scale(tf.convert_to_tensor(weight)).numpy()[0])
    return solver.Weighted(links.input.owner, links.output.owner, scale)


def _unite(ranges: list[wiring.Range]) -> None:
    """Gives ranges their common hull."""
    low = min(float(wiring.read(range_.low)) for range_ in ranges)
    high = max(float(wiring.read(range_.high)) for range_ in ranges)
    for range_ in ranges:
        range_.low.assign(low)
        range_.high.assign(high)
