# SPDX-License-Identifier: Apache-2.0
"""Widths that are chosen on data: the narrowest that keep a network's outputs within a tolerance."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import configs, feed, tfmot_internals, wiring
from keras_rat.calibrate import observed, put_on_grid, require_counts, require_known
from keras_rat.observe import Seen
from keras_rat.patterns import AUTO, parts_of
from keras_rat.rescales import rescale_layers
from keras_rat.rescales import widths as widths_of
from tflm_export.calibration import split
from tflm_export.compare import Agreement, of_values, worst
from tflm_export.errors import UsageError
from tflm_export.rescale import MAX_BITS
from tflm_export.search import ADD_BITS, Candidate, narrowest

MAX_DROP = 0.01


@dataclasses.dataclass(frozen=True)
class Choice:
    """Widths that were chosen for the layers of a model.

    Attributes:
      bits: {regular expression: k}, for `quantize_model`: a pattern for every layer that rescales, and for it alone.
      agreement: with the same network at 31 bits on the rows that measure, calibrated and not trained; of the worst
        output.
      tried: settings that were measured.
    """

    bits: dict[str, int]
    agreement: Agreement
    tried: int


def rows(model: keras.Model, data: feed.Data, batch_size: int, steps: int) -> tuple[list, list]:
    """Batches to calibrate with, and the arrays of every fourth row to measure on, one for each input of a model.

    Raises:
      UsageError: data that does not fit the model, has rows of several shapes, or fewer than four.
    """
    require_counts(batch_size=batch_size, steps=steps)
    batches = list(itertools.islice(feed.batches(model, data, batch_size), steps))
    if not batches:
        raise UsageError("no data to choose widths on: there is no batch in it, or a generator was used up before")
    parts = list(zip(*batches, strict=True))
    if any(len({array.shape[1:] for array in arrays}) > 1 for arrays in parts):
        raise UsageError("the data has rows of several shapes; give rows of one to choose widths on")
    train, test = split({str(place): np.concatenate(arrays) for place, arrays in enumerate(parts)})
    arrays = list(train.values())
    cut = [[array[i : i + batch_size] for array in arrays] for i in range(0, len(arrays[0]), batch_size)]
    return cut, list(test.values())


def choose(
    trial: keras.Model,
    prefix: str,
    wanted: Mapping[str, int | str],
    batches: list,
    test: list[np.ndarray],
    max_drop: float,
    multipliers: str,
) -> Choice:
    """Chooses widths by the search of `tflm_export --search`, on a network that is calibrated for every candidate.

    Args:
      trial: the network, quantised; it is of no use afterwards.
      prefix: what its layers' names begin with.
      wanted: by the name of every layer that rescales, in the model as it was given, its width or "auto".
      batches, test: as `rows` gives them.
      max_drop: as for `tflm_export.search.search`.
      multipliers: as for `calibrate`.

    Raises:
      UsageError: an argument out of range.
      ModelError: no width up to 16 bits is within the tolerance.
    """
    if isinstance(max_drop, bool) or not isinstance(max_drop, int | float) or not max_drop >= 0:
        raise UsageError(f"max_drop must not be negative, got {max_drop!r}")
    require_known(multipliers)
    network = _Trial(trial, prefix, wanted, batches, multipliers)
    stock = network.outputs(dict.fromkeys(wanted, MAX_BITS), test)

    def measure(candidates: Iterator[Candidate]) -> _Outcome:
        candidate = next(candidates)
        rules = dict(candidate.rules)
        widths = {name: rules.get(name, candidate.bits) if k == AUTO else k for name, k in wanted.items()}
        outputs = network.outputs(widths, test)
        pairs = zip(trial.output_names, stock, outputs, strict=True)
        agreement = worst({name: _compared(before, after) for name, before, after in pairs})
        return _Outcome(agreement, {name: k for name, k in widths.items() if wanted[name] == AUTO})

    additions = {name: ADD_BITS for name in network.additions if wanted[name] == AUTO}
    rules, found, tried = narrowest(additions, measure, max_drop)
    widths = {name: rules.get(name, k) for name, k in wanted.items()}
    return Choice({f"^{re.escape(name)}$": k for name, k in widths.items()}, found.agreement, tried)


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """What a candidate came to: an `Outcome` of `tflm_export.search`."""

    agreement: Agreement
    rules: dict[str, int]


def _compared(before: np.ndarray, after: np.ndarray) -> Agreement:
    """Of an output, float32 [rows, ...]."""
    classes = before.ndim == 2 and before.shape[1] > 1
    real, changed = (values.reshape(len(values), -1).astype(np.float64) for values in (before, after))
    return of_values(real, changed, classes)


class _Trial:
    """A quantised network that is put on one grid after the other, always from the same weights and ranges."""

    def __init__(self, model: keras.Model, prefix: str, names, batches: list, multipliers: str):
        self._model, self._multipliers = model, multipliers
        layers = {name: model.get_layer(name) for name in widths_of(model)}
        self._parts = {
            name: [layers[prefix + part] for part in parts_of(name) if prefix + part in layers] for name in names
        }
        leaky = (layer for layer in layers.values() if type(layer.quantize_config) is configs.SlopeConfig)
        self._slopes = {layer.name: layer.layer.alpha for layer in leaky}
        self._network = keras.Model(model.inputs, model.outputs)
        self._batches, self._float = batches, [wiring.read(weight) for weight in model.weights]
        self._seen: dict[tuple[float, ...], tuple[Seen, list[np.ndarray]]] = {}

    def _observed(self) -> Seen:
        """What the float network shows, with the slopes that leaky ReLUs have; its weights and ranges are as then."""
        slopes = tuple(float(self._model.get_layer(name).layer.alpha) for name in self._slopes)
        if slopes not in self._seen:
            self._assign(self._float)
            seen = observed(self._model, self._batches)
            self._seen[slopes] = seen, [wiring.read(weight) for weight in self._model.weights]
        seen, weights = self._seen[slopes]
        self._assign(weights)
        return seen

    def _assign(self, weights: list[np.ndarray]) -> None:
        for weight, value in zip(self._model.weights, weights, strict=True):
            weight.assign(value)

    @property
    def additions(self) -> list[str]:
        """The layers that add or subtract."""
        kinds = (keras.layers.Add, keras.layers.Subtract)
        return [name for name, parts in self._parts.items() if any(isinstance(wiring.inner(p), kinds) for p in parts)]

    def outputs(self, widths: Mapping[str, int], inputs: list[np.ndarray]) -> list[np.ndarray]:
        """What the network gives, calibrated with these widths, and not trained; float32 [rows, ...] by output."""
        for name, bits in widths.items():
            for layer in self._parts[name]:
                self._narrow(layer, bits)
        seen = self._observed()
        for layer in rescale_layers(self._model):
            for _, quantizer, variables in tfmot_internals.quantized_weights(layer):
                variables["bits"].assign(np.full_like(wiring.read(variables["bits"]), quantizer.bits))
        put_on_grid(self._model, seen, self._multipliers)
        count = len(seen.rows[0])  # whose tensors fit into memory
        found = []
        for start in range(0, len(inputs[0]), count):
            batch = [array[start : start + count] for array in inputs]
            found.append([value.numpy() for value in tf.nest.flatten(self._network(batch, training=False))])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _narrow(self, layer, bits: int) -> None:
        """Gives a layer its width, and a leaky ReLU the slope on that grid."""
        config = layer.quantize_config
        if isinstance(config, configs.RescaleConfig):
            config.quantizer.bits = bits
            return
        config.bits = bits
        for _, quantizer, _ in tfmot_internals.quantized_weights(layer):  # of a PReLU
            quantizer.bits = bits
        if layer.name in self._slopes:
            layer.layer.alpha = np.float32(config.grid.exact(bits).snap(self._slopes[layer.name]))
