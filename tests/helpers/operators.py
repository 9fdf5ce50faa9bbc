# SPDX-License-Identifier: Apache-2.0
"""Models of one operator."""

import numpy as np

from tests.helpers.tflite_builder import TFLiteBuilder, schema


def one_operator(name, operands, output, version=1, table=None, **options) -> bytes:
    """A model of one operator; operands and output are keyword arguments of `TFLiteBuilder.tensor`."""
    b = TFLiteBuilder()
    tensors = [b.tensor(f"in{i}", **operand) for i, operand in enumerate(operands)]
    y = b.tensor("y", **output)
    b.operator(name, tensors, [y], version)
    if table:
        operator = b.graph.operators[-1]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        operator.builtinOptions = getattr(schema, f"{table}T")(**options)
    return b.build([t for t, o in zip(tensors, operands, strict=True) if "data" not in o], y)


def activation(scale, zero_point, shape=(1, 6, 6, 4), type="INT8", **more) -> dict:
    return {"shape": list(shape), "scale": scale, "zero_point": zero_point, "type": type, **more}


def indices(values) -> dict:
    return {"shape": list(np.shape(values)), "type": "INT32", "data": values}


A, B = activation(0.031, -7), activation(0.047, 12)
A16, B16 = activation(0.00031, 0, type="INT16"), activation(0.00047, 0, type="INT16")
