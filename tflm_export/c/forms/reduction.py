# SPDX-License-Identifier: Apache-2.0
"""Reductions over any axes, through kernels/narrow_reduce.h."""

import dataclasses
import math

import numpy as np

from tflm_export.c.forms.statements import INT32_REACH, INT64_REACH, array, structure
from tflm_export.c.literals import integers
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import factors, literal
from tflm_export.program.form import reach
from tflm_export.program.program import Step
from tflm_export.program.reduction import Extreme, Mean, Position, Reduction, Total


@dataclasses.dataclass(frozen=True)
class _Dimensions:
    """Some dimensions of an array: their sizes, and how many elements apart theirs are."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.sizes)


def dimensions(form: Reduction) -> tuple[_Dimensions, _Dimensions]:
    """Those of the input that are left, and those that are reduced: neighbours of a kind as one, none of size 1."""
    merged: list[tuple[bool, int, int]] = []
    stride = 1
    for axis, size in reversed(list(enumerate(form.inputs[0].shape))):
        taken = axis in form.axes
        if size != 1 and merged and merged[0][0] == taken:
            merged[0] = (taken, merged[0][1] * size, merged[0][2])
        elif size != 1:
            merged.insert(0, (taken, size, stride))
        stride *= size
    parts = ([part[1:] for part in merged if part[0] == taken] for taken in (False, True))
    kept, taken = (_Dimensions(*zip(*part, strict=True)) if part else _Dimensions((), ()) for part in parts)
    return kept, taken


def mean(step: Step[Mean]) -> CStep:
    """A mean, with one exact division.

    Raises:
      UnsupportedError: its numbers leave 64 bits.
    """
    form, (x,) = step.form, step.form.inputs
    largest = max(reach(x, 0) * form.count, form.reach, form.divisor)
    if largest >= INT64_REACH:
        raise UnsupportedError("the scales of its input and output are too far apart for 64-bit arithmetic")
    kinds = f"{literal(x.dtype)}, {literal(form.output.dtype)}, {int(largest >= INT32_REACH)}"
    numbers = integers(form.factor, form.start, form.divisor, *form.output.limits)
    return _step(step, f"narrow_mean_of({kinds}, &reduction, {numbers}, x0, y);")


def total(step: Step[Total]) -> CStep:
    """A sum with one rescale.

    Raises:
      UnsupportedError: the sum or what the rescale makes of it is too large, or the rescale has no kernel.
    """
    form, (x,) = step.form, step.form.inputs
    largest = (reach(x, 0) + abs(form.input_zero_point)) * form.count
    held = factors(form.rescale, form.rescalings[0].accumulator)
    bits = {"NARROW_ONCE_CUT": 47, "NARROW_TWICE": 31, "NARROW_AWAY": 31}.get(held.rounding, 63)
    if largest >> bits:
        raise UnsupportedError(f"its sum can reach {largest}, beyond the {bits} bits and a sign that its rescale takes")
    kinds = f"{literal(x.dtype)}, {literal(form.output.dtype)}, {int(largest >= INT32_REACH)}, {held.rounding}"
    start = integers(-form.input_zero_point * form.count)
    ends = integers(form.zero_point, *form.output.limits)
    call = f"narrow_total_of({kinds}, &reduction, {start}, &factors, {ends}, x0, y);"
    return _step(step, held.statement(), call, constants=held.constants())


def extreme(step: Step[Extreme]) -> CStep:
    """The largest or the smallest element."""
    form, (x,) = step.form, step.form.inputs
    return _step(step, f"narrow_extreme({literal(x.dtype)}, {int(form.is_largest)}, &reduction, x0, y);")


def position(step: Step[Position]) -> CStep:
    """Where the largest or the smallest element stands, of integers or of real numbers, none of them NaN."""
    form, (x,) = step.form, step.form.inputs
    is_real = x.dtype == np.float32
    kind = f"{'NARROW_INT32' if is_real else literal(x.dtype)}, {int(is_real)}, {literal(form.output.dtype)}"
    return _step(step, f"narrow_position({kind}, {int(form.is_largest)}, &reduction, x0, y);")


def _step(step: Step[Reduction], *statements: str, constants=None) -> CStep:
    kept, taken = dimensions(step.form)
    members = {
        "outputs": kept.count,
        "kept": len(kept.sizes),
        "kept_sizes": "kept_sizes",
        "kept_strides": "kept_strides",
        "rows": math.prod(taken.sizes[:-1]),
        "columns": taken.sizes[-1] if taken.sizes else 1,
        "stride": taken.strides[-1] if taken.sizes else 0,
        "taken": len(taken.sizes[:-1]),
        "taken_sizes": "taken_sizes",
        "taken_strides": "taken_strides",
    }
    own = {
        "kept_sizes": array(kept.sizes),
        "kept_strides": array(kept.strides),
        "taken_sizes": array(taken.sizes[:-1]),
        "taken_strides": array(taken.strides[:-1]),
    }
    return CStep(
        step.origin,
        step.form.inputs,
        step.form.outputs,
        (structure("narrow_reduction", "reduction", members), *statements),
        own | (constants or {}),
        kernels=("narrow_reduce.h",),
    )
