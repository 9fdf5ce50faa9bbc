# SPDX-License-Identifier: Apache-2.0
"""ADD, MUL, QUANTIZE, tables and clamps against their definition."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.c_internals import Epilogue, Sums, emitted, fold
from tests.helpers.layers import INT8, INT32_MAX, SCALES, ZERO_POINTS, fits, half, images
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import rescale
from tflm_export.flatbuffer.model import parse

pytestmark = native.requires_gcc

ALL = np.arange(-128, 128).astype(np.int8)
STOCK_MULTIPLIERS = st.one_of(st.integers(1 << 30, INT32_MAX), st.sampled_from([1 << 30, INT32_MAX]))  # one makes ties


def int8(values) -> np.ndarray:
    return np.array(values, np.int8)


@given(
    st.tuples(SCALES, SCALES, SCALES), st.tuples(INT8, INT8, INT8), st.sampled_from([1, 2, 4, 8, 16, 31]),
    st.integers(1, 3), st.integers(0, 2**32 - 1), st.sampled_from([1, -1]),
)  # fmt: skip
def test_add_and_sub(scales, zeros, bits, repeats, seed, sign):
    """Through the exporter's own numbers: the call it writes is parsed back."""
    random = np.random.default_rng(seed)
    builder = TFLiteBuilder()
    shape = [1, 1, repeats, 5]
    a = builder.input(shape, scale=scales[0], zero_point=zeros[0], name="a")
    b = builder.input([5] if repeats > 1 else shape, scale=scales[1], zero_point=zeros[1], name="b")
    y = builder.derived("ADD" if sign > 0 else "SUB", [a, b], scale=scales[2], zero_point=zeros[2])
    (operator,) = parse(builder.build([a, b], y)).operators
    (call,) = emitted(operator, bits).statements
    function, _, rest = call.rstrip(");").partition("(")
    numbers = [int(n.removesuffix("LL")) for n in rest.split(", ")[:6]]
    wide = function.endswith("wide")
    arguments = [*numbers[:2], *map(native.ctypes.c_int64, numbers[2:5]), numbers[5]] if wide else numbers
    left, right = (random.choice([-128, -1, 0, 5, 127], n).astype(np.int8) for n in (5 * repeats, 5))
    output = native.call(function, *arguments, left, right, output_size=5 * repeats)
    factors = np.float64(np.float32(scales[:2])) / np.float64(np.float32(scales[2]))
    fa, fb = (definition.factor(*definition.held(factor, bits)) for factor in factors)
    wanted = [
        definition.saturate(
            zeros[2] + definition.half_up((int(p) - zeros[0]) * fa + sign * (int(q) - zeros[1]) * fb)
        )
        for p, q in zip(left, np.tile(right, repeats), strict=True)
    ]  # fmt: skip
    assert output.tolist() == wanted


@given(st.sampled_from([1, 4, 8, 31]), st.floats(1e-6, 2.0), st.booleans(), INT8, INT8, INT8)
def test_mul(bits, factor, narrowed, za, zb, zy):
    factor = rescale.decompose(factor, bits).value if narrowed else factor
    multiplier, shift = definition.held(factor, bits)
    ends = [p * q for p in (-128 - za, 127 - za) for q in (-128 - zb, 127 - zb)]
    low, high = min(ends), max(ends)
    reached = Sums([0], [max(-low, high)], [low], [high])
    a, b = np.repeat(ALL[::17], 16), np.tile(ALL[::17], 16)
    products = (a.astype(np.int64) - za) * (b.astype(np.int64) - zb)
    zeros = np.array([za, zb], np.int32)
    for rounding in ("narrow", "tflm"):
        folded = fold(np.array([factor]), bits, rounding, reached, zy)
        if folded.dead.any():
            continue
        structure = native.rescale_of(folded)
        output = native.call(
            f"narrow_mul_{folded.epilogue.value}", 1, len(a), zeros, structure, a, b, output_size=len(a)
        )  # fmt: skip
        if rounding == "narrow":
            wanted = definition.outputs(definition.narrow_rescale, products, multiplier, shift, zy)
        else:
            stock = definition.stock_multiplier(factor)
            wanted = definition.outputs(definition.stock_rescale, products, *stock, zy)
        np.testing.assert_array_equal(output, wanted)


@st.composite
def operands(draw):
    """Repeats, count, a [repeats * count] and b [count]; counts of 0 and 1 among them."""
    repeats, count = draw(st.integers(1, 3)), draw(st.sampled_from([0, 1, 2, 3, 5, 16, 200]))
    return repeats, count, images(draw, repeats * count, 0), images(draw, count, 0)


@st.composite
def magnitudes(draw, limit: int) -> int:
    """Up to a limit, of either sign, of every order of magnitude alike; the limit itself among them."""
    size = draw(st.integers(0, limit.bit_length()).flatmap(lambda bits: st.integers(0, min(limit, 1 << bits))))
    return draw(st.sampled_from([size, size, limit])) * draw(st.sampled_from([1, -1]))


def sums(a, b, zeros, factors) -> np.ndarray:
    """(a - Za) * factor_a + (b - Zb) * factor_b in exact integers; b is used again for each repeat."""
    b = np.resize(b, len(a))
    return (a.astype(object) - zeros[0]) * factors[0] + (b.astype(object) - zeros[1]) * factors[1]


@pytest.mark.sweep(3)
@pytest.mark.parametrize(("function", "bits", "widest"), [("narrow_add", 31, 31), ("narrow_add_wide", 62, 62)])
@given(st.data())
def test_add_over_all_that_fits(function, bits, widest, data):
    """Factors of any sign, up to where the sum would leave 32 or 64 bits."""
    repeats, count, a, b = data.draw(operands())
    zeros, shift = [data.draw(ZERO_POINTS) for _ in range(3)], data.draw(st.integers(0, widest))
    while not -(1 << bits) <= half(shift) + (zeros[2] << shift) < 1 << bits:
        shift -= 1
    constant = half(shift) + (zeros[2] << shift)
    most = ((1 << bits) - 1 - abs(constant)) // 512 // 2  # 128 * and zero point *, of two terms
    factors = [data.draw(magnitudes(most)) for _ in range(2)]
    start = constant - zeros[0] * factors[0] - zeros[1] * factors[1]
    numbers = [*factors, start]
    if bits > 31:
        numbers = [native.ctypes.c_int64(n) for n in numbers]
    output = native.call(function, repeats, count, *numbers, shift, a, b, output_size=len(a))
    total = sums(a, b, zeros, factors)
    np.testing.assert_array_equal(output, definition.outputs(definition.narrow_rescale, total, 1, shift, zeros[2]))


@given(
    operands(), st.tuples(*[ZERO_POINTS] * 3), st.booleans(), st.tuples(*[STOCK_MULTIPLIERS] * 2),
    st.one_of(st.integers(1, 4), st.integers(1, 31)), st.integers(-2, 31),
)  # fmt: skip
# Terms that cancel: what is lost of one of them is all that is left.
@example((1, 2, int8([-1, 1]), int8([2, -2])), (0, 0, 0), True, (1 << 30, INT32_MAX), 1, 0)
@example((1, 2, int8([2, -2]), int8([-1, 1])), (0, 0, 0), False, (1 << 30, INT32_MAX), 1, 0)
def test_add_stock(case, zeros, first_is_larger, multipliers, term_shift, shift):
    """TFLM's own scheme: the larger scale over twice itself, so that one of both multipliers is a half."""
    repeats, count, a, b = case
    terms = [(1 << 30, 0), (multipliers[0], term_shift)]
    terms = [*(terms if first_is_larger else terms[::-1]), (multipliers[1], shift)]
    given_multipliers, shifts = (np.array(v) for v in zip(*terms, strict=True))
    output = native.call(
        "narrow_add_stock", repeats, count, given_multipliers.astype(np.int32), shifts.astype(np.int8),
        np.array(zeros, np.int32), a, b, output_size=len(a),
    )  # fmt: skip
    stock = np.frompyfunc(definition.stock_rescale, 3, 1)
    parts = zip((a, np.resize(b, len(a))), zeros, terms, strict=False)
    total = sum(stock((part.astype(np.int64) - zero) << 20, *term) for part, zero, term in parts)
    wanted = definition.outputs(definition.stock_rescale, total, *terms[2], zeros[2])
    np.testing.assert_array_equal(output, wanted)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("epilogue", list(Epilogue))
@given(operands(), st.tuples(*[ZERO_POINTS] * 3), st.data())
def test_mul_over_all_that_fits(epilogue, case, zeros, data):
    repeats, count, a, b = case
    most = 255 * 255  # of a product
    shifts = {Epilogue.WIDE: (0, 62), Epilogue.STOCK: (-14, 31)}.get(epilogue, (0, 31))
    shift = data.draw(st.one_of(st.integers(0, 12), st.integers(*shifts)))
    multiplier, fields = 1, {}
    if epilogue in (Epilogue.SHIFT, Epilogue.MULTIPLY):
        while not fits(*(half(shift) + (zeros[2] << shift) + sign * most for sign in (1, -1))):
            shift -= 1
        constant = half(shift) + (zeros[2] << shift)
        if epilogue is Epilogue.MULTIPLY:
            largest = (INT32_MAX - abs(constant)) // most
            multiplier = data.draw(st.one_of(st.integers(0, largest), st.just(largest)))
            fields = {"fold": [constant]}
    else:
        ends = (1 << 30, INT32_MAX) if epilogue is Epilogue.STOCK else (0, INT32_MAX)
        multiplier = data.draw(st.one_of(st.integers(*ends), st.sampled_from(ends)))
    start = constant if epilogue is Epilogue.SHIFT else 0
    zero = zeros[2] if epilogue in (Epilogue.WIDE, Epilogue.STOCK) else 0
    structure = native.Rescale(zero, start=[start], multiplier=[multiplier], shift=[shift], **fields)
    zero_points = np.array(zeros[:2], np.int32)
    output = native.call(
        f"narrow_mul_{epilogue.value}", repeats, count, zero_points, structure, a, b, output_size=len(a)
    )  # fmt: skip
    products = (a.astype(np.int64) - zeros[0]) * (np.resize(b, len(a)).astype(np.int64) - zeros[1])
    rescale_ = definition.stock_rescale if epilogue is Epilogue.STOCK else definition.narrow_rescale
    np.testing.assert_array_equal(output, definition.outputs(rescale_, products, multiplier, shift, zeros[2]))


def assert_equals(function: str, *arguments, input_: np.ndarray, wanted) -> None:
    """Into an output, and in place."""
    for in_place in (False, True):
        output = native.call(function, len(input_), *arguments, input_, output_size=len(input_), in_place=in_place)
        np.testing.assert_array_equal(output, wanted, f"in place: {in_place}")


@given(st.integers(0, 31), ZERO_POINTS, ZERO_POINTS, st.data())
def test_quantize(shift, zx, zy, data):
    while not fits(half(shift) + (zy << shift)):
        shift -= 1
    constant = half(shift) + (zy << shift)
    factor = abs(data.draw(magnitudes((INT32_MAX - abs(constant)) // 256)))
    wanted = definition.outputs(definition.narrow_rescale, ALL.astype(np.int64) - zx, factor, shift, zy)
    assert_equals("narrow_quantize", factor, constant - zx * factor, shift, input_=ALL, wanted=wanted)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 200, 256]))
def test_lookup(seed, count):
    random = np.random.default_rng(seed)
    table, x = random.integers(-128, 128, (2, 256)).astype(np.int8)
    x = ALL if count == 256 else x[:count]
    assert_equals("narrow_lookup", table, input_=x, wanted=table[x.astype(int) + 128])


@given(st.tuples(INT8, INT8).map(sorted), st.sampled_from([0, 1, 3, 4, 7, 255, 256]))
@example([-128, 127], 256)
@example([-128, -128], 256)
@example([-128, 41], 256)
@example([127, 127], 256)
def test_clamp(ends, count):
    """Words, and what begins or ends beside one."""
    low, high = map(native.ctypes.c_int8, ends)
    assert_equals("narrow_clamp", low, high, input_=ALL[:count], wanted=np.clip(ALL[:count], *ends))


@pytest.mark.parametrize(("ends", "wanted"), [(([127, -128], [127, -128]), [127, 0]), (([-128], [-128]), [0])])
def test_add_stock_at_the_largest_terms(ends, wanted):
    """Both factors one half, both terms at their ends: the sum still fits."""
    (multipliers, shifts) = zip(*map(definition.stock_multiplier, (0.5, 0.5, 2.0**-18)), strict=True)
    a, b = map(int8, ends)
    output = native.call(
        "narrow_add_stock", 1, len(a), np.array(multipliers, np.int32), int8(shifts),
        np.array([-128, -128, 0], np.int32), a, b, output_size=len(a),
    )  # fmt: skip
    assert output.tolist() == wanted
