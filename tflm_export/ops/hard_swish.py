# SPDX-License-Identifier: Apache-2.0
"""HARD_SWISH: `x * relu6(x + 3) / 6` in 16-bit fixed point."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.ops.base import Declaration, RescalingOp, activation_problem, register
from tflm_export.program.form import Rescaling, centred, reach
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.value import dtype_of, value_of
from tflm_export.rescale import doubling_high_multiply, rounding_divide_by_pot

_INT16 = np.iinfo(np.int16)
_RELU_SCALE = 3 / 32768  # of the steps in which relu6(x + 3) / 6 is computed


def _multiplier16(factor: np.float32) -> tuple[int, int]:
    """A factor as a 15-bit multiplier and an exponent."""
    stock = rescale.quantize_multiplier(float(factor))
    return min((int(stock.multiplier) + (1 << 15)) >> 16, _INT16.max), 31 - int(stock.shift)


def _shifted_left(x: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(x << bits, _INT16.min, _INT16.max)


@register("HARD_SWISH")
class HardSwish(RescalingOp):
    """The same 16-bit steps in every runtime, with two rescales of `128 * (x - Zx)`.

    One goes to the output's scale. The other goes to units of 3/32768 for the relu6, which the input's scale lands on
    the grid if it can move.
    """

    min_inputs = 1

    def problem(self, operator, graph):
        x, y = operator.inputs[0], operator.outputs[0]
        problem = activation_problem(x, y, types=("INT8", "UINT8"))
        if not problem and x.scale >= 32 * y.scale:
            problem = f"its output scale {y.scale:g} is too small for the kernel's right shift"
        return problem

    def declaration(self, operator, graph):
        x, y = operator.inputs[0], operator.outputs[0]
        relu = ("scale", 128 * _RELU_SCALE)
        nodes = (solver.Sum((x.key,), relu), solver.Sum((x.key,), y.key))
        return Declaration(nodes=nodes, fixed={relu: 128 * _RELU_SCALE})

    def factors(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if not (x.is_quantized and y.is_quantized and y.scale > 0):
            return None
        return rescale.effective_scale(x.scale, 1 / 128, np.array([y.scale, _RELU_SCALE]))

    def lower(self, operator, arithmetic):
        x, y = value_of(operator.inputs[0]), value_of(operator.outputs[0])
        inner = arithmetic.rescale(self.factors(operator))
        bound = np.full(2, 128.0 * reach(x, operator.inputs[0].zero_point))
        table = self._every_value(operator, every_integer(x.dtype))
        return (Lookup(inputs=(x,), outputs=(y,), table=table, inside=(Rescaling(inner, bound),)),)

    def _every_value(self, operator, integers: np.ndarray) -> np.ndarray:
        """Source: HardSwish in tensorflow/lite/kernels/internal/reference/hard_swish.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        high_resolution = np.float32(1 / 128) * np.float32(x.scale)
        multiplier, exponent = _multiplier16(high_resolution / np.float32(y.scale))
        relu_multiplier, relu_exponent = _multiplier16(high_resolution / (np.float32(3) / np.float32(32768)))
        value = centred(integers, x.zero_point) << 7
        scaled = doubling_high_multiply(value, multiplier, 16)
        relu = _shifted_left(value, relu_exponent - 1) if relu_exponent > 0 else value
        relu = doubling_high_multiply(relu, relu_multiplier, 16)
        if relu_exponent > 0:
            relu = _shifted_left(relu, 1)
        elif relu_exponent < 0:
            relu = rounding_divide_by_pot(relu, -relu_exponent)
        relu = (relu + (1 << 15)) >> 1
        product = relu * scaled
        halved = np.where(product < 0, -(-product >> 15), product >> 15)  # truncated, not rounded
        result = rounding_divide_by_pot(halved, max(0, -exponent)) + y.zero_point
        limits = np.iinfo(dtype_of(y))
        return np.clip(result, limits.min, limits.max).astype(limits.dtype)

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in ("INT8", "UINT8") or y.type != x.type or not (x.is_quantized and y.is_quantized):
            return f"{x.type} to {y.type} is not simulated"
        exponent = _multiplier16(np.float32(1 / 128) * np.float32(x.scale) / np.float32(y.scale))[1]
        return "" if exponent <= 0 else "its output scale is too small for the kernel's right shift"
