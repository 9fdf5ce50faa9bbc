# SPDX-License-Identifier: Apache-2.0
"""The general kernels for functions of one value: rescales with one slope or two, tables, other types, borders."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_held, value
from tests.helpers.operators import activation, one_operator
from tests.helpers.runtimes import LAYERS
from tflm_export import rescale
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.c.forms.convert import cast, dequantize, quantize_real
from tflm_export.c.forms.lookup import lookup
from tflm_export.c.forms.requantize import prelu, requantize
from tflm_export.c.forms.scaled_curves import scaled_curve
from tflm_export.c.step import UnsupportedError
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.lowering import forms_of
from tflm_export.ops.logistic import logistic_from_table, tanh_from_table
from tflm_export.program.convert import Cast, Dequantize, QuantizeReal
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.value import limits_of

pytestmark = native.requires_gcc

TYPES = [np.int8, np.uint8, np.int16, np.int32]
ARITHMETICS = [Narrow(Grid(1)), Narrow(Grid(8)), Narrow(Grid(31)), Tflm()]


def domain(dtype) -> np.ndarray:
    """All integers of a type of up to 16 bits; of the others both ends, 0, and some of every magnitude."""
    if np.dtype(dtype).itemsize <= 2:
        return every_integer(dtype).astype(dtype)
    low, high = limits_of(dtype)
    random = np.random.default_rng(0)
    some = random.integers(low, high, 1000, np.int64) >> random.integers(0, high.bit_length(), 1000)
    return np.array([low, low + 1, -1, 0, 1, high - 1, high, *some]).astype(dtype)


def pair(x_type, y_type) -> dict:
    shape = domain(x_type).shape
    return {"inputs": (value("x", x_type, shape),), "outputs": (value("y", y_type, shape),)}


def zero_point(random, dtype) -> int:
    return int(random.choice([*limits_of(dtype), 0, 3])) if np.dtype(dtype).itemsize == 1 else 0


def check_all(emit, forms) -> None:
    assert_held(emit, [(form, [[domain(form.inputs[0].dtype)]]) for form in forms])


@pytest.mark.parametrize("x_type", TYPES)
def test_requantize(x_type):
    random, forms = np.random.default_rng(0), []
    for y_type, arithmetic, slopes in itertools.product(TYPES, ARITHMETICS, (1, 2)):
        wide, large = (np.iinfo(t).bits for t in (x_type, y_type))
        factor = 2.0 ** (large - wide + random.uniform(-2, 2 if x_type == np.int32 else 6))
        low, high = limits_of(y_type)
        below = arithmetic.rescale(factor * random.uniform(0.01, 1)) if slopes == 2 else None
        forms.append(
            Requantize(
                **pair(x_type, y_type), input_zero_point=zero_point(random, x_type), rescale=arithmetic.rescale(factor),
                below=below, below_sign=int(random.choice([1, -1])), zero_point=zero_point(random, y_type),
                clamp=(low, high) if random.random() < 0.5 else (low // 2, high // 3),
            )
        )  # fmt: skip
    check_all(requantize, forms)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_bytes_of_the_other_sign_need_no_table(arithmetic):
    """At the borders of models that were uint8."""
    forms = [
        Requantize(
            **pair(a, b), input_zero_point=za, rescale=arithmetic.rescale(1.0), zero_point=zb, clamp=limits_of(b)
        )
        for a, b, za, zb in ((np.uint8, np.int8, 128, 0), (np.int8, np.uint8, -128, 0))
    ]
    assert all(requantize(step_of(form)).constant_bytes < 16 for form in forms)
    check_all(requantize, forms)


def test_a_slope_for_all_bytes_is_a_table():
    forms = []
    for dtype, arithmetic in itertools.product((np.int8, np.uint8), ARITHMETICS):
        numbers = pair(dtype, dtype)
        alpha = value("alpha", dtype, [1], np.array([77], dtype))
        forms.append(
            Prelu(
                inputs=(*numbers["inputs"], alpha), outputs=numbers["outputs"], zero_points=(5, 3), zero_point=7,
                above=arithmetic.rescale(0.9), below=arithmetic.rescale(0.013),
            )
        )  # fmt: skip
    compiled = CompiledSteps([prelu(step_of(form)) for form in forms])
    for i, form in enumerate(forms):
        x = domain(form.inputs[0].dtype)
        np.testing.assert_array_equal(compiled.run(i, x)[0], form.evaluate(x[None], form.inputs[1].data[None])[0][0])


@pytest.mark.parametrize("wrong", [np.int32, np.int64])
def test_rescales_that_leave_their_integers_are_refused(wrong):
    form = Requantize(
        **pair(wrong, np.int8), input_zero_point=-1, rescale=Tflm().rescale(2.0**-25), zero_point=0, clamp=(-128, 127)
    )
    with pytest.raises(UnsupportedError, match="leave 32 bits"):
        requantize(step_of(form))


def test_lookup():
    """Any table at all."""
    random, forms = np.random.default_rng(1), []
    for x_type, y_type in itertools.product((np.int8, np.uint8, np.int16), TYPES):
        entries = random.integers(*limits_of(y_type), 1 << np.iinfo(x_type).bits, endpoint=True).astype(y_type)
        forms.append(Lookup(**pair(x_type, y_type), table=entries))
    check_all(lookup, forms)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_magnitudes_of_int16_need_no_table(arithmetic):
    data = one_operator("ABS", [activation(0.0003, 0, (1, 9), "INT16")], activation(0.0002, 0, (1, 9), "INT16"))
    (form,) = forms_of(next(parse(data).operators), arithmetic)
    form = Lookup(**pair(np.int16, np.int16), table=form.table, inside=form.inside)
    assert lookup(step_of(form)).constant_bytes < 16
    check_all(lookup, [form])


@pytest.mark.parametrize("name", ["LOGISTIC", "TANH"])
def test_functions_of_int16_need_the_runtimes_own_table_only(name):
    """At any scale: 512 bytes for 65,536 values, which are all the same."""
    random, forms = np.random.default_rng(2), []
    for scale in (2.0**-12, 2.0**-11, 2.0**-15, 1.5, *np.exp2(random.uniform(-20, 1, 3))):
        data = one_operator(name, [activation(scale, 0, (1, 9), "INT16")], activation(2.0**-15, 0, (1, 9), "INT16"))
        (form,) = forms_of(next(parse(data).operators), Tflm())
        forms.append(Lookup(**pair(np.int16, np.int16), table=form.table))
    for form in forms:
        assert lookup(step_of(form)).constant_bytes == 512
    check_all(lookup, forms)


@given(st.integers(1, 32767), st.integers(0, 30), st.sampled_from([logistic_from_table, tanh_from_table]))
@settings(max_examples=6)
def test_what_a_function_was_multiplied_with_is_found_again(multiplier, shift, function):
    table = function((every_integer(np.int16) * multiplier + ((1 << shift) >> 1)) >> shift)
    found = scaled_curve(table)
    np.testing.assert_array_equal(found.evaluate(every_integer(np.int16)), table)
    assert found.shift <= shift


def test_a_table_that_is_no_function_of_the_runtimes_is_kept():
    table = logistic_from_table(3 * every_integer(np.int16)).astype(np.int16)
    table[40000] += 1
    step = lookup(step_of(Lookup(**pair(np.int16, np.int16), table=table)))
    assert step.constant_bytes == 1 << 17
    assert "131072 bytes" in step.note


def test_cast():
    types = [*TYPES, np.int64]
    check_all(cast, [Cast(**pair(a, b)) for a, b in itertools.product(types, [*types, np.float32])])


def reals(scale: float) -> np.ndarray:
    """Halves and their neighbours, numbers of all magnitudes, what is infinite, and what is no number."""
    halves = (np.arange(-520, 521) / 2).astype(np.float32) * np.float32(scale)
    near = [np.nextafter(halves, np.float32(end)) for end in (-np.inf, np.inf)]
    large = [2.0**i for i in range(-149, 128)] + [0.49999997, 8388607.5, 16777216.0, 2147483520.0, np.inf]
    large += np.random.default_rng(0).normal(size=500).tolist()
    found = np.concatenate([halves, *near, np.array(large), -np.array(large)])
    return np.array([*found, 0.0, -0.0, np.nan, np.copysign(np.nan, -1)], np.float32)


def test_quantize_from_real_numbers():
    cases = []
    for y_type, scale in itertools.product(TYPES, (1.0, 0.0078125, 0.0235294, 1e-30, 3e30, 1e-42)):
        x = reals(scale)
        zero = int(np.random.default_rng(0).integers(*limits_of(y_type)))
        form = QuantizeReal(
            inputs=(value("x", np.float32, x.shape),), outputs=(value("y", y_type, x.shape),),
            scale=float(np.float32(scale)), zero_point=zero,
        )  # fmt: skip
        cases.append((form, [[x]]))
    assert_held(quantize_real, cases)


def test_what_is_no_number_gives_the_zero_point():
    """In a step, which takes nothing that numpy would warn of."""
    x, y = value("x", np.float32, [5]), value("y", np.int8, [5])
    form = QuantizeReal(inputs=(x,), outputs=(y,), scale=1e-3, zero_point=5)
    (found,) = step_of(form).evaluate(np.array([[np.nan, np.inf, -np.inf, 3e38, -3e38]], np.float32))
    assert found.tolist() == [[5, 127, -128, 127, -128]]


def test_dequantize():
    """In float where that is the same as in double, and in double."""
    forms = []
    for x_type, scale in itertools.product([*TYPES, np.int64], (1.0, 0.0235294, 1e-38, 3e-42, 1e18, 0.1)):
        exact = scale if scale == 0.1 else float(np.float32(scale))
        zeros = [*limits_of(x_type), 0]
        forms += [Dequantize(**pair(x_type, np.float32), scale=exact, zero_point=zero) for zero in zeros]
    names = [dequantize(step_of(form)).statements[0].partition("(")[0] for form in forms]
    assert {"narrow_dequantize", "narrow_dequantize_wide"} == set(names)
    check_all(dequantize, forms)


@pytest.mark.parametrize("runtime", LAYERS)
@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_borders_as_the_runtimes_have_them(kind, runtime):
    """QUANTIZE and DEQUANTIZE of a file, with scales that floats do not hold, numbers that saturate, and halves."""
    dtype, random = kind.lower(), np.random.default_rng(0)
    shape = {"shape": [1, 3000], "type": "FLOAT32"}
    for scale in (0.0235, 0.25):
        integer = activation(scale, 0 if kind == "INT16" else 5, (1, 3000), kind)
        reals = scale * np.iinfo(dtype).max * random.normal(size=(1, 3000))
        reals[0, ::2] = np.rint(reals[0, ::2] / scale * 2) / 2 * scale
        integers = random.integers(*limits_of(dtype), (1, 3000))
        for name, before, after, x, emit in (
            ("QUANTIZE", shape, integer, reals.astype(np.float32), quantize_real),
            ("DEQUANTIZE", integer, shape, integers.astype(dtype), dequantize),
        ):
            data = one_operator(name, [before], after)
            (form,) = forms_of(next(parse(data).operators), Narrow(Grid(8)))
            found = CompiledSteps([emit(step_of(form))]).run(0, x)[0]
            (expected,) = LAYERS[runtime](data, [[x]]).values()
            np.testing.assert_array_equal(found, expected.reshape(found.shape))


def test_stock_rescales_stay_stock():
    """Two roundings in C, where the narrow one gives something else."""
    numbers = pair(np.int16, np.int16)
    stock, once = Tflm().rescale(0.37), rescale.decompose(0.37, 8)
    for rescaler, rounding in ((stock, "NARROW_TWICE"), (once, "NARROW_ONCE")):
        form = Requantize(**numbers, input_zero_point=0, rescale=rescaler, zero_point=0, clamp=(-32768, 32767))
        assert rounding in " ".join(requantize(step_of(form)).statements)


@native.requires_gpp
@pytest.mark.parametrize(("flag", "cpp"), [("-O0", False), ("-Og", False), ("-O3", False), ("-O2", True)])
def test_other_compilers_and_levels_of_optimisation(flag, cpp):
    once, twice = (arithmetic.rescale(0.37) for arithmetic in (Narrow(Grid(8)), Tflm()))
    plain = {"input_zero_point": 0, "zero_point": 0, "clamp": (-32768, 32767)}
    curve = Lookup(**pair(np.int16, np.int16), table=logistic_from_table(3 * every_integer(np.int16)).astype(np.int16))
    emit = {
        Requantize(**pair(np.int16, np.int16), **plain, rescale=once): requantize,
        Requantize(**pair(np.int16, np.int16), **plain, rescale=once, below=twice): requantize,
        curve: lookup,
        Cast(**pair(np.int16, np.float32)): cast,
        Cast(**pair(np.int64, np.uint8)): cast,
        Dequantize(**pair(np.uint8, np.float32), scale=0.25, zero_point=9): dequantize,
        Dequantize(**pair(np.int32, np.float32), scale=0.1, zero_point=9): dequantize,
    }
    integers = [(form, [[domain(form.inputs[0].dtype)]]) for form in emit]
    assert_held(lambda step: emit[step.form](step), integers, flag, cpp=cpp)
    x = reals(0.5)
    sides = {"inputs": (value("x", np.float32, x.shape),), "outputs": (value("y", np.int16, x.shape),)}
    assert_held(quantize_real, [(QuantizeReal(**sides, scale=0.5, zero_point=3), [[x]])], flag, cpp=cpp)
