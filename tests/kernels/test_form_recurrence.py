# SPDX-License-Identifier: Apache-2.0
"""The general kernels of SVDF and LSTM, and the functions of their gates."""

import dataclasses

import numpy as np
import pytest
from tflite_micro import runtime as tflm

from tests.helpers import exact, native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_equal_forms
from tests.helpers.random_forms import Draw
from tests.tflm_export.ops import test_svdf, test_unidirectional_sequence_lstm
from tflm_export import fixed_point, kernels
from tflm_export.arithmetic import LiteRTReference, Narrow, Tflm
from tflm_export.c.forms import GENERAL
from tflm_export.c.forms.curves import curve_of
from tflm_export.c.step import UnsupportedError
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.lowering import forms_of
from tflm_export.ops.gates import FixedPointGates, TableGates
from tflm_export.program.lookup import every_integer
from tflm_export.program.recurrence import Gate, Lstm, Svdf
from tflm_export.program.value import Value
from tflm_export.rescale import Rescale

pytestmark = native.requires_gcc
EVERY = every_integer(np.int16)
RUNS = 12


def emit(step):
    return GENERAL[type(step.form)](step)


# SVDF.


def random_svdf(draw: Draw) -> Svdf:
    units, rank, memory, inputs, rows = (draw.size(n) for n in (5, 3, 5, 9, 3))
    filters, kind = units * rank, draw.one([np.int8, np.int16])
    features, time = draw.integers(np.int8, (filters, inputs)), draw.integers(kind, (filters, memory))
    first = np.abs(features.astype(np.int64)).sum(1) * 255.0
    second = np.abs(time.astype(np.int64)).sum(1).reshape(units, rank).sum(1) * 2.0 ** (8 * time.itemsize)
    bias = np.rint(draw.random.uniform(-1, 1, units) * second / 4).astype(np.int64)
    reaches = first, second + np.abs(bias)
    half = 2.0 ** (8 * time.itemsize - 1)
    zeros = (draw.zero_point(np.int8), draw.zero_point(kind), draw.zero_point(np.int8))
    state = draw.value("state", kind, (rows, filters * memory))
    return Svdf(
        inputs=(draw.value("x", np.int8, (rows, inputs)), state),
        outputs=(draw.value("y", np.int8, (rows, units)), state),
        features=features,
        time=time,
        bias=bias,
        rank=rank,
        to_state=draw.rescaler(float(reaches[0].max()) / 2, half, draw.one([1, filters])),
        to_output=draw.rescaler(float(reaches[1].max()) / 2, 128, draw.one([1, units])),
        zero_points=zeros,
        reaches=reaches,
    )


def test_any_svdf():
    draw = Draw(0)
    assert_equal_forms([random_svdf(draw) for _ in range(40)], emit, rows=5)


# LSTM.


def random_table(draw: Draw) -> np.ndarray:
    functions = [TableGates.logistic(), TableGates.tanh(-12), FixedPointGates.logistic(), FixedPointGates.tanh(-11)]
    return draw.one([*functions, np.clip(EVERY // 3 + 7, -32768, 32767)])


def random_lstm(draw: Draw) -> Lstm:
    steps, rows, inputs, units = (draw.size(n) for n in (4, 3, 6, 5))
    is_time_major, per_unit = draw.flag(), draw.one([1, units])
    kind, products = draw.kind(), draw.kind()
    types = draw.one([(np.int8, np.int8)] * 3 + [(np.int16, np.int8), (np.int8, np.int16)])
    spans = [2.0 ** (8 * np.dtype(t).itemsize) - 1 for t in types]

    def gate() -> Gate:
        weights, hidden = draw.integers(np.int8, (units, inputs)), draw.integers(np.int8, (units, units))
        both = zip((weights, hidden), spans, strict=True)
        reaches = tuple(np.abs(w.astype(np.int64)).sum(1) * span for w, span in both)
        bias = np.rint(draw.random.uniform(-1, 1, units) * reaches[0]).astype(np.int64)
        reaches = reaches[0] + np.abs(bias), reaches[1]
        of_input, of_hidden = (draw.rescaler(max(float(r.max()), 1e6), 32768, per_unit, kind=kind) for r in reaches)
        return Gate(
            input_weights=weights,
            hidden_weights=hidden,
            bias=bias,
            of_input=of_input,
            of_hidden=of_hidden,
            reaches=reaches,
            table=random_table(draw),
        )

    states = draw.value("hidden", types[1], (rows, units)), draw.value("cell", np.int16, (rows, units))
    first, second = (steps, rows) if is_time_major else (rows, steps)
    return Lstm(
        inputs=(draw.value("x", types[0], (first, second, inputs)), *states),
        outputs=(draw.value("y", types[1], (first, second, units)), *states),
        gates=(gate(), gate(), gate(), gate()),
        forgotten=draw.rescaler(2.0**29, 32768, kind=products),
        added=draw.rescaler(2.0**29, 32768, kind=products),
        hidden=draw.rescaler(2.0**29, spans[1] / 2),
        cell_table=random_table(draw),
        saturates_terms=draw.flag(),
        cell_clip=draw.one([1 << 15, 32767, 9000]),
        zero_points=tuple(map(draw.zero_point, types)),
        is_time_major=is_time_major,
    )


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-DNARROW_PAIRED_PRODUCTS=1"]], ids=["one by one", "in pairs"])
def test_any_lstm(flags):
    draw = Draw(1)
    assert_equal_forms([random_lstm(draw) for _ in range(16)], emit, rows=4, flags=flags)


def test_terms_are_saturated_before_they_are_added_or_not():
    """127 * 127 and -4 * 127 * 127, whose product with the hidden state leaves 16 bits."""
    one, four = Rescale(np.int64(1), np.int64(0)), Rescale(np.int64(1), np.int64(-2))
    gate = Gate(
        input_weights=np.array([[127]], np.int8),
        hidden_weights=np.array([[-127]], np.int8),
        bias=np.zeros(1, np.int64),
        of_input=one,
        of_hidden=four,
        reaches=(np.array([1e5]), np.array([1e5])),
        table=EVERY,
    )
    states = Value("h", np.dtype(np.int8), (1, 1)), Value("c", np.dtype(np.int16), (1, 1))
    cells = []
    for saturates, sum_of_terms in ((True, 127 * 127 - 32768), (False, -32768)):
        form = Lstm(
            inputs=(Value("x", np.dtype(np.int8), (1, 1, 1)), *states),
            outputs=(Value("y", np.dtype(np.int8), (1, 1, 1)), *states),
            gates=(gate, gate, gate, gate),
            forgotten=Rescale(np.int64(0), np.int64(0)),
            added=Rescale(np.int64(1), np.int64(16)),
            hidden=one,
            cell_table=EVERY,
            saturates_terms=saturates,
            cell_clip=1 << 15,
            zero_points=(0, 0),
            is_time_major=True,
        )
        inputs = (np.full((1, 1, 1), 127, np.int8), np.full((1, 1), 127, np.int8), np.zeros((1, 1), np.int16))
        _, _, cell = CompiledSteps([emit(step_of(form))]).run(0, *inputs)
        assert cell.item() == (sum_of_terms**2 + (1 << 15)) >> 16
        cells.append(cell.item())
    assert cells[0] != cells[1]


# Models.


def recurrent_form(data: bytes, arithmetic):
    forms = (form for operator in parse(data).operators for form in forms_of(operator, arithmetic))
    return next(form for form in forms if isinstance(form, (Svdf, Lstm)))


def c_outputs(form, frames: np.ndarray) -> list[np.ndarray]:
    """What C gives for one frame after another, with its state from one to the next."""
    compiled, outputs = CompiledSteps([emit(step_of(form))]), []
    states = [value.data for value in form.inputs[1:]]
    for x in frames:
        y, *states = compiled.run(0, x, *states)
        outputs.append(y)
    return outputs


@pytest.mark.parametrize(
    "data",
    [
        test_svdf.model("INT8"),
        test_svdf.model("INT16"),
        test_unidirectional_sequence_lstm.model(),
        test_unidirectional_sequence_lstm.model(cell=2.0**-13),
    ],
    ids=["SVDF 8", "SVDF 16", "LSTM", "LSTM, fine cell"],
)
def test_equals_tflm_frame_by_frame(data):
    """TFLM itself, with its own rescales; the state of either is its own."""
    form = recurrent_form(data, Tflm())
    x = form.inputs[0]
    frames = np.random.default_rng(3).integers(-128, 128, (RUNS, *x.shape)).astype(np.int8)
    interpreter = tflm.Interpreter.from_bytes(exact.exposed(data), arena_size=1 << 20)
    for frame, y in zip(frames, c_outputs(form, frames), strict=True):
        interpreter.set_input(frame, 0)
        interpreter.invoke()
        np.testing.assert_array_equal(y, interpreter.get_output(0))


@pytest.mark.sweep(3)
@pytest.mark.parametrize("arithmetic", [Narrow(Grid(1)), Narrow(Grid(8)), Tflm(), LiteRTReference()], ids=str)
@pytest.mark.parametrize("model", [test_svdf.model, test_unidirectional_sequence_lstm.model], ids=["SVDF", "LSTM"])
def test_equals_the_form_in_every_arithmetic(model, arithmetic):
    form = recurrent_form(model(), arithmetic)
    frames = np.random.default_rng(4).integers(-128, 128, (RUNS, *form.inputs[0].shape)).astype(np.int8)
    states = [value.data for value in form.inputs[1:]]
    for frame, y in zip(frames, c_outputs(form, frames), strict=True):
        expected, *states = (array[0] for array in form.evaluate(frame[None], *(s[None] for s in states)))
        np.testing.assert_array_equal(y, expected)


# The functions of gates.

CURVES = {
    "logistic, TFLM": TableGates.logistic(),
    "logistic, LiteRT": FixedPointGates.logistic(),
    **{f"tanh of 2**{power}, TFLM": TableGates.tanh(power) for power in (-17, -13, -12, -11, -9, 0, 1)},
    **{f"tanh of 2**{power}, LiteRT": FixedPointGates.tanh(power) for power in range(-15, -8)},
    **{f"logistic of {bits} integer bits": fixed_point.logistic(EVERY, bits, 16) for bits in (0, 1, 2, 4, 5, 6)},
}
ANYTHING = np.random.default_rng(0).integers(-32768, 32768, 1 << 16)


def test_every_value_of_every_function_in_c():
    """65,536 values each, of all functions in one library; only what nobody knows is a table."""
    curves = {name: curve_of(table) for name, table in (CURVES | {"anything": ANYTHING}).items()}
    text = ['#include "narrow_curves.h"']
    for i, curve in enumerate(curves.values()):
        head = f"void curve_{i}(const int16_t *table, int16_t *y)"
        statement = curve.statement("curve", "0").replace("static ", "", 1).replace("0};", "table};")
        loop = "for (int32_t x = -32768; x < 32768; ++x) y[x + 32768] = (int16_t)narrow_curve_at(&curve, x);"
        text += [f"{head};", f"{head} {{", f"  {statement}", f"  {loop}", "}"]
    files = {"curves.c": "\n".join([*text, ""]).encode()}
    library = native.library(files | kernels.sources(["narrow_curves.h"]), "-Wsign-conversion")
    for i, (name, curve) in enumerate(curves.items()):
        table = np.zeros(1, np.int16) if curve.table is None else curve.table
        y = np.zeros(1 << 16, np.int16)
        getattr(library, f"curve_{i}")(native.pointer(table), native.pointer(y))
        np.testing.assert_array_equal(y, (CURVES | {"anything": ANYTHING})[name], name)
    kinds = {name: curve.kind for name, curve in curves.items()}
    assert [name for name, kind in kinds.items() if kind == "NARROW_CURVE_TABLE"] == ["anything"]
    assert max(0 if c.table is None else c.table.size for n, c in curves.items() if n != "anything") == 256


def test_one_other_value_makes_a_table():
    table = TableGates.logistic().copy()
    table[12345] += 1
    assert curve_of(table).kind == "NARROW_CURVE_TABLE"


def test_gates_share_one_table_of_512_bytes():
    form = recurrent_form(test_unidirectional_sequence_lstm.model(), Narrow(Grid(1)))
    step = emit(step_of(form))
    assert [values.nbytes for name, values in step.constants.items() if name.startswith("knots")] == [512]
    assert step.note == ""


def test_a_function_that_nobody_knows_is_one_table_for_all_gates():
    form = recurrent_form(test_unidirectional_sequence_lstm.model(), Narrow(Grid(1)))
    gates = tuple(dataclasses.replace(gate, table=ANYTHING.copy()) for gate in form.gates)
    step = emit(step_of(dataclasses.replace(form, gates=gates, cell_table=ANYTHING)))
    assert [v.nbytes for name, v in step.constants.items() if name.startswith("knots")] == [1 << 17]
    assert step.note == "1 gate function as a table of 131072 bytes"


# What is refused.


def test_types_that_no_lstm_has_are_refused():
    form = recurrent_form(test_unidirectional_sequence_lstm.model(), Tflm())
    x, hidden, _ = form.inputs
    cell = Value("cell", np.dtype(np.int8), hidden.shape)
    with pytest.raises(UnsupportedError, match="its cell state is INT8 instead of INT16"):
        emit(step_of(dataclasses.replace(form, inputs=(x, hidden, cell))))
    with pytest.raises(UnsupportedError, match="function of a gate leaves INT16"):
        emit(step_of(dataclasses.replace(form, cell_table=EVERY * 2)))
