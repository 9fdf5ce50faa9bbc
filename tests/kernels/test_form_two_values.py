# SPDX-License-Identifier: Apache-2.0
"""The general kernels for functions of two values: any types, any broadcasting, factors of every kind."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_held, value
from tflm_export import rescale
from tflm_export.arithmetic import Narrow, Target, Terms, Tflm
from tflm_export.c import broadcast
from tflm_export.c.forms.requantize import prelu
from tflm_export.c.forms.two_values import aligned_sum, elementwise, product, rescaled_sum
from tflm_export.c.step import UnsupportedError
from tflm_export.grid import Grid
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.elementwise import FUNCTIONS, Elementwise
from tflm_export.program.product import Product
from tflm_export.program.requantize import Prelu
from tflm_export.program.value import Value, limits_of
from tflm_export.rescale import Rescale, RoundingShift, StockRescale, WideNarrowRescale, WideStockRescale

INTEGERS = [np.int8, np.uint8, np.int16, np.int32, np.int64]
SMALL = [np.int8, np.uint8, np.int16]
ARITHMETICS = [Narrow(Grid(1)), Narrow(Grid(8)), Narrow(Grid(31)), Tflm()]


def shapes(random) -> tuple[list[int], list[int], list[int]]:
    """Two shapes that broadcast, of any ranks, and what they give."""
    y = random.integers(1, 5, random.integers(0, 6)).tolist()
    first, second = ([1 if random.random() < 0.4 else n for n in y] for _ in range(2))
    while second and second[0] == 1 and random.random() < 0.7:
        second.pop(0)
    return first, second, list(np.broadcast_shapes(first, second))


def values(random, *dtypes) -> tuple[Value, Value, Value]:
    sides = shapes(random)
    swapped = (*sides[:2][:: random.choice([-1, 1])], sides[2])
    return tuple(value(name, dtype, side) for name, dtype, side in zip("aby", dtypes, swapped, strict=True))


def integers(random, x: Value) -> np.ndarray:
    """Of all magnitudes alike, both ends among them."""
    low, high = x.limits
    bits = random.integers(0, high.bit_length() + 1, x.shape)
    some = random.integers(low, high, x.shape, np.int64, endpoint=True) >> (high.bit_length() - bits)
    ends = random.choice([low, high], x.shape)
    return np.where(random.random(x.shape) < 0.2, ends, some).astype(x.dtype)


def cases(random, form, count: int = 3) -> list[list[np.ndarray]]:
    return [[integers(random, x) for x in form.inputs] for _ in range(count)]


def zero_points(random, *dtypes) -> list[int]:
    """0 for int16 and more, as the runtimes have it."""
    return [int(random.choice([*limits_of(d), 0, 3])) if np.dtype(d).itemsize == 1 else 0 for d in dtypes]


def clamp(random, dtype) -> tuple[int, int]:
    limits = limits_of(dtype)
    middle = int(random.integers(*limits))
    return [limits, (middle, limits[1]), (limits[0], middle), (middle, middle)][random.integers(4)]


@given(st.integers(0, 2**32 - 1))
def test_walks_find_every_element(seed):
    first, second, y = shapes(np.random.default_rng(seed))
    found = broadcast.walk((first, second), y)
    assert math.prod(found.sizes) == math.prod(y)
    index = np.indices(found.sizes)
    for own, strides in zip((first, second), found.strides, strict=True):
        places = np.tensordot(np.array(strides), index, 1)
        wanted = np.broadcast_to(np.arange(math.prod(own)).reshape(own), y)
        np.testing.assert_array_equal(places.reshape(-1), wanted.reshape(-1))


@pytest.mark.parametrize(
    ("sides", "sizes"),
    [
        (([4, 5, 6], [4, 5, 6]), (120,)),
        (([4, 5, 6], [6]), (20, 6)),
        (([4, 5, 6], [1, 1, 1]), (120,)),
        (([4, 5, 6], [4, 1, 1]), (4, 30)),
        (([4, 1, 6], [4, 5, 1]), (4, 5, 6)),
        (([], []), (1,)),
        (([0, 3], [3]), (0, 3)),
    ],
)
def test_walks_have_as_few_axes_as_there_can_be(sides, sizes):
    assert broadcast.walk(sides, np.broadcast_shapes(*sides)).sizes == sizes


@native.requires_gcc
def test_elementwise():
    random, forms = np.random.default_rng(0), []
    for function, dtype, _ in itertools.product(FUNCTIONS, INTEGERS, range(3)):
        a, b, y = values(random, dtype, dtype, dtype)
        limits = clamp(random, dtype) if random.random() < 0.5 else None
        form = Elementwise(inputs=(a, b), outputs=(y,), function=function, clamp=limits)
        forms.append((form, cases(random, form)))
    assert_held(elementwise, forms)


@native.requires_gcc
def test_plain_sums_wrap():
    """Against Python's integers, the ends of 32 bits and of 64."""
    for bits in (32, 64):
        dtype = np.dtype(f"int{bits}")
        most = (1 << (bits - 1)) - 1
        a, b, y = (value(name, dtype, [3]) for name in "aby")
        compiled = CompiledSteps(
            [
                elementwise(step_of(Elementwise(inputs=(a, b), outputs=(y,), function=function)))
                for function in ("add", "multiply")
            ]
        )
        x = np.array([most, -most - 1, 7], dtype), np.array([1, -1, 6], dtype)
        assert compiled.run(0, *x)[0].tolist() == [-most - 1, most, 13]
        assert compiled.run(1, *x)[0].tolist() == [most, -most - 1, 42]


def sum_form(random, arithmetic, dtypes, factors, sign):
    a, b, y = values(random, *dtypes)
    terms = Terms((a, b), tuple(factors), tuple(zero_points(random, *dtypes[:2])), (1, sign), np.array(factors))
    (zero,) = zero_points(random, dtypes[2])
    return arithmetic.sum(terms, Target(y, 1.0, zero, clamp(random, dtypes[2])))


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("bits", [1, 8, 31])
def test_aligned_sums(bits):
    random, forms = np.random.default_rng(bits), []
    for dtypes, sign in itertools.product(itertools.product(SMALL, SMALL, SMALL), (1, -1)):
        factors = np.exp2(random.uniform([-8, -8], [3, 3])).tolist()
        form = sum_form(random, Narrow(Grid(bits)), dtypes, factors, sign)
        forms.append((form, cases(random, form)))
    assert_held(aligned_sum, forms)


@native.requires_gcc
def test_aligned_sums_up_to_64_bits():
    """Factors as large as there can be, shifts beyond the sum, types of 32 bits."""
    random, forms = np.random.default_rng(5), []
    for bits, dtype, shift in itertools.product((31, 63), (np.int8, np.int16, np.int32), (0, 1, 20, 31, 62, 80)):
        a, b, y = values(random, dtype, dtype, random.choice([np.int8, np.int32]))
        most = ((1 << bits) - 1) // (2 * max(-a.limits[0], 1)) // 2
        factors = tuple(int(random.integers(-most, most, endpoint=True)) if most else 0 for _ in range(2))
        start = int(random.integers(-(1 << (bits - 1)), 1 << (bits - 1)))
        form = AlignedSum(
            inputs=(a, b), outputs=(y,), factors=factors, start=start, shift=shift, clamp=y.limits,
            terms=rescale.IDENTITY, zero_points=(0, 0),
        )  # fmt: skip
        assert form.reach < 1 << bits
        forms.append((form, cases(random, form)))
    assert_held(aligned_sum, forms)


def mixed(random) -> dict:
    """Some forms of every emitter."""
    sums = [sum_form(random, Narrow(Grid(8)), [dtype] * 3, (0.9, 0.013), -1) for dtype in SMALL]
    stock = [sum_form(random, Tflm(), [dtype] * 3, (0.9, 0.013), 1) for dtype in SMALL]
    a, b, y = values(random, np.int16, np.uint8, np.int8)
    numbers = {"inputs": (a, b), "outputs": (y,), "zero_points": (0, 7), "zero_point": -3}
    first, second = (rescale.decompose(factor, 8) for factor in (0.01, 0.0001))
    products = [Product(**numbers, rescale=first, clamp=(-100, 90))]
    slopes = [Prelu(**numbers, above=first, below=second)]
    a, b, y = values(random, np.int64, np.int64, np.int64)
    plain = [Elementwise(inputs=(a, b), outputs=(y,), function=function) for function in FUNCTIONS]
    return {aligned_sum: sums, rescaled_sum: stock, product: products, prelu: slopes, elementwise: plain}


@native.requires_gcc
@native.requires_gpp
@pytest.mark.parametrize(("flag", "cpp"), [("-O0", False), ("-Og", False), ("-O3", False), ("-O2", True)])
def test_other_compilers_and_levels_of_optimisation(flag, cpp):
    random = np.random.default_rng(4)
    emitters = mixed(random)
    emit = {form: emitter for emitter, forms in emitters.items() for form in forms}
    assert_held(lambda step: emit[step.form](step), [(form, cases(random, form)) for form in emit], flag, cpp=cpp)


def test_sums_beyond_64_bits_are_refused():
    form = sum_form(np.random.default_rng(0), Narrow(Grid(31)), [np.int8] * 3, (1e15 / 3, 1e-5 / 7), 1)
    with pytest.raises(UnsupportedError, match="64-bit arithmetic"):
        aligned_sum(step_of(form))


@native.requires_gcc
def test_sums_of_stock_rescales():
    random, forms = np.random.default_rng(1), []
    for dtype, sign, _ in itertools.product(SMALL, (1, -1), range(8)):
        scales = np.exp2(random.uniform([-8, -8], [8, 8])).tolist()
        form = sum_form(random, Tflm(), [dtype] * 3, scales, sign)
        forms.append((form, cases(random, form)))
    assert_held(rescaled_sum, forms)


RESCALES = {
    np.int8: [Rescale, StockRescale, RoundingShift, WideNarrowRescale, WideStockRescale],
    np.uint8: [Rescale, StockRescale],
    np.int16: [Rescale, StockRescale, WideStockRescale],
}


def any_rescale(random, kind, largest: float):
    """A rescale of numbers up to a magnitude, of every size alike; some give 0, and some leave the output's type."""
    if kind is RoundingShift:
        return RoundingShift(int(random.integers(0, 32)))
    factor = 2.0 ** random.uniform(-8, 12) / largest
    stock = rescale.quantize_multiplier(factor)
    if kind in (StockRescale, WideStockRescale):
        return kind(stock.multiplier, stock.shift)
    found = rescale.decompose(factor, int(random.choice([1, 4, 15])))
    return kind(found.multiplier, found.shift)


@native.requires_gcc
def test_products():
    random, forms = np.random.default_rng(2), []
    for dtype, kinds in RESCALES.items():
        for kind, other, _ in itertools.product(kinds, SMALL, range(3)):
            a, b, y = values(random, dtype, other, random.choice(SMALL))
            zeros = zero_points(random, *(v.dtype for v in (a, b, y)))
            form = Product(
                inputs=(a, b), outputs=(y,), zero_points=tuple(zeros[:2]), zero_point=zeros[2],
                rescale=any_rescale(random, kind, 2.0**14), clamp=clamp(random, y.dtype),
            )  # fmt: skip
            forms.append((form, cases(random, form)))
    assert_held(product, forms)


@native.requires_gcc
def test_products_by_their_definition():
    """All pairs of int8 with steps of 17, in exact integers."""
    every = np.arange(-128, 128, 17)
    a, b = np.repeat(every, 16).astype(np.int8), np.tile(every, 16).astype(np.int8)
    x, y = value("a", np.int8, a.shape), value("y", np.int8, a.shape)
    numbers = list(itertools.product([-128, 5], [127, 0], [(3, 6), (1, 9), (200, 13), (1, -2)]))
    steps = [
        Product(
            inputs=(x, x), outputs=(y,), zero_points=(za, zb), zero_point=-3, clamp=(-128, 127),
            rescale=Rescale(*map(np.int64, factor)),
        )
        for za, zb, factor in numbers
    ]  # fmt: skip
    compiled = CompiledSteps([product(step_of(form)) for form in steps])
    for i, (za, zb, factor) in enumerate(numbers):
        products = (a.astype(int) - za) * (b.astype(int) - zb)
        wanted = definition.outputs(definition.narrow_rescale, products, *factor, -3)
        np.testing.assert_array_equal(compiled.run(i, a, b)[0], wanted)


@native.requires_gcc
def test_prelu():
    random, forms = np.random.default_rng(3), []
    for dtype, arithmetic, _ in itertools.product(SMALL, ARITHMETICS, range(3)):
        a, b, y = values(random, dtype, dtype, dtype)
        zeros = zero_points(random, dtype, dtype, dtype)
        form = Prelu(
            inputs=(a, b), outputs=(y,), zero_points=tuple(zeros[:2]), zero_point=zeros[2],
            above=arithmetic.rescale(2.0 ** random.uniform(-4, 4)),
            below=arithmetic.rescale(2.0 ** random.uniform(-12, 2)),
        )  # fmt: skip
        forms.append((form, cases(random, form)))
    assert_held(prelu, forms)


def test_products_that_leave_32_bits_are_refused_with_two_roundings():
    a, y = value("a", np.int16, [1]), value("y", np.int16, [1])
    form = Product(
        inputs=(a, a), outputs=(y,), zero_points=(-32768, -32768), zero_point=0, clamp=y.limits,
        rescale=Tflm().rescale(0.001),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="its rescale takes"):
        product(step_of(form))
