# SPDX-License-Identifier: Apache-2.0
"""uint8 programs in int8: every form gives the same less 128, and every network the same."""

import numpy as np
import pytest

from tests.helpers import corpus
from tests.helpers.held_forms import random_input
from tests.helpers.random_forms import Draw
from tflm_export import narrow
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.lowering import lower
from tflm_export.program import gather, passes
from tflm_export.program.aligned_sum import AlignedSum, RescaledSum
from tflm_export.program.convert import Cast, Dequantize, QuantizeReal
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.move import padded
from tflm_export.program.passes import uint8
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.product import Product
from tflm_export.program.program import Block, Origin, Program, Step
from tflm_export.program.reduction import Extreme, Mean, Position, Total
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.softmax import Softmax
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Windows, axis_of, points
from tflm_export.rescale import Rescale

U8, I32, REAL = np.uint8, np.int32, np.float32
IMAGE = (2, 4, 5, 3)
MODELS = ("coral__mobilenet_v1_0.25_128_quant", "tflite-support__mobilenet_v1_0.25_224_quant")


def value(name: str, dtype=U8, shape=IMAGE) -> Value:
    return Value(name, np.dtype(dtype), shape)


def rescale(draw: Draw, largest: float, count: int = 1) -> Rescale:
    return draw.rescaler(largest, 128, count, kind="narrow")


def whole(**change) -> Windows:
    """One window over the image, or what is asked for."""
    sizes = [axis_of(IMAGE[i], **({"kernel": IMAGE[i], "stride": 1, "dilation": 1, "same": False} | change))
             for i in (1, 2)]  # fmt: skip
    return Windows(*sizes)


def sums(draw: Draw) -> list:
    ends = {"zero_point": draw.zero_point(U8), "clamp": draw.clamp(U8)}
    zeros = {"zero_points": (draw.zero_point(U8), draw.zero_point(U8))}
    x, both = (value("x"),), (value("x"), value("b"))
    windows = whole(kernel=3, same=draw.flag(), stride=draw.size(2))
    shape = (2, windows.height.output, windows.width.output, 4)
    kernel = draw.integers(U8, (1, 4, 3, 3, 3)).astype(np.int16) - draw.zero_point(U8)
    convolution = {"bias": draw.integers(np.int16, 4).astype(np.int64), "input_zero_point": draw.zero_point(U8)}
    dense = {"weights": draw.integers(np.int8, (1, 4, 1, 1, 3)), "windows": points(40)}
    aligned = {"factors": (3, -5), "start": int(draw.integers(np.int16, ())), "shift": draw.size(6)}
    y = (value("y"),)
    return [
        WeightedSum(inputs=x, outputs=(value("y", U8, shape),), weights=kernel, windows=windows,
                    rescale=rescale(draw, 3e5, 4), **convolution, **ends),
        WeightedSum(inputs=x, outputs=(value("y", U8, (40, 4)),), rescale=rescale(draw, 6e4), **dense, **convolution,
                    **ends),
        AlignedSum(inputs=both, outputs=y, terms=Rescale(np.array([3, 5]), np.array([2, 2])), clamp=ends["clamp"],
                   **aligned, **zeros),
        RescaledSum(inputs=both, outputs=y, left_shift=7, signs=(1, draw.one([1, -1])),
                    to_common=(rescale(draw, 255), rescale(draw, 255)), to_output=rescale(draw, 255), **zeros, **ends),
        Product(inputs=both, outputs=y, rescale=rescale(draw, 6e4), **zeros, **ends),
        MatrixProduct(inputs=(value("x", U8, (4, 5)), value("b", U8, (5, 3))), outputs=(value("y", U8, (4, 3)),),
                      transposed=(False, False), bias=np.zeros(1, np.int64), rescale=rescale(draw, 1e5), **zeros,
                      **ends),
    ]  # fmt: skip


def one_value(draw: Draw) -> list:
    x, y, zero = (value("x"),), (value("y"),), draw.zero_point(U8)
    clamp, pooled = draw.clamp(U8), value("y", U8, (2, 2, 2, 3))
    slopes = {"above": rescale(draw, 255), "below": rescale(draw, 6e4), "zero_point": zero}
    return [
        Requantize(inputs=x, outputs=y, input_zero_point=zero, rescale=rescale(draw, 255), below=rescale(draw, 255),
                   below_sign=draw.one([1, -1]), zero_point=draw.zero_point(U8), clamp=clamp),
        Requantize(inputs=x, outputs=(value("y", np.int16),), input_zero_point=zero, rescale=rescale(draw, 255),
                   zero_point=5, clamp=(-200, 200)),
        Prelu(inputs=(*x, value("b")), outputs=y, zero_points=(zero, 7), **slopes),
        Lookup(inputs=x, outputs=y, table=draw.integers(U8, 256)),
        Softmax(inputs=x, outputs=y, exponentials=np.rint(np.exp(-np.arange(256) / 9) * 2.0**31 - 1).astype(np.int64)),
        AveragePool(inputs=x, outputs=(value("y", U8, (2, 1, 1, 3)),), windows=whole(), clamp=(0, 255)),
        MaxPool(inputs=x, outputs=(pooled,), windows=whole(kernel=2, stride=2), clamp=clamp),
        QuantizeReal(inputs=(value("x", REAL),), outputs=y, scale=0.3, zero_point=zero),
        Dequantize(inputs=x, outputs=(value("y", REAL),), scale=0.3, zero_point=zero),
    ]  # fmt: skip


def reductions(draw: Draw) -> list:
    x, y, zero = (value("x"),), (value("y", U8, (2, 3)),), draw.zero_point(U8)
    own = {"input_zero_point": zero, "rescale": rescale(draw, 5000), "axes": (1, 2)}
    return [
        Mean(inputs=x, outputs=y, factor=3, start=int(draw.integers(np.int16, ())), divisor=draw.size(70), **own),
        Total(inputs=x, outputs=y, zero_point=draw.zero_point(U8), **own),
        Extreme(inputs=x, outputs=y, axes=(1, 2), is_largest=draw.flag()),
        Position(inputs=x, outputs=(value("y", I32, (2, 4, 5)),), axes=(3,), is_largest=draw.flag()),
    ]


def moves(draw: Draw) -> list:
    x, y = value("x"), value("y")
    border, where = value("y", U8, (2, 6, 6, 3)), Value("i", np.dtype(I32), (2,), data=np.array([1, 0], I32))
    inner = value("b", U8, (1, 2, 2, 3))
    begin = Value("at", np.dtype(I32), (4,), data=np.array([1, 1, 2, 0], I32))
    larger = {"function": draw.one(["maximum", "minimum"]), "clamp": draw.one([None, draw.clamp(U8)])}
    return [
        padded(x, border, (0, 1, 0, 0), draw.zero_point(U8)),
        gather.Gather(inputs=(x, where), outputs=(value("y", U8, (2, 2, 5, 3)),), axis=1, shared=0),
        gather.GatherNd(inputs=(x, where), outputs=(value("y", U8, (5, 3)),)),
        gather.Update(inputs=(x, inner, begin), outputs=(y,)),
        Elementwise(inputs=(x, value("b")), outputs=(y,), **larger),
    ]


KINDS = (sums, one_value, reductions, moves)


def less(array: np.ndarray) -> np.ndarray:
    return (array.astype(np.int64) - 128).astype(np.int8) if array.dtype == U8 else array


def inputs_of(form, random) -> list[np.ndarray]:
    return [random.normal(0, 60, v.shape).astype(REAL) if v.dtype == REAL else random_input(random, v)
            for v in form.inputs]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(8))
def test_a_form_of_int8_gives_the_same_less_128(kind, seed):
    draw = Draw(seed)
    for form in kind(draw):
        as_int8 = [tuple(v if v.dtype != U8 else Value(v.name, np.dtype(np.int8), v.shape) for v in values)
                   for values in (form.inputs, form.outputs)]  # fmt: skip
        made = uint8.change_of(form)(*as_int8)
        for _ in range(4):
            arrays = inputs_of(form, draw.random)
            (expected,) = form.evaluate(*(array[None] for array in arrays))
            (found,) = made.evaluate(*(less(array)[None] for array in arrays))
            assert found.dtype == less(expected).dtype
            np.testing.assert_array_equal(found, less(expected), str(form))


def test_every_form_that_changes_is_tested():
    assert {type(form) for kind in KINDS for form in kind(Draw(0))} == set(uint8._CHANGES)


@pytest.mark.parametrize("change", [{"kernel": 2}, {"stride": 2, "kernel": 3, "same": True}])
def test_means_of_other_windows_stay(change):
    """Halves of negative sums would go the other way."""
    windows = whole(**change)
    shape = (2, windows.height.output, windows.width.output, 3)
    form = AveragePool(inputs=(value("x"),), outputs=(value("y", U8, shape),), windows=windows, clamp=(0, 255))
    assert uint8.change_of(form) is None


def program_of(*forms) -> Program:
    steps = [Step(Origin(0, i, "OPERATOR", form.output.name, "operator"), form) for i, form in enumerate(forms)]
    outputs = tuple(form.output for form in forms)
    return Program((Block(forms[0].inputs, outputs, tuple(steps)),))


def test_what_stays_uint8_is_made_of_int8_and_back():
    """A sum, a cast of what it gives, which has no form in int8, and a sum of that as uint8 again."""
    draw = Draw(3)
    first = sums(draw)[1]
    sixteen = Cast(inputs=(first.output,), outputs=(Value("wide", np.dtype(np.int16), (40, 4)),))
    again = Cast(inputs=sixteen.outputs, outputs=(Value("again", np.dtype(U8), (40, 4)),))
    largest = Elementwise(
        inputs=(again.output, first.output), outputs=(Value("z", np.dtype(U8), (40, 4)),), function="maximum"
    )
    before = program_of(first, sixteen, again, largest)
    after = passes.signed(before)
    x = [random_input(draw.random, before.main.inputs[0])[None]]
    expected, found = before.run(x), after.run(x)
    for output in before.main.outputs:
        np.testing.assert_array_equal(found[output.key], expected[output.key])
    assert {step.form.inputs[0].dtype for step in after.main.steps if isinstance(step.form, WeightedSum)} == {
        np.dtype(np.int8)
    }


def test_programs_without_sums_of_uint8_stay():
    program = program_of(*moves(Draw(0))[:1])
    assert passes.signed(program) is program
    integers = every_integer(U8)
    assert integers[0] == 0


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bits", [1, 8, None])
def test_networks(name, bits):
    data = corpus.read(f"models/{name}")
    data, arithmetic = (data, Tflm()) if bits is None else (narrow(data, bits)[0], Narrow(Grid(bits)))
    before = passes.simplified(lower(parse(data), arithmetic))
    after = passes.signed(before)
    (x,), random = before.main.inputs, np.random.default_rng(0)
    rows = np.stack([random_input(random, x) for _ in range(3)])
    (y,) = before.main.outputs
    np.testing.assert_array_equal(after.run([rows])[y.key], before.run([rows])[y.key])
    forms = [step.form for step in after.main.steps]
    assert all(form.inputs[0].dtype == np.int8 for form in forms if isinstance(form, WeightedSum))
