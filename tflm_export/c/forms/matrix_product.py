# SPDX-License-Identifier: Apache-2.0
"""Products of two matrices that are both computed."""

import math

import numpy as np

from tflm_export.c.forms.products import bias_array, elements, output, sums
from tflm_export.c.initializer import initializer
from tflm_export.c.step import CStep
from tflm_export.c.types import literal
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.program import Step


def matrix_product(step: Step[MatrixProduct]) -> CStep:
    """A product of matrices through kernels/narrow_matrix_product.h.

    Raises:
      UnsupportedError: its numbers could leave 64 bits, or there is no kernel for its rescale.
    """
    form, (a, b) = step.form, step.form.inputs
    (rescaling,) = form.rescalings
    found = sums(form.rescale, rescaling.accumulator, form.is_wide)
    bias = bias_array(form.bias, found.is_wide)
    fields, leading = _matrices(form)
    how = f"{found.type}, {found.factors.rounding}, {found.has_many}, {literal(bias.dtype)}, {int(bias.size > 1)}"
    statements = (
        f"static const narrow_matrices matrices = {initializer(fields)};",
        found.factors.statement(),
        elements("a", a.dtype, form.zero_points[0], "x0"),
        elements("b", b.dtype, form.zero_points[1], "x1"),
        output("output", form.output, form.zero_point, form.clamp),
        f"narrow_matrix_product({how}, &matrices, &factors, &a, &b, bias, &output, y);",
    )
    constants = leading | {"bias": bias} | found.factors.constants()
    return CStep(
        step.origin, form.inputs, form.outputs, statements, constants, kernels=("narrow_matrix_product.h",),
        note=f"any types, sums of {64 if found.is_wide else 32} bits",
    )  # fmt: skip


def _matrices(form: MatrixProduct) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """The fields of a narrow_matrices, and its arrays, which have one element at least."""
    rank = max(2, *(len(value.shape) for value in form.inputs))
    a, b = ((1,) * (rank - len(value.shape)) + tuple(value.shape) for value in form.inputs)
    (rows, a_row), (depth, a_step) = _last_two(a, form.transposed[0])
    (_, b_step), (columns, b_column) = _last_two(b, form.transposed[1])
    shape = np.broadcast_shapes(a[:-2], b[:-2])
    lists = {"shape": shape, "a_matrix": _distances(a), "b_matrix": _distances(b)}
    fields = {"rows": rows, "depth": depth, "columns": columns}
    fields |= {"a_row": a_row, "a_step": a_step, "b_column": b_column, "b_step": b_step, "rank": len(shape)}
    arrays = {name: np.array(values or (1,), np.int32) for name, values in lists.items()}
    return fields | {name: name for name in arrays}, arrays


def _last_two(shape: tuple[int, ...], transposed: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """(size, distance) of the two dimensions of a matrix."""
    last = (shape[-2], shape[-1]), (shape[-1], 1)
    return (last[1], last[0]) if transposed else last


def _distances(shape: tuple[int, ...]) -> tuple[int, ...]:
    """From one matrix to the next along each leading dimension; 0 where there is one that is used again."""
    return tuple(math.prod(shape[i + 1 :]) if size > 1 else 0 for i, size in enumerate(shape[:-2]))
