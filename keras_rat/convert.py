"""From a trained model to a full-int8 .tflite file."""

import tensorflow as tf

from keras_rat.calibrate import is_settled, settle, unseen
from keras_rat.quantize import rescale_layers
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import parse
from tflm_export.narrow import check


def convert(model) -> bytes:
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
    layers = rescale_layers(model)
    if not layers:
        raise ValueError("the model has no layers with k-bit rescales; make it with keras_rat.quantize_model")
    if missing := unseen(model):
        raise ValueError(f"no range yet for layers {', '.join(missing)}; call keras_rat.calibrate(model, data) first")
    if not is_settled(model):
        settle(model)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    data = converter.convert()
    floats = [
        op.label for op in parse(data).operators if any(t and t.type == "FLOAT32" for t in (*op.inputs, *op.outputs))
    ]
    if floats:
        raise ModelError(f"the converter left operators in float: {'; '.join(floats)}")
    bits = layers[0].quantize_config.quantizer.bits
    offenders = check(data, bits).offenders
    if offenders:
        names = "; ".join(f"{row.label}: {row.reason or f'{row.bits_after} bits'}" for row in offenders)
        raise ModelError(f"converted rescales that are not {bits} bits wide: {names}")
    return data
