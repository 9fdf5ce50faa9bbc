# SPDX-License-Identifier: Apache-2.0
"""From a trained model to a full-int8 .tflite file."""

import os
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import small_ranges, wiring
from keras_rat.calibrate import settle, waiting
from keras_rat.phases import Phase, phase
from keras_rat.rescales import grids, multipliers, require_rescale_layers, widths
from tflm_export import files
from tflm_export.errors import ModelError, UsageError
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid, grid_of
from tflm_export.narrow import check
from tflm_export.report import Row

BORDER = ("QUANTIZE", "DEQUANTIZE")  # between integers and floats


def convert(model: keras.Model, path: str | os.PathLike | None = None) -> bytes:
    """Converts a model to .tflite with the stock TFLite converter; int8 inputs and outputs, k-bit rescales.

    A model that was trained without `calibrate` has its ranges frozen and put on the grid first, as `calibrate` does,
    so that the model given and the file returned agree.

    Layers that nobody annotated stay in float32, between DEQUANTIZE and QUANTIZE operators; inputs that go to such and
    outputs that come from such are float32.

    Args:
      model: from `quantize_model` or `quantize_apply`, calibrated or trained.
      path: of a file that is to have it, too; it appears whole or not at all, and replaces one that is there.

    Returns:
      The .tflite file.

    Raises:
      UsageError (a ValueError): the path cannot be written.
      ValueError: the model was not quantised by keras_rat, or has ranges that never saw data.
      ModelError: the converter left operators in float, or added a rescale that is not on its layer's grid, or biases
        are too large for their layers' accumulators; names them.
    """
    if path is not None:
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"path must be that of a .tflite file to write, got {type(path).__name__}")
        path = os.fspath(path)
        files.require_writable(path, overwrite=True)
    require_rescale_layers(model)
    if missing := waiting(model):
        raise ValueError(f"no range yet for layers {', '.join(missing)}; call keras_rat.calibrate(model, data) first")
    if phase(model) is not Phase.FROZEN:
        settle(model)
    if biases := small_ranges.overflowing(model):
        named = "; ".join(f"{name}: 2^{np.log2(bias):.0f}" for name, bias in biases.items())
        raise ModelError(
            f"biases beyond 2^30 units of their accumulators, whose inputs were next to zero at calibration: {named};"
            " calibrate a new model from these weights, on inputs for which they are not"
        )
    data = _converted(model, None)
    if wiring.in_float(model) and any(operator.name == "SHAPE" for operator in parse(data).operators):
        data = _converted(model, 1)  # layers in float compute the shapes of others from that of the input
    if floats := _left_in_float(data, model):
        raise ModelError(f"the converter left operators in float: {'; '.join(floats)}")
    offenders = _too_wide(data, grids(model))
    if offenders:
        names = "; ".join(
            f"{row.label}: {row.reason or f'{row.bits_after} bits'}, not {grid}" for row, grid in offenders
        )
        raise ModelError(f"converted rescales that are wider than they were trained: {names}{_why(model)}")
    if path is not None:
        files.write({path: data})
    return data


def _converted(model, rows: int | None) -> bytes:
    """The file that the converter makes of a model, for inputs of so many rows, or of any number."""
    module, serve = _serving_function(model, rows)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter.convert()


def _left_in_float(data: bytes, model) -> list[str]:
    """The operators of a file that compute in float and should not: of a model with float layers, those of others."""
    floats = [op for op in parse(data).operators if any(t and t.type == "FLOAT32" for t in (*op.inputs, *op.outputs))]
    if wiring.in_float(model):
        rescaling = grids(model).keys()
        floats = [op for op in floats if op.name not in BORDER and not rescaling.isdisjoint(_parts(op.outputs[0].name))]
    return [op.label for op in floats]


def _parts(name: str) -> set[str]:
    """The layers, and what in them, that the converter named a tensor after."""
    return set(re.split(r"[/;]", name))


def _why(model) -> str:
    """What leaves rescales wider, as far as the model shows it."""
    final = widths(model)
    if early := [each.layer for each in multipliers(model) if each.bits.max() > final[each.layer]]:
        return f" (the callbacks.SnappingSchedule of {', '.join(early)} has not reached its last stage: train on)"
    return ""


def _too_wide(data: bytes, grids: Mapping[str, int | Grid]) -> list[tuple[Row, Grid]]:
    """The rescales of a file that are not on the grid of the layer they come from, and that grid.

    The converter names a tensor after the layers that were fused into it. A tensor that bears no layer's name (a
    model's output has its own) may be as wide as the widest layer.
    """
    wanted = {name: grid_of(grid) for name, grid in grids.items()}
    reports = {grid: check(data, grid).rows for grid in {*wanted.values()}}
    offenders = []
    for rows in zip(*reports.values(), strict=True):
        row_of = dict(zip(reports, rows, strict=True))
        parts = _parts(rows[0].name)
        named = [grid for name, grid in wanted.items() if name in parts]
        widest = max(named or wanted.values(), key=lambda grid: grid.bits)
        if not row_of[widest].narrow:
            offenders.append((row_of[widest], widest))
    return offenders


def _serving_function(model, rows):
    """The inference of a model as one function with named inputs and outputs, and the module that owns its variables.

    `from_keras_model` saves every layer of the model as functions of its own beside this one, which no converter looks
    at: nine tenths of its time.
    """
    signature = [
        tf.TensorSpec((rows, *tensor.shape[1:]), tensor.dtype, name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]

    @tf.function(input_signature=signature)
    def serve(*inputs):
        outputs = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        return dict(zip(model.output_names, tf.nest.flatten(outputs), strict=True))

    module = tf.Module()
    module.variables_of_model = model.weights
    return module, serve.get_concrete_function()
