"""What reductions over axes share."""

import math

import numpy as np

from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.options import ReducerOptions
from tflm_export.flatbuffer.reader import UINT8


def reduced_axes(x: Tensor, axes: np.ndarray) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front, each once."""
    return tuple(sorted({int(axis) % max(1, len(x.shape)) for axis in axes.reshape(-1)}))


def reduced_count(operator: Operator) -> int:
    """How many elements become one, by the shapes in the file; at most 2**31."""
    elements, results = (math.prod(t.shape) for t in (operator.inputs[0], operator.outputs[0]))
    return min(max(1, elements // max(1, results)), 2**31)


def keeps_dimensions(operator: Operator) -> bool:
    """Whether a dimension of 1 stays for each axis."""
    return bool(operator.option(ReducerOptions.KEEP_DIMS, UINT8))


def reduction_problem(operator: Operator) -> str:
    """Why a reduction of integers cannot be run, empty if it can."""
    x, y = operator.inputs[0], operator.outputs[0]
    axes = operator.inputs[1] if len(operator.inputs) > 1 else None
    if axes is None or axes.data is None or axes.data.dtype.kind != "i":
        return "axes that are not constant are not simulated"
    if x.type not in ("INT8", "UINT8", "INT16") or y.type != x.type or None in (x.quantization, y.quantization):
        return f"{x.type} to {y.type} is not simulated"
    return ""


def reduces_rows(operator: Operator) -> bool:
    """Whether the first dimension is among the axes."""
    return 0 in reduced_axes(operator.inputs[0], operator.inputs[1].data)
