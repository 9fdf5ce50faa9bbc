# SPDX-License-Identifier: Apache-2.0
"""From a trained model to a full-int8 .tflite file."""

import re

import tensorflow as tf
import tf_keras as keras

from keras_rat.calibrate import settle, waiting
from keras_rat.phases import Phase, phase
from keras_rat.rescales import require_rescale_layers, widths
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import parse
from tflm_export.narrow import check
from tflm_export.report import Row


def convert(model: keras.Model) -> bytes:
    """Converts a model to .tflite with the stock TFLite converter; int8 inputs and outputs, k-bit rescales.

    A model that was trained without `calibrate` has its ranges frozen and put on the grid first, as `calibrate` does,
    so that the model given and the file returned agree.

    Args:
      model: from `quantize_model` or `quantize_apply`, calibrated or trained.

    Returns:
      The .tflite file.

    Raises:
      ValueError: the model was not quantised by keras_rat, or has ranges that never saw data.
      ModelError: the converter left operators in float, or added a rescale that is not on the k-bit grid; names them.
    """
    require_rescale_layers(model)
    if missing := waiting(model):
        raise ValueError(f"no range yet for layers {', '.join(missing)}; call keras_rat.calibrate(model, data) first")
    if phase(model) is not Phase.FROZEN:
        settle(model)
    module, serve = _serving_function(model)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    data = converter.convert()
    floats = [
        op.label for op in parse(data).operators if any(t and t.type == "FLOAT32" for t in (*op.inputs, *op.outputs))
    ]
    if floats:
        raise ModelError(f"the converter left operators in float: {'; '.join(floats)}")
    offenders = _too_wide(data, widths(model))
    if offenders:
        names = "; ".join(f"{row.label}: {row.reason or f'{row.bits_after} bits'}, not {row.bits}" for row in offenders)
        raise ModelError(
            f"converted rescales that are wider than they were trained: {names}"
            " (a callbacks.SnappingSchedule that has not reached its last stage leaves such)"
        )
    return data


def _too_wide(data: bytes, widths: dict[str, int]) -> list[Row]:
    """The rescales of a file that are not on the grid of the layer they come from.

    The converter names a tensor after the layers that were fused into it. A tensor that bears no layer's name (a
    model's output has its own) may be as wide as the widest layer.
    """
    reports = {bits: check(data, bits).rows for bits in {*widths.values()}}
    offenders = []
    for rows in zip(*reports.values(), strict=True):
        by_bits = dict(zip(reports, rows, strict=True))
        parts = set(re.split(r"[/;]", rows[0].name))
        found = max((bits for name, bits in widths.items() if name in parts), default=max(by_bits))
        if not by_bits[found].narrow:
            offenders.append(by_bits[found])
    return offenders


def _serving_function(model):
    """The inference of a model as one function with named inputs and outputs, and the module that owns its variables.

    `from_keras_model` saves every layer of the model as functions of its own beside this one, which no converter looks
    at: nine tenths of its time.
    """
    signature = [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]

    @tf.function(input_signature=signature)
    def serve(*inputs):
        outputs = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        return dict(zip(model.output_names, tf.nest.flatten(outputs), strict=True))

    module = tf.Module()
    module.variables_of_model = model.weights
    return module, serve.get_concrete_function()
