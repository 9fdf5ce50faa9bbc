# SPDX-License-Identifier: Apache-2.0
"""Keras callbacks for rescale-aware training: freezing, snapping schedules, early stopping, summaries and a table."""

import functools
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import reach, tfmot_internals, wiring
from keras_rat.batch_norm import freeze_statistics
from keras_rat.calibrate import settle, waiting
from keras_rat.convert import convert
from keras_rat.learn import LearnMultipliers
from keras_rat.phases import Phase, phase
from keras_rat.rescales import Multipliers, multipliers, require_rescale_layers, widths
from keras_rat.scope import quantize_scope
from tflm_export import runtimes
from tflm_export.errors import UsageError
from tflm_export.report import columns
from tflm_export.rescale import MAX_BITS, check_bits

__all__ = [
    "FreezeRanges",
    "LearnMultipliers",
    "NarrowEarlyStopping",
    "RescaleSummaries",
    "RescaleTable",
    "SnappingSchedule",
    "narrow_outputs",
    "top_1",
]


class FreezeRanges(keras.callbacks.Callback):
    """Freezes activation ranges and batch-norm statistics from the start of an epoch on.

    Ranges that are not frozen yet (of a model trained without `calibrate`) are put on the grid and frozen, as `convert`
    would at the end. Batch normalisations normalise by their moving statistics from then on, also in training, and
    leave them alone; gamma and beta are trained further (arXiv 1806.08342, section 3.2.2).

    Args:
      epoch: the first epoch, counted from 0 as Keras does, that runs frozen.
      batch_norm: whether to freeze batch-norm statistics too.
    """

    def __init__(self, epoch: int, batch_norm: bool = True):
        super().__init__()
        if isinstance(epoch, bool) or not isinstance(epoch, (int, np.integer)) or epoch < 0:
            raise UsageError(f"epoch must be an integer from 0, got {epoch!r}")
        self.epoch = epoch
        self.batch_norm = batch_norm

    def on_epoch_begin(self, epoch, logs=None):
        if epoch < self.epoch:
            return
        if phase(self.model) is not Phase.FROZEN:
            if missing := waiting(self.model):
                raise UsageError(
                    f"no range yet for layers {', '.join(missing)}; call keras_rat.calibrate(model, data) first, or "
                    "freeze from a later epoch on"
                )
            settle(self.model)
            self._retrace()
        if self.batch_norm and freeze_statistics(self.model):
            self._retrace()

    def _retrace(self):
        self.model.make_train_function(force=True)  # the one in use may be for what moved so far


class SnappingSchedule(keras.callbacks.Callback):
    """Narrows the multipliers step by step in the course of training.

    Every stage begins at an epoch and holds until the next. Before the first one, and in channels that a stage leaves
    out, multipliers are `start_bits` wide. When the last stage is reached, every multiplier has the width that the
    model was made with; `convert` refuses a model that has not got there.

    Calibrate the model first. The schedule sets its multipliers anew when training begins with epoch 0, at the grid
    point of the first stage; a training that is resumed goes on from the saved ones.

    Multipliers of two signed digits (`grid="csd2"`) come from wider ones, too, which have `start_bits` or the bits of a
    stage above 4; a stage of at most 4 puts them on their own grid, as a share does.

    Args:
      stages: {epoch: bits} to narrow all channels together, 8 -> 4 -> 1 for example as {0: 8, 4: 4, 8: 1}; widths below
        a layer's own stand for its own. Or {epoch: share} with floats from 0 to 1, the share of every layer's channels
        that are snapped to their width, those nearest to their grid first.
      start_bits: the width of channels that are not snapped.

    Raises:
      UsageError: stages empty, of mixed kinds, out of range or not in order, or that end before every multiplier has
        its width.
    """

    def __init__(self, stages: dict[int, int | float], start_bits: int = MAX_BITS):
        super().__init__()
        self.stages = dict(sorted(stages.items()))
        self.start_bits = check_bits(start_bits)
        values = list(self.stages.values())
        if not values or not all(isinstance(epoch, int) and epoch >= 0 for epoch in self.stages):
            raise UsageError(f"stages must map epochs, integers from 0, to widths or shares, got {stages!r}")
        self.by_share = all(isinstance(value, float) for value in values)
        if self.by_share:
            if not all(0 <= value <= 1 for value in values) or values != sorted(values) or values[-1] != 1:
                raise UsageError(f"shares must grow from 0.0 to 1.0, got {values}")
        elif any(isinstance(value, float) for value in values):
            raise UsageError(f"stages must be all widths (integers) or all shares (floats), got {values}")
        elif [check_bits(value) for value in values] != sorted(values, reverse=True):
            raise UsageError(f"widths must not grow from stage to stage, got {values}")

    def on_train_begin(self, logs=None):
        layers = require_rescale_layers(self.model)
        if phase(self.model) is not Phase.FROZEN:
            raise UsageError("the ranges are not frozen; call keras_rat.calibrate(model, data) before training")
        last = list(self.stages.values())[-1]
        wide = [layer.name for layer in layers if not self.by_share and layer.quantize_config.quantizer.bits < last]
        if wide:
            raise UsageError(f"the last stage has {last} bits, more than layers {', '.join(wide)} are to have")

    def on_epoch_begin(self, epoch, logs=None):
        begun = [value for start, value in self.stages.items() if start <= epoch]
        for layer in require_rescale_layers(self.model):
            for weight, quantizer, variables in tfmot_internals.quantized_weights(layer):
                self._stage(weight, quantizer, variables, begun[-1] if begun else None, restart=epoch == 0)

    def _stage(self, weight, quantizer, variables, stage, restart):
        present = wiring.read(variables["bits"])
        value = quantizer.factor(weight, variables) if restart else quantizer.unsnapped(variables)
        if stage is None:
            wanted = np.full_like(present, max(self.start_bits, quantizer.bits))
        elif self.by_share:
            wanted = self._share(quantizer, value, present, stage, restart)
        else:
            wanted = np.full_like(present, max(stage, quantizer.bits))
        if not restart and (wanted == present).all():
            return
        moved = (wanted != present) | restart
        variables["bits"].assign(wanted)
        quantizer.set_multiplier(variables, np.where(moved, quantizer.snapped(value, wanted), value))

    def _share(self, quantizer, value, present, share, restart):
        """Widths where a share of the channels has the quantizer's own: those that have it, and then the nearest."""
        own = np.full_like(present, quantizer.bits)
        distance = np.abs(np.log2(quantizer.snapped(value, own) / value))
        if not restart:
            distance = np.where(present == quantizer.bits, -1.0, distance)
        order = np.argsort(distance, kind="stable")
        wanted = np.full_like(present, max(self.start_bits, quantizer.bits))
        wanted[order[: math.ceil(share * present.size)]] = quantizer.bits
        return wanted


class NarrowEarlyStopping(keras.callbacks.EarlyStopping):
    """Early stopping on the accuracy of the narrowed model itself.

    After every so many epochs the model is converted with `keras_rat.convert`, and the .tflite file runs on LiteRT over
    validation data: k-bit multipliers, integer weights and integer rounding, which `val_accuracy` (the same k-bit
    multipliers, but float accumulators in Keras) only resembles. Where ranges are not frozen or multipliers not snapped
    yet, that happens in a copy. With `restore_best_weights` the model ends as that copy was. The figure is added to the
    epoch's logs as `val_narrow_accuracy`, for the history and for other callbacks that come later in the list.

    Patience counts evaluations, not epochs.

    Args:
      inputs: array [rows, ...] of real values; the model has one input.
      labels: class of every row, [rows] integers, or what `metric` takes.
      every: epochs from one evaluation to the next. An evaluation costs a conversion, some seconds.
      metric: function (labels, outputs as real values [rows, ...]) -> float, larger is better; top-1 accuracy if None.
      options: as for keras.callbacks.EarlyStopping (patience, min_delta, restore_best_weights, baseline, verbose...).

    Raises:
      UsageError: `every` below 1, as many labels as rows are not given, or an option that this class sets itself.
    """

    NAME = "val_narrow_accuracy"

    def __init__(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        every: int = 1,
        metric: Callable[[np.ndarray, np.ndarray], float] | None = None,
        **options: Any,
    ):
        if {"monitor", "mode"} & options.keys():
            raise UsageError("monitor and mode are what this callback is for; leave them out")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UsageError(f"every must be an integer from 1, got {every!r}")
        if len(inputs) != len(labels) or not len(inputs):
            raise UsageError(f"{len(inputs)} rows of inputs and {len(labels)} labels")
        super().__init__(monitor=self.NAME, mode="max", **options)
        self.inputs, self.labels, self.every = np.asarray(inputs, np.float32), np.asarray(labels), every
        self.metric = metric or top_1

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        logs = {} if logs is None else logs
        logs[self.NAME] = self.metric(self.labels, narrow_outputs(self.model, self.inputs))
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        if self.restore_best_weights:  # perhaps of an epoch before a SnappingSchedule's last stage
            _snap(self.model)


def _is_snapped(model) -> bool:
    return all((layer.bits == widths(model)[layer.layer]).all() for layer in multipliers(model))


def _snap(model) -> None:
    """Puts all multipliers on the grid of their layer."""
    for layer in require_rescale_layers(model):
        for _, quantizer, variables in tfmot_internals.quantized_weights(layer):
            own = np.full_like(wiring.read(variables["bits"]), quantizer.bits)
            if (wiring.read(variables["bits"]) != own).any():
                variables["bits"].assign(own)
                quantizer.set_multiplier(variables, quantizer.snapped(quantizer.unsnapped(variables), own))


def top_1(labels: np.ndarray, outputs: np.ndarray) -> float:
    """The share of rows whose largest output is at the label."""
    return float((outputs.argmax(-1) == labels.reshape(outputs.shape[:-1])).mean())


def narrow_outputs(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """What the converted model computes on LiteRT, as real values; the model itself is left as it is.

    Args:
      model: a quantised model with one input whose ranges have seen data.
      inputs: real values [rows, ...].
    """
    if phase(model) is not Phase.FROZEN or not _is_snapped(model):  # the model in training stays as it is
        with quantize_scope():
            copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        model = copy
        _snap(model)
    runtime = runtimes.LiteRT(convert(model))
    scale, zero_point = runtime.output["quantization"]
    integers = runtime.run(runtimes.quantize_input(inputs, runtime.input))
    return (integers.astype(np.float32) - zero_point) * np.float32(scale)


class _PerEpoch(keras.callbacks.Callback):
    """Follows the multipliers from epoch to epoch, and says before the first one if none of them can change."""

    def on_train_begin(self, logs=None):
        self._first = self._last = multipliers(self.model)
        self._begun = False

    def on_epoch_begin(self, epoch, logs=None):
        if self._begun or not self.params.get("steps"):  # unknown of generators
            return
        self._begun = True
        steps = (self.params["epochs"] - epoch) * self.params["steps"]
        if sentence := _none_can_change(multipliers(self.model), self.model.optimizer, steps):
            self._say(epoch, sentence)

    def on_epoch_end(self, epoch, logs=None):
        now = multipliers(self.model)
        self._report(epoch, now, self._first, self._last, logs or {})
        self._last = now


def _none_can_change(layers: list[Multipliers], optimizer, steps: int) -> str:
    """A line that says so where a training is too short to change any multiplier that it trains; else empty."""
    trained = [layer for layer in layers if layer.phase is Phase.LEARNING]
    learning_rates = reach.of_training(optimizer, steps)
    if not trained or not learning_rates:
        return ""
    decay = getattr(optimizer, "weight_decay", None) or 0.0
    reached = [learning_rates * (layer.rate + decay * np.abs(np.log2(layer.unsnapped))) for layer in trained]
    if any((layer.distance <= most).any() for layer, most in zip(trained, reached, strict=True)):
        return ""
    nearest = min(layer.distance.min() for layer in trained)
    return (
        f"none of {sum(layer.value.size for layer in trained)} multipliers can change in this training: "
        f"{steps} steps of {type(optimizer).__name__} move log2 M by at most about {max(map(np.max, reached)):.2g}, "
        f"the nearest decision is {nearest:.2g} away; they stay what `calibrate` chose. callbacks.LearnMultipliers, "
        f"or a multiplier_rate of {math.ceil(nearest / learning_rates)} or more, takes them there"
    )


class RescaleSummaries(_PerEpoch):
    """TensorBoard summaries of the multipliers after every epoch.

    For every layer with weights: `LAYER/log2_multiplier`, a histogram of log2 M_q; `LAYER/rescale_error`, the mean of
    |M_q / M - 1|; `LAYER/changed`, the fraction of multipliers that differ from the epoch before; `LAYER/moved`, how
    many differ from the start of the training; `LAYER/distance_to_decision`, of those that do not the smallest distance
    to where they would, in octaves (no point where none are left that training moves). For the model: `rescale_error`,
    `changed`, `changed_since_start`, `moved` and `distance_to_decision` over all multipliers; and at the start, where
    the training is too short to change any multiplier that it trains, a text that says so, `multipliers`.

    Args:
      log_dir: directory for the event files.
    """

    def __init__(self, log_dir: str | os.PathLike):
        super().__init__()
        self.log_dir = str(log_dir)

    @functools.cached_property
    def _writer(self):
        return tf.summary.create_file_writer(self.log_dir)

    def _say(self, epoch, sentence):
        with self._writer.as_default(step=epoch):
            tf.summary.text("multipliers", sentence)

    def _report(self, epoch, now, first, last, logs):
        with self._writer.as_default(step=epoch):
            for layer, before, start in zip(now, last, first, strict=True):
                tf.summary.histogram(f"{layer.layer}/log2_multiplier", np.log2(layer.value))
                tf.summary.scalar(f"{layer.layer}/rescale_error", layer.rescale_error)
                tf.summary.scalar(f"{layer.layer}/changed", layer.changed(before))
                _summarise_moves(f"{layer.layer}/", layer.moved(start), layer.distance_to_decision(start))
            sizes = [layer.value.size for layer in now]
            tf.summary.scalar("rescale_error", np.average([layer.rescale_error for layer in now], weights=sizes))
            tf.summary.scalar("changed", _moved(now, last) / sum(sizes))
            tf.summary.scalar("changed_since_start", _moved(now, first) / sum(sizes))
            nearest = min(layer.distance_to_decision(start) for layer, start in zip(now, first, strict=True))
            _summarise_moves("", _moved(now, first), nearest)
        self._writer.flush()

    def on_train_end(self, logs=None):
        self._writer.close()
        del self._writer


def _moved(now: list[Multipliers], before: list[Multipliers]) -> int:
    return sum(layer.moved(then) for layer, then in zip(now, before, strict=True))


def _summarise_moves(prefix: str, moved: int, distance: float) -> None:
    tf.summary.scalar(f"{prefix}moved", moved)
    if distance < math.inf:
        tf.summary.scalar(f"{prefix}distance_to_decision", distance)


class RescaleTable(_PerEpoch):
    """Prints a table of the layers after every epoch.

    Columns: widths of the multipliers in bits, their number, the smallest and largest as powers of two, the rescale
    error, the share that changed in this epoch, how many differ from the start of the training (moved), and of the
    others the smallest distance to where they would, in octaves; "frozen" where they stay as `calibrate` chose them.
    Before the first epoch, where the training is too short to change any multiplier that it trains, a line says so.

    Args:
      write: function that takes the text; `absl.logging.info` sends it to the log.
    """

    def __init__(self, write: Callable[[str], Any] = print):
        super().__init__()
        self.write = write

    def _say(self, epoch, sentence):
        self.write(sentence)

    def _report(self, epoch, now, first, last, logs):
        head = ("layer", "bits", "multipliers", "log2 M", "rescale error", "changed", "moved", "to decision")
        rows = [_cells(*layer) for layer in zip(now, last, first, strict=True)]
        figures = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
        self.write(f"epoch {epoch + 1}  {figures}\n{columns([head, *rows], right={1, 2, 3, 4, 5, 6, 7})}")


def _cells(now: Multipliers, last: Multipliers, first: Multipliers) -> tuple[str, ...]:
    low, high = now.bits.min(), now.bits.max()
    exponents = np.log2(now.value)
    distance = now.distance_to_decision(first)
    return (
        now.layer,
        str(high) if low == high else f"{low}-{high}",
        str(now.value.size),
        f"{exponents.min():.1f} to {exponents.max():.1f}",
        f"{now.rescale_error:.2%}",
        f"{now.changed(last):.0%}",
        str(now.moved(first)),
        "frozen" if now.phase is Phase.FROZEN else f"{distance:.3f}" if distance < math.inf else "",
    )
