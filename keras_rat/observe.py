# SPDX-License-Identifier: Apache-2.0
"""Runs the float network on data: ranges follow it, and what multipliers are chosen by is kept."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import phases, tfmot_internals, wiring

ROWS = 256  # that multipliers are chosen on


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the float network showed.

    Attributes:
      extremes: by the name of the layer that owns a range, the smallest and the largest output of every channel;
        float32 [2, channels].
      rows: the first `ROWS` rows of every input of the model.
    """

    extremes: dict[str, np.ndarray]
    rows: list[np.ndarray]


def observe(model: keras.Model, batches: Iterable) -> Seen:
    """Runs a model on batches in Phase.OBSERVING.

    Args:
      model: from `quantize_model`.
      batches: as the model takes them.

    Raises:
      ValueError: there is none, or values in one are not finite.
    """
    owners = [range_.owner for range_ in wiring.own_ranges(model)]
    outputs = {call.layer.name: call.output_tensors for call in tfmot_internals.calls(model)}
    watched = keras.Model(model.inputs, [outputs[owner] for owner in owners] + model.outputs)
    run = tf.function(lambda batch: _extremes(watched(batch, training=False)[: len(owners)]), reduce_retracing=True)
    every, rows, count = [], [], 0
    with phases.observing(model):
        for number, batch in enumerate(batches):
            if not all(np.isfinite(values).all() for values in tf.nest.flatten(batch)):
                raise ValueError(
                    f"batch {number} of the calibration data has values that are not finite (NaN, infinite)"
                )
            every.append([ends.numpy() for ends in run(batch)])
            if count < ROWS:
                rows.append([batch[name] for name in model.input_names] if isinstance(batch, dict) else batch)
                count += len(tf.nest.flatten(batch)[0])
    if not every:
        raise ValueError("no data to calibrate with")
    extremes = (np.stack(ends) for ends in zip(*every, strict=True))  # [batches, 2, channels]
    extremes = (np.stack([ends[:, 0].min(0), ends[:, 1].max(0)]) for ends in extremes)
    inputs = zip(*map(tf.nest.flatten, rows), strict=True)
    return Seen(dict(zip(owners, extremes, strict=True)), [np.concatenate(parts)[:ROWS] for parts in inputs])


def _extremes(outputs) -> list[tf.Tensor]:
    """The smallest and the largest of every channel, [2, channels], of each output."""
    flat = [tf.reshape(output, [-1, output.shape[-1]]) for output in outputs]
    return [tf.stack([tf.reduce_min(values, 0), tf.reduce_max(values, 0)]) for values in flat]
