# SPDX-License-Identifier: Apache-2.0
"""The general kernel of products of matrices: both transposes, broadcasting, every type and rescale."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_equal_forms
from tests.helpers.random_forms import Draw
from tflm_export.c.forms import GENERAL
from tflm_export.c.step import UnsupportedError
from tflm_export.program.form import reach
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.value import Value
from tflm_export.rescale import Rescale

pytestmark = native.requires_gcc


def emit(step):
    return GENERAL[MatrixProduct](step)


def random_form(draw: Draw) -> MatrixProduct:
    dtype = draw.one([np.int8, np.int8, np.uint8, np.int16])
    other = draw.one([dtype, np.int8])
    leading = tuple(draw.size(3) for _ in range(draw.size(4) - 1))
    rows, depth, columns = draw.size(5), draw.size(7), draw.size(5)
    transposed = draw.flag(), draw.flag()

    def matrices(*last, is_transposed):
        own = tuple(1 if draw.random.random() < 0.3 else size for size in leading)[draw.size(4) - 1 :]
        return (*own, *(last[::-1] if is_transposed else last))

    a = draw.value("a", dtype, matrices(rows, depth, is_transposed=transposed[0]))
    b = draw.value("b", other, matrices(depth, columns, is_transposed=transposed[1]))
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    zeros = draw.zero_point(dtype), draw.zero_point(other)
    is_wide = dtype is np.int16 and draw.random.random() < 0.8
    most = float(reach(a, zeros[0])) * reach(b, zeros[1]) * depth
    bias = np.rint(draw.random.uniform(-most, most, draw.one([1, columns])) / 4).astype(np.int64)
    if draw.random.random() < 0.1:
        bias = draw.integers(np.int32, columns).astype(np.int64)
    return MatrixProduct(
        inputs=(a, b),
        outputs=(draw.value("y", dtype, (*shape, rows, columns)),),
        transposed=transposed,
        zero_points=zeros,
        bias=bias,
        rescale=draw.rescaler(most / 2, 2.0 ** (8 * np.dtype(dtype).itemsize - 1), draw.one([1, columns]), is_wide),
        zero_point=draw.zero_point(dtype),
        clamp=draw.clamp(dtype),
        is_wide=is_wide,
    )


@pytest.mark.parametrize("seed", range(2))
def test_any_form(seed):
    draw = Draw(seed)
    assert_equal_forms([random_form(draw) for _ in range(40)], emit, seed)


def product(a, b, dtype=np.int16, **fields) -> MatrixProduct:
    """Without leading dimensions."""
    given = {
        "transposed": (False, False),
        "zero_points": (0, 0),
        "bias": np.zeros(1, np.int64),
        "rescale": Rescale(np.int64(1), np.int64(0)),
        "is_wide": True,
    }
    limits = np.iinfo(dtype)
    return MatrixProduct(
        inputs=(Value("a", np.dtype(dtype), a), Value("b", np.dtype(dtype), b)),
        outputs=(Value("y", np.dtype(dtype), (a[0], b[1])),),
        zero_point=0,
        clamp=(int(limits.min), int(limits.max)),
        **(given | fields),
    )


def test_products_of_centred_int16_leave_32_bits():
    form = product((2, 3), (3, 2), zero_points=(-32768, 32767), rescale=Rescale(np.int64(1), np.int64(20)))
    a, b = np.array([[32767] * 3, [0] * 3], np.int16), np.array([[-32768, 5]] * 3, np.int16)
    (y,) = CompiledSteps([emit(step_of(form))]).run(0, a, b)
    exact = [[3 * p * q for q in (-65535, 5 - 32767)] for p in (65535, 32768)]
    np.testing.assert_array_equal(y, [[(e + (1 << 19)) >> 20 for e in row] for row in exact])


def test_sums_of_32_bits_wrap():
    form = product((1, 2), (2, 1), is_wide=False, rescale=Rescale(np.int64(1), np.int64(17)))
    (y,) = CompiledSteps([emit(step_of(form))]).run(
        0, np.full((1, 2), -32768, np.int16), np.full((2, 1), -32768, np.int16)
    )  # fmt: skip
    assert y[0, 0] == -(1 << 14)


def test_elements_that_are_too_wide_are_refused():
    with pytest.raises(UnsupportedError, match="elements of INT32 have more than 16 bits"):
        emit(step_of(product((1, 2), (2, 1), np.int32, is_wide=False)))
