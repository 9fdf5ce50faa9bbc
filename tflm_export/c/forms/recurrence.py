# SPDX-License-Identifier: Apache-2.0
"""Layers that go on from what they computed before: SVDF and LSTM."""

import dataclasses

import numpy as np

from tflm_export.c.forms.curves import TABLE, Curve, curve_of
from tflm_export.c.forms.products import alike_sums, bias_array, elements, output, stored_weights, sums
from tflm_export.c.initializer import initializer
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import Factors, alike, factors, literal
from tflm_export.program.program import Step
from tflm_export.program.recurrence import Gate, Lstm, Svdf

_PRODUCT = 2.0**30  # the largest product of two int16
_GATES = ("input", "forget", "cell", "output")


def svdf(step: Step[Svdf]) -> CStep:
    """A filter with its state through kernels/narrow_svdf.h.

    Raises:
      UnsupportedError: its numbers could leave 64 bits, or there is no kernel for its rescales.
    """
    form, (x, state) = step.form, step.form.inputs
    zero_x, zero_state, zero_y = form.zero_points
    to_state = sums(form.to_state, form.reaches[0], is_wide=True)
    to_output = sums(form.to_output, form.reaches[1], is_wide=False)
    filters, inputs = form.features.shape
    time, time_zero = stored_weights(form.time)
    units, rows = filters // form.rank, x.size // max(inputs, 1)
    sizes = {"rows": rows, "inputs": inputs, "units": units, "rank": form.rank, "memory": form.time.shape[1]}
    how = ", ".join(f"{found.factors.rounding}, {found.has_many}" for found in (to_state, to_output))
    statements = (
        f"static const narrow_filters filters = {initializer(sizes)};",
        to_state.factors.statement("state_"),
        to_output.factors.statement("output_"),
        elements("input", x.dtype, zero_x, "x0"),
        elements("first", form.features.dtype, 0, "features"),
        elements("second", time.dtype, time_zero, "time"),
        output("output", form.output, zero_y),
        output("state", state, zero_state),
        f"narrow_svdf({to_state.type}, {how}, &filters, &state_factors, &output_factors, &input, &first, &second, "
        "bias, &output, y, &state, x1, y1);",
    )
    arrays = {"features": form.features, "time": time, "bias": bias_array(form.bias, is_wide=False)}
    constants = arrays | to_state.factors.constants("state_") | to_output.factors.constants("output_")
    return CStep(step.origin, form.inputs, form.outputs, statements, constants, kernels=("narrow_svdf.h",))


def lstm(step: Step[Lstm]) -> CStep:
    """A sequence with its states through kernels/narrow_lstm.h.

    Raises:
      UnsupportedError: its numbers could leave 64 bits, or there is no kernel for its rescales or its types.
    """
    form, (x, hidden, _) = step.form, step.form.inputs
    _check_types(form)
    gates, products = _gates(form), _products(form)
    curves = _Curves.of((*(gate.table for gate in form.gates), form.cell_table))
    layer = initializer(_sizes(form) | {"gates": gates.members} | products.members | {"cell_clip": form.cell_clip})
    names = ", ".join(f"&curve_{i}" for i in curves.order)
    rounding = f"{gates.rounding}, {int(gates.per_unit)}, {', '.join(products.roundings)}"
    how = f"{gates.type}, {rounding}, {int(form.saturates_terms)}, {gates.bias_type}"
    packed, scratch = ("&packed", "scratch") if gates.scratch else ("0", "0")
    statements = (
        *curves.statements,
        f"static const narrow_lstm_layer layer = {layer};",
        *gates.statements,
        elements("input", x.dtype, form.zero_points[0], "x0"),
        elements("hidden", hidden.dtype, form.zero_points[1], "x1"),
        output("output", hidden, form.zero_points[1]),
        f"narrow_lstm({how}, &layer, {packed}, {names}, &input, &hidden, x2, &output, y, y1, y2, {scratch});",
    )
    constants = gates.constants | products.constants | curves.constants
    return CStep(
        step.origin, form.inputs, form.outputs, statements, constants, gates.scratch, ("narrow_lstm.h",),
        note=curves.note,
    )  # fmt: skip


def _check_types(form: Lstm) -> None:
    x, hidden, cell = form.inputs
    if cell.dtype != np.int16:
        raise UnsupportedError(f"its cell state is {cell.dtype.name.upper()} instead of INT16")
    if hidden.dtype != form.output.dtype:
        types = f"{hidden.dtype.name.upper()} and {form.output.dtype.name.upper()}"
        raise UnsupportedError(f"its hidden state and its output are not of one type, but {types}")
    if len(x.shape) != 3:
        raise UnsupportedError(f"its input {x.label} of shape {list(x.shape)} is no sequence of rows")


def _sizes(form: Lstm) -> dict[str, int]:
    first, second, inputs = form.inputs[0].shape
    steps, rows = (first, second) if form.is_time_major else (second, first)
    next_step, next_row = (rows, 1) if form.is_time_major else (1, steps)
    units = len(form.gates[0].input_weights)
    sizes = {"steps": steps, "rows": rows, "inputs": inputs, "units": units}
    return sizes | {"next_step": next_step, "next_row": next_row}


@dataclasses.dataclass(frozen=True)
class _Gates:
    """The gates, which share types and rounding.

    Attributes:
      constants: arrays by name.
      members: C, the narrow_gate of each.
      type: narrow_type of the sums.
      rounding: of all factors.
      per_unit: whether there is one for each unit.
      bias_type: narrow_type of the biases.
      statements: C, the narrow_gates of all, if their weights are side by side.
      scratch: bytes that are needed then, else 0.
    """

    constants: dict[str, np.ndarray]
    members: str
    type: str
    rounding: str
    per_unit: bool
    bias_type: str
    statements: tuple[str, ...] = ()
    scratch: int = 0


def _gates(form: Lstm) -> _Gates:
    given = [pair for gate in form.gates for pair in zip((gate.of_input, gate.of_hidden), gate.reaches, strict=True)]
    every = alike_sums(given)
    is_wide, per_unit = every[0].is_wide, any(f.has_many for f in every)
    packs = not is_wide and {value.dtype for value in form.inputs[:2]} == {np.dtype(np.int8)}
    constants, statements, scratch = _side_by_side(form) if packs else ({}, (), 0)
    biases = [bias_array(gate.bias, is_wide) for gate in form.gates]
    bias_type = np.result_type(*biases)
    members = []
    for i, (name, gate, bias) in enumerate(zip(_GATES, form.gates, biases, strict=True)):
        own = _apart(name, gate, bias.astype(bias_type))
        constants |= {} if packs else own
        member = (
            dict.fromkeys(("input_weights", "hidden_weights", "bias"), 0) if packs else dict(zip(own, own, strict=True))
        )
        pair = every[2 * i : 2 * i + 2]
        for role, prefix, found in zip(("of_input", "of_hidden"), (f"{name}_", f"{name}_hidden_"), pair, strict=True):
            arrays = found.factors.constants(prefix)
            constants |= {key: np.broadcast_to(values, len(bias) if per_unit else 1) for key, values in arrays.items()}
            member[role] = f"{{{', '.join(arrays)}}}"
        members.append(initializer(member))
    first = every[0]
    return _Gates(
        constants, f"{{{', '.join(members)}}}", first.type, first.factors.rounding, per_unit, literal(bias_type),
        statements, scratch,
    )  # fmt: skip


def _apart(name: str, gate: Gate, bias: np.ndarray) -> dict[str, np.ndarray]:
    """The weights and the bias of a gate, in the order of narrow_gate."""
    return {
        f"{name}_weights": gate.input_weights,
        f"{name}_hidden_weights": gate.hidden_weights,
        f"{name}_bias": bias,
    }


def _side_by_side(form: Lstm) -> tuple[dict[str, np.ndarray], tuple[str, ...], int]:
    """The arrays of a narrow_gates, the statement that makes it, and the bytes of inputs and states in words."""
    of_input, of_hidden = (
        np.stack([getattr(gate, name) for gate in form.gates], 1) for name in ("input_weights", "hidden_weights")
    )
    bias = np.stack([gate.bias for gate in form.gates], 1)
    zero_x, zero_h = form.zero_points
    arrays = {
        "input_words": _gate_words(of_input),
        "hidden_words": _gate_words(of_hidden),
        "input_start": _wrapped(bias - zero_x * of_input.sum(2, dtype=np.int64)),
        "hidden_start": _wrapped(-zero_h * of_hidden.sum(2, dtype=np.int64)),
    }
    depth4 = 2 * (arrays["input_words"].shape[1] + arrays["hidden_words"].shape[1])
    statement = f"static const narrow_gates packed = {initializer(dict(zip(arrays, arrays, strict=True)))};"
    return arrays, (statement,), 4 * depth4


def _gate_words(weights: np.ndarray) -> np.ndarray:
    """Weights [units, gates, inputs] as words [units, pairs of inputs, pairs of gates]: see narrow_gates."""
    padded = np.pad(weights.astype(np.int8), ((0, 0), (0, 0), (0, -weights.shape[2] % 4)))
    # [unit, pair of gates, second of it, pair of inputs, second of it]
    grouped = padded.reshape(len(padded), 2, 2, -1, 2)
    words = np.ascontiguousarray(grouped.transpose(0, 3, 1, 4, 2))
    return words.reshape(*words.shape[:3], 4).view("<i4")[..., 0]


def _wrapped(sums: np.ndarray) -> np.ndarray:
    """In 32 bits, as the sums that they start wrap, too."""
    return sums.astype(np.int32)


@dataclasses.dataclass(frozen=True)
class _Products:
    """The products of gates.

    Attributes:
      constants: arrays by name.
      members: C, the narrow_factors of each.
      roundings: of both products that make the cell state, and of the hidden state.
    """

    constants: dict[str, np.ndarray]
    members: dict[str, str]
    roundings: tuple[str, str]


def _products(form: Lstm) -> _Products:
    forgotten, added = alike([(form.forgotten, _PRODUCT), (form.added, _PRODUCT)])
    found: dict[str, Factors] = {
        "forgotten": forgotten, "added": added, "hidden": factors(form.hidden, _PRODUCT)
    }  # fmt: skip
    arrays = {name: one.constants(f"{name}_product_") for name, one in found.items()}
    members = {name: f"{{{', '.join(own)}}}" for name, own in arrays.items()}
    merged = {key: values for own in arrays.values() for key, values in own.items()}
    return _Products(merged, members, (added.rounding, found["hidden"].rounding))


@dataclasses.dataclass(frozen=True)
class _Curves:
    """The functions of a layer, each once.

    Attributes:
      order: which one each gate, and the cell state, has.
      statements: C, of all.
      constants: their tables.
      note: which of them are full tables.
    """

    order: tuple[int, ...]
    statements: tuple[str, ...]
    constants: dict[str, np.ndarray]
    note: str

    @classmethod
    def of(cls, tables: tuple[np.ndarray, ...]) -> "_Curves":
        distinct: list[np.ndarray] = []
        order = []
        for table in tables:
            known = (i for i, other in enumerate(distinct) if other is table or np.array_equal(other, table))
            order.append(next(known, len(distinct)))
            if order[-1] == len(distinct):
                distinct.append(table)
        curves = [curve_of(table) for table in distinct]
        arrays, names = _shared(curves)
        statements = tuple(
            c.statement(f"curve_{i}", name) for i, (c, name) in enumerate(zip(curves, names, strict=True))
        )
        full = sum(curve.kind == TABLE for curve in curves)
        note = f"{full} gate function{'s' * (full > 1)} as a table of 131072 bytes" if full else ""
        return cls(tuple(order), statements, arrays, note)


def _shared(curves: list[Curve]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The tables of curves, equal ones once, and the name of that of each."""
    arrays: dict[str, np.ndarray] = {}
    names = []
    for curve in curves:
        table = curve.table
        if table is None:
            names.append("")
            continue
        same = (name for name, other in arrays.items() if np.array_equal(other, table))
        names.append(next(same, f"knots_{len(arrays)}"))
        arrays[names[-1]] = table
    return arrays, names
