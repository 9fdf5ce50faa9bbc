# SPDX-License-Identifier: Apache-2.0
"""What reductions over axes share."""

from tflm_export.flatbuffer.model import Operator


def reduced_axes(operator: Operator) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front, each once."""
    rank = max(1, len(operator.inputs[0].shape))
    return tuple(sorted({int(axis) % rank for axis in operator.inputs[1].data.reshape(-1)}))


def reduction_problem(operator: Operator) -> str:
    """Why a reduction of integers cannot be run, empty if it can."""
    x, y = operator.inputs[0], operator.outputs[0]
    axes = operator.inputs[1] if len(operator.inputs) > 1 else None
    if axes is None or axes.data is None or axes.data.dtype.kind != "i":
        return "axes that are not constant are not simulated"
    if x.type not in ("INT8", "UINT8", "INT16") or y.type != x.type or None in (x.quantization, y.quantization):
        return f"{x.type} to {y.type} is not simulated"
    return ""
