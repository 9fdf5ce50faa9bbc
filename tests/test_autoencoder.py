# SPDX-License-Identifier: Apache-2.0
"""An autoencoder of per-tensor Dense layers, trained on digits: shift-only rescales cost no reconstruction error."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from benchmarks import datasets
from tflm_export import narrow, runtimes


@pytest.fixture(scope="module")
def rows():
    data = datasets.digits()
    return data.x_train.reshape(-1, 64), data.x_test.reshape(-1, 64)


@pytest.fixture(scope="module")
def network(rows) -> keras.Model:
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    widths = (96, 48, 12, 48, 96)
    model = keras.Sequential([keras.Input((64,)), *(dense(width, "relu") for width in widths), dense(64)])
    model.compile("adam", "mse")
    model.fit(rows[0], rows[0], 32, 40, verbose=0)
    return model


def converted(network, rows) -> bytes:
    """The stock converter's int8 model."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in rows[0][:300])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter.convert()


@pytest.fixture(scope="module")
def stock(network, rows) -> bytes:
    return converted(network, rows)


def reconstruction_error(model: bytes, rows: np.ndarray) -> float:
    """Mean squared error over the test rows, on LiteRT."""
    runtime = runtimes.LiteRT(model)
    outputs = runtimes.run_all(runtime, runtimes.quantize_input(rows, runtime.input))
    scale, zero_point = runtime.output["quantization"]
    return float(np.mean((scale * (outputs - float(zero_point)) - rows) ** 2))


@pytest.mark.sweep(3)
@pytest.mark.parametrize("bits", [4, 1])
def test_requantize_loses_nothing_measurable(stock, rows, bits):
    narrowed, report = narrow(stock, bits)
    assert all(row.factors == 1 for row in report.rows)
    assert report.max_bits <= bits
    assert reconstruction_error(narrowed, rows[1]) < 1.02 * reconstruction_error(stock, rows[1])


def test_the_measure_notices_a_gain_error(network, stock, rows):
    """What `keep` does to a layer at k = 1 at worst; how much to a network is luck, as the errors may cancel."""
    wrong = keras.models.clone_model(network)
    wrong.set_weights(network.get_weights())
    wrong.layers[2].kernel.assign(wrong.layers[2].kernel * 4 / 3)
    assert reconstruction_error(converted(wrong, rows), rows[1]) > 1.2 * reconstruction_error(stock, rows[1])
