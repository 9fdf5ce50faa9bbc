# SPDX-License-Identifier: Apache-2.0
"""Trains one small network under a distribution strategy; test_distributed.py runs it in processes of its own.

usage: python distributed.py mirrored|worker OUT.json   (worker: TF_CONFIG names the cluster)
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras
from sklearn.datasets import load_digits

import keras_rat
from keras_rat.callbacks import FreezeRanges

L = keras.layers
ROWS, BATCH, EPOCHS = 256, 64, 2


def strategy(kind):
    if kind == "worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def network():
    """Batch normalisation over all replicas, as one device would compute it."""
    return keras.Sequential(
        [
            L.Conv2D(4, 3, use_bias=False, input_shape=(8, 8, 1)),
            L.experimental.SyncBatchNormalization(),  # the other spelling, synchronized=True, is lost in copies
            L.ReLU(),
            L.Flatten(),
            L.Dense(10),
        ]
    )


def dataset():
    """Digits that grow brighter from row to row, so that the replicas see different extremes."""
    images, labels = load_digits(return_X_y=True)
    images = images[:ROWS].reshape(-1, 8, 8, 1) / 16 * np.linspace(0.5, 1, ROWS).reshape(-1, 1, 1, 1)
    images = images.astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((images, labels[:ROWS])).batch(BATCH, drop_remainder=True)


def train(scope, calibrated):
    with scope:
        keras.utils.set_random_seed(0)
        model = keras_rat.quantize_model(network(), {"conv": 2, ".*": 4})
        if calibrated:
            keras_rat.calibrate(model, dataset())
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    callbacks = [] if calibrated else [FreezeRanges(1)]
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    losses = model.fit(dataset().with_options(options), epochs=EPOCHS, verbose=0, callbacks=callbacks).history["loss"]
    return {"losses": losses, "weights": {v.name: np.asarray(v, np.float64).tolist() for v in model.weights}}


def main(kind, out):
    distribution = strategy(kind)
    ways = (True, False) if kind == "mirrored" else (False,)
    results = {str(calibrated): train(distribution.scope(), calibrated) for calibrated in ways}
    pathlib.Path(out).write_text(json.dumps({"replicas": distribution.num_replicas_in_sync} | results))


if __name__ == "__main__":
    main(*sys.argv[1:])
