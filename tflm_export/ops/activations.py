# SPDX-License-Identifier: Apache-2.0
"""Fused activations, and where an operator's output goes."""

import enum

import numpy as np

from tflm_export.arithmetic import Target
from tflm_export.errors import ModelError
from tflm_export.flatbuffer import options
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.program.value import dtype_of, limits_of, value_of

_RANGES = {"NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


def fused_activation(operator: Operator, field: enum.IntEnum) -> str:
    """The fused activation that stands in an option field."""
    code = operator.option(field, UINT8)
    return options.ACTIVATIONS[code] if code < len(options.ACTIVATIONS) else f"UNKNOWN_{code}"


def quantized(tensor: Tensor, real: float) -> int:
    """The integer that stands for a real number: float32 division, halves away from zero, not saturated."""
    quotient = float(np.float32(real) / np.float32(tensor.scale))
    return tensor.zero_point + int(np.copysign(np.floor(abs(quotient) + 0.5), quotient))


def clamp_of(tensor: Tensor, activation: str) -> tuple[int, int]:
    """The smallest and largest integer of an output behind a fused activation, within its type.

    Raises:
      ModelError: the activation is not one of the ReLU family.

    Source: CalculateActivationRangeQuantized in tensorflow/lite/kernels/kernel_util.cc.
    """
    if activation not in _RANGES:
        raise ModelError(f"the fused activation {activation} of {tensor.name} is not simulated")
    limits = limits_of(dtype_of(tensor))
    if activation == "NONE":
        return limits
    bounds = [None if bound is None else quantized(tensor, bound) for bound in _RANGES[activation]]
    low, high = (
        limit if bound is None else min(max(bound, limits[0]), limits[1])
        for bound, limit in zip(bounds, limits, strict=True)
    )
    return low, high


def target_of(tensor: Tensor, activation: str = "NONE") -> Target:
    """The output of a form that rescales."""
    return Target(value_of(tensor), tensor.scale, tensor.zero_point, clamp_of(tensor, activation))
