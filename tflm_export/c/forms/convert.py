# SPDX-License-Identifier: Apache-2.0
"""Numbers in another type, and over the border between integers and real numbers."""

import numpy as np

from tflm_export.c.literals import integer, integers, real
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import literal
from tflm_export.program.convert import Cast, Dequantize, QuantizeReal
from tflm_export.program.form import reach
from tflm_export.program.program import Step

_EXACT_FLOAT = 1 << 24  # the largest integer up to which all are floats
_WORTH_LIMITS = 256  # elements for which a table of 255 words is worth its flash
_INFINITY, _MOST = 0x7F800000, 0x7FFFFFFF  # the bits of infinity; all but the sign


def cast(step: Step[Cast]) -> CStep:
    x, y = step.form.inputs[0], step.form.output
    if y.dtype == np.float32:
        return _step(step, f"narrow_cast_to_real({literal(x.dtype)}, {x.size}, x0, y);", "narrow_real.h")
    return _step(step, f"narrow_cast({literal(x.dtype)}, {literal(y.dtype)}, {x.size}, x0, y);", "narrow_table.h")


def quantize_real(step: Step[QuantizeReal]) -> CStep:
    form, x, y = step.form, step.form.inputs[0], step.form.output
    if y.dtype.itemsize > 4:
        raise UnsupportedError("real numbers as INT64 leave 64 bits with their zero point")
    scale = np.float32(form.scale)
    if not scale > 0:
        raise UnsupportedError(f"its output has scale {form.scale}")
    if y.dtype.itemsize == 1 and x.size >= _WORTH_LIMITS:
        numbers = integers(form.zero_point, y.limits[0])
        call = f"narrow_quantize_real_by_limits({literal(y.dtype)}, {x.size}, limits, {numbers}, x0, y);"
        limits = {"limits": _limits(form)}
        return CStep(step.origin, (x,), (y,), (call,), limits, kernels=("narrow_real.h",))
    numbers = f"{real(scale, 'f')}, {integers(form.zero_point, *y.limits)}"
    return _step(step, f"narrow_quantize_real({literal(y.dtype)}, {x.size}, {numbers}, x0, y);", "narrow_real.h")


def _limits(form: QuantizeReal) -> np.ndarray:
    """The first float from which on the output is its least integer and 1, 2, ... more: int32 in their order.

    What no float reaches is behind all of them.
    """
    low, high = form.output.limits
    wanted = np.arange(low + 1, high + 1)
    first, last = -_INFINITY - 1, _INFINITY  # the order of -inf and inf
    below, reached = np.full(wanted.size, first - 1, np.int64), np.full(wanted.size, last + 1, np.int64)
    while (reached - below > 1).any():
        middle = (below + reached) >> 1
        inside = np.clip(middle, first, last)
        bits = np.where(inside < 0, inside ^ _MOST, inside).astype(np.int32)
        (found,) = form.evaluate(bits.view(np.float32))
        enough = (found >= wanted) & (middle >= first)
        below, reached = np.where(enough, below, middle), np.where(enough, middle, reached)
    return reached.astype(np.int32)


def dequantize(step: Step[Dequantize]) -> CStep:
    """In float where its product is the exact one rounded, as that of double is then, too."""
    form, x = step.form, step.form.inputs[0]
    is_exact = reach(x, form.zero_point) <= _EXACT_FLOAT and float(np.float32(form.scale)) == form.scale
    name, suffix = ("narrow_dequantize", "f") if is_exact else ("narrow_dequantize_wide", "")
    numbers = f"{x.size}, {real(form.scale, suffix)}, {integer(form.zero_point)}"
    return _step(step, f"{name}({literal(x.dtype)}, {numbers}, x0, y);", "narrow_real.h")


def _step(step: Step, call: str, header: str) -> CStep:
    return CStep(step.origin, step.form.inputs, step.form.outputs, (call,), kernels=(header,))
