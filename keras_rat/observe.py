# SPDX-License-Identifier: Apache-2.0
"""Runs the float network on data: ranges follow it, and what multipliers are chosen by is kept."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import phases, tfmot_internals, wiring

ROWS = 256  # that multipliers are chosen on, at most
LEAST_ROWS = 16
MOST_BYTES = 2**27  # of the largest tensor, of all rows
SIX = 6.0  # where ReLU6 clips


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the float network showed.

    Attributes:
      extremes: by the name of the layer that owns a range, for every channel of its output the smallest, the largest,
        and the share that is 6 or more, as ReLU6 leaves what it clips; float32 [3, channels].
      rows: the first rows of every input of the model that multipliers are to be chosen on, as arrays in the order of
        its inputs: 256, or fewer of large ones; of batches of several shapes those like the first.
    """

    extremes: dict[str, np.ndarray]
    rows: list[np.ndarray]


def observe(model: keras.Model, batches: Iterable) -> Seen:
    """Runs a model on batches in Phase.OBSERVING.

    Args:
      model: from `quantize_model`.
      batches: for each input of the model, in their order, an array [rows, ...]; from `feed.batches`.

    Raises:
      ValueError: there is none.
    """
    owners = [range_.owner for range_ in wiring.own_ranges(model)]
    outputs = {call.layer.name: call.output_tensors for call in tfmot_internals.calls(model)}
    watched = keras.Model(model.inputs, [outputs[owner] for owner in owners])
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    every, kept, wanted = [], [], ROWS
    with phases.observing(model):
        # A graph, not a function: TensorFlow would warn of one that is traced for every model.
        run = tf.function(lambda batch: _extremes(watched(batch, training=False))).get_concrete_function(signature)
        for arrays in batches:
            ends, largest = run([tf.convert_to_tensor(array) for array in arrays])
            every.append([each.numpy() for each in ends])
            if not kept:
                wanted = int(np.clip(MOST_BYTES * len(arrays[0]) // (4 * int(largest)), LEAST_ROWS, ROWS))
            if sum(len(each[0]) for each in kept) < wanted and _alike(arrays, kept):
                kept.append(arrays)
    if not every:
        raise ValueError("no data to calibrate with")
    by_owner = (np.stack(each) for each in zip(*every, strict=True))  # [batches, 3, channels]
    extremes = (np.stack([each[:, 0].min(0), each[:, 1].max(0), each[:, 2].mean(0)]) for each in by_owner)
    rows = [np.concatenate(parts)[:wanted] for parts in zip(*kept, strict=True)]
    return Seen(dict(zip(owners, extremes, strict=True)), rows)


def _extremes(outputs) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The smallest, the largest and the clipped share of every channel, [3, channels], by output; the most values."""
    flat = [tf.reshape(output, [-1, output.shape[-1]]) for output in tf.nest.flatten(outputs)]
    found = [
        tf.stack(
            [
                tf.reduce_min(values, 0),
                tf.reduce_max(values, 0),
                tf.reduce_mean(tf.cast(values >= SIX, tf.float32), 0),
            ]
        )
        for values in flat
    ]
    return found, tf.reduce_max([tf.size(values) for values in flat])


def _alike(arrays: list, kept: list[list]) -> bool:
    """Whether rows have the shapes of those that are kept."""
    return not kept or all(one.shape[1:] == other.shape[1:] for one, other in zip(arrays, kept[0], strict=True))
