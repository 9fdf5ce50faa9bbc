"""ADD, MUL, QUANTIZE, tables and clamps against their definition."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.c_internals import Sums, emitted, fold
from tests.helpers.layers import SCALES
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import rescale
from tflm_export.flatbuffer.model import parse

pytestmark = native.requires_gcc

INT8 = st.integers(-128, 127)
ALL = np.arange(-128, 128).astype(np.int8)


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
    sums = Sums([0], [max(-low, high)], [low], [high])
    a, b = np.repeat(ALL[::17], 16), np.tile(ALL[::17], 16)
    products = (a.astype(np.int64) - za) * (b.astype(np.int64) - zb)
    zeros = np.array([za, zb], np.int32)
    for rounding in ("narrow", "tflm"):
        folded = fold(np.array([factor]), bits, rounding, sums, zy)
        if folded.dead.any():
            continue
        structure, arrays = native.rescale_struct(folded)
        output = native.call(
            f"narrow_mul_{folded.epilogue.value}", 1, len(a), zeros, structure, a, b, output_size=len(a)
        )  # fmt: skip
        assert arrays
        if rounding == "narrow":
            wanted = definition.narrow(products[:, None], [multiplier], [shift], zy)[:, 0]
        else:
            stock = rescale.multiply_by_quantized_multiplier_double(products, rescale.quantize_multiplier(factor))
            wanted = np.clip(stock + zy, -128, 127)
        np.testing.assert_array_equal(output, wanted)


@given(st.integers(1, 256), st.integers(0, 20), INT8, INT8)
def test_quantize(factor, shift, zx, zy):
    start = ((1 << shift) >> 1) + (zy << shift) - zx * factor
    output = native.call("narrow_quantize", 256, factor, start, shift, ALL, output_size=256)
    scale = Fraction(factor, 1 << shift)
    assert output.tolist() == [definition.saturate(zy + definition.half_up((int(x) - zx) * scale)) for x in ALL]


def test_lookup():
    table = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    output = native.call("narrow_lookup", 256, table, ALL, output_size=256)
    np.testing.assert_array_equal(output, table)


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (-128, -128), (127, 127), (-3, 40), (0, 0)])
def test_clamp(low, high):
    ends = native.ctypes.c_int8(low), native.ctypes.c_int8(high)
    output = native.call("narrow_clamp", 256, *ends, ALL, output_size=256)
    np.testing.assert_array_equal(output, np.clip(ALL, low, high))


def test_add_stock_at_the_largest_terms():
    """Both factors one half, both terms at their ends: the sum still fits."""
    stock = rescale.quantize_multiplier(np.array([0.5, 0.5, 2.0**-18]))
    multipliers, shifts = stock.multiplier.astype(np.int32), (stock.shift - 31).astype(np.int8)
    zeros = np.array([-128, -128, 0], np.int32)
    output = native.call(
        "narrow_add_stock", 1, 2, multipliers, shifts, zeros, int8([127, -128]), int8([127, -128]), output_size=2
    )  # fmt: skip
    assert output.tolist() == [127, 0]
