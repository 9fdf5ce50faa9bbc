# SPDX-License-Identifier: Apache-2.0
"""Softmax of all types and its logarithm, through kernels/narrow_softmax.h."""

import numpy as np

from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import factors, literal
from tflm_export.program.form import Form
from tflm_export.program.program import Step
from tflm_export.program.softmax import LogSoftmax, Softmax, SoftmaxInt16

_LARGEST_SUMS = {Softmax: 1 << 32, SoftmaxInt16: 1 << 31, LogSoftmax: 1 << 31}
_LARGEST_SHARES = {Softmax: 1 << 19, SoftmaxInt16: (1 << 15) - 1, LogSoftmax: 1 << 19}
_DIFFERENCES = {1: 256, 2: 1 << 16}  # by bytes of an element
_SOFTMAX_TYPES = {("int8", "int8"), ("uint8", "uint8"), ("int8", "int16")}


def softmax(step: Step[Softmax]) -> CStep:
    """Softmax of bytes.

    Raises:
      UnsupportedError: the sum of a row's exponentials can leave 32 bits, or of other types.
    """
    form = step.form
    _check_types(form, _SOFTMAX_TYPES)
    table = _table(form.exponentials)
    types = f"{literal(form.inputs[0].dtype)}, {literal(form.output.dtype)}"
    call = f"narrow_softmax_rows({types}, {_sizes(form)}, {len(table)}, exponentials, x0, y);"
    return _step(step, (call,), {"exponentials": table})


def softmax_int16(step: Step[SoftmaxInt16]) -> CStep:
    """Softmax of int16 through two tables.

    Raises:
      UnsupportedError: the sum of a row's exponentials can leave 31 bits, or of other types.
    """
    form = step.form
    _check_types(form, {("int16", "int16")})
    held = factors(form.rescale, float(_DIFFERENCES[2]))
    tables = {"exponential": form.exponential.astype(np.int16), "reciprocal": form.reciprocal.astype(np.int16)}
    call = f"narrow_softmax_int16({held.rounding}, {_sizes(form)}, &factors, exponential, reciprocal, x0, y);"
    return _step(step, (held.statement(), call), tables | held.constants())


def log_softmax(step: Step[LogSoftmax]) -> CStep:
    """Logarithms of softmax of int8.

    Raises:
      UnsupportedError: the sum of a row's exponentials can leave 31 bits, or of other types.
    """
    form = step.form
    _check_types(form, {("int8", "int8")})
    table = _table(form.exponentials)
    there, back = factors(form.rescale, float(_DIFFERENCES[1])), factors(form.back, 2.0**31)
    numbers = f"{_sizes(form)}, {len(table)}, exponentials, &factors, &back_factors, {form.unit}, {form.shift}"
    statements = (
        there.statement(),
        back.statement("back_"),
        f"narrow_log_softmax({there.rounding}, {back.rounding}, {numbers}, x0, y);",
    )
    return _step(step, statements, {"exponentials": table} | there.constants() | back.constants("back_"))


def _step(step: Step, statements: tuple[str, ...], constants: dict[str, np.ndarray]) -> CStep:
    form = step.form
    return CStep(step.origin, form.inputs, form.outputs, statements, constants, kernels=("narrow_softmax.h",))


def _check_types(form: Form, known: set[tuple[str, str]]) -> None:
    types = (form.inputs[0].dtype.name, form.output.dtype.name)
    if types not in known:
        raise UnsupportedError(f"of {types[0].upper()} to {types[1].upper()} it is in no runtime")


def _table(exponentials: np.ndarray) -> np.ndarray:
    """As far as differences of bytes reach."""
    return exponentials[: _DIFFERENCES[1]].astype(np.int32)


def _sizes(form: Form) -> str:
    """Rows and classes.

    Raises:
      UnsupportedError: the sum of a row can leave the bits it has in the runtimes, too.
    """
    (x,) = form.inputs
    depth = x.shape[-1] if x.shape else 1
    most = (_LARGEST_SUMS[type(form)] - 1) // _LARGEST_SHARES[type(form)]
    if depth > most:
        raise UnsupportedError(f"the sum over {depth} classes can leave 32 bits; {most} classes are sure not to")
    return f"{x.size // max(depth, 1)}, {depth}"
