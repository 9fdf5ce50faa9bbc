# SPDX-License-Identifier: Apache-2.0
"""What must hold for any bytes at all."""

import contextlib
import json
import math
import random
import signal
import warnings

import numpy as np

from tests.fuzz import compiled
from tests.helpers.internals import dtype_of
from tflm_export import (
    METHODS,
    ModelError,
    UsageError,
    bounds,
    c,
    calibration,
    check,
    cores,
    lowering,
    metadata,
    narrow,
    to_int8,
)
from tflm_export.arithmetic import Arithmetic, LiteRTReference, Narrow, Tflm
from tflm_export.compare import compare
from tflm_export.explain import explain
from tflm_export.flatbuffer.model import Model, parse
from tflm_export.grid import Grid
from tflm_export.ops import op_for
from tflm_export.program.passes import drop_channels, simplified
from tflm_export.simulator import simulate

SECONDS = 1
COMPUTE_SECONDS = 60
COMPILED_EVERY = 200  # models that run and have C of which one is compiled
CALIBRATION_ROWS = (4, 4, 4, 48)
LARGEST_INPUT = 1 << 20  # elements, of what is fed to a model; the file says nothing of how much memory its reader has


class HangError(Exception):
    """The exporter took longer than `SECONDS` of processor time on one model."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS):
    """Raises HangError in the block after a time, of the processor: other jobs do not count."""

    def ring(signum, frame):
        raise HangError(f"over {seconds} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def exercise(data: bytes, bits: int, method: str) -> bytes | None:
    """Runs what the exporter does with a model without computing it; the narrowed file, or None where it was refused.

    Converted, explained, dumped, checked, narrowed and reported, with metadata.

    Any exception other than the documented ModelError passes through; AssertionError where a result is wrong.
    """
    with contextlib.suppress(ModelError):
        converted = to_int8(data, "uint8" if bits % 2 else "int8")
        narrow(converted.data, bits, method, references=converted.references)
    checks = False
    for read in (explain, metadata.dump, lambda d: check(d, bits)):
        checks = False
        with contextlib.suppress(ModelError):
            read(data)
            checks = True
    try:
        narrowed, report = narrow(data, bits, method, synthetic="none")  # images take longer: `compute`
    except ModelError:
        return None
    json.dumps(report.to_dict()), report.table()
    assert len(data) <= len(narrowed) <= 4 * len(data)  # as it was, or with copies of shared constants in front
    if checks:
        readable = {(row.subgraph, row.index): row.narrow for row in check(narrowed, bits).rows}
        assert all(row.reason or readable[row.subgraph, row.index] for row in report.rows)
    with contextlib.suppress(ModelError):
        described = metadata.attach(narrowed, report)
        assert described.endswith(narrowed)
        assert metadata.dump(described)["bits"] == bits
    return narrowed


def compute(data: bytes, source: random.Random) -> bool:
    """Runs a model in one of the arithmetics, also simplified; narrows it with images and with data; writes both as C.

    Returns whether it ran.

    Any exception other than the documented ModelError passes through, warnings among them; AssertionError where
    the simplified program, or now and then the C, gives other outputs.
    """
    arithmetic = source.choice((Narrow(Grid(source.choice((1, 4, 8, 31)))), Tflm(), LiteRTReference()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            model = parse(data)
        except ModelError:
            return False
        with contextlib.suppress(ModelError):
            for operator in model.operators:
                if op_for(operator).factors(operator) is not None:  # as reports do
                    bounds.worst_case(operator, Grid(8))
        with contextlib.suppress(ModelError):
            c.translate(data, "model", arithmetic, source.choice(cores.NAMES)).files()
        bits, core = source.choice((1, 8)), source.choice(cores.NAMES)
        with contextlib.suppress(ModelError, UsageError):
            c.emit(narrow(data, bits, synthetic="images")[0], "model", bits, core)
        with contextlib.suppress(ModelError, UsageError):
            _calibrate(data, model, bits, source)
        with contextlib.suppress(ModelError):
            _run(data, model, arithmetic, source)
            return True
    return False


def _calibrate(data: bytes, model: Model, bits: int, source: random.Random) -> None:
    """Narrows a model with random rows, and compares it on others; raises ModelError or UsageError where it cannot be.

    Most often with few rows: biases are adjusted for a model's outputs with many, which takes longer.
    """
    rows = [_row(model, source) for _ in range(source.choice(CALIBRATION_ROWS))]
    if not rows[0]:
        return
    names = [tensor.name for tensor in model.subgraphs[0].inputs]
    arrays = [np.concatenate([np.atleast_1d(a) for a in some]) for some in zip(*rows, strict=True)]
    if sum(array.size for array in arrays) > LARGEST_INPUT:
        return
    inputs = calibration.by_input(model, dict(zip(names, arrays, strict=True)))
    train, test = calibration.split(inputs)
    narrowed, _ = narrow(data, bits, source.choice(METHODS), train)
    str(compare(model, parse(narrowed), list(test.values())))


def _run(data: bytes, model: Model, arithmetic: Arithmetic, source: random.Random) -> None:
    """Raises ModelError where a model cannot be run; AssertionError where a simplified program or its C differs."""
    program = lowering.lower(model, arithmetic)
    row = _row(model, source)
    if row is None:
        return
    trace = simulate(model, [np.atleast_1d(array) for array in row], arithmetic)
    simpler = simplified(program)
    for one in (simpler, drop_channels(simpler, source.choice((1, 4)))):
        values = one.run([array[None] for array in row])
        for value, array in zip(program.main.outputs, trace.outputs, strict=True):
            np.testing.assert_array_equal(values[value.key].reshape(array.shape), array, value.label)
    if not source.randrange(COMPILED_EVERY):
        made = c.translate(data, "model", arithmetic, source.choice(cores.NAMES))
        if compiled.is_quick(made):
            compiled.hold(made, row, trace.outputs)


def _row(model: Model, source: random.Random) -> list[np.ndarray] | None:
    """Random inputs of one inference; None where there are none, or more than anybody would feed."""
    random, row = np.random.default_rng(source.randrange(1 << 32)), []
    for tensor in model.subgraphs[0].inputs if model.subgraphs else ():
        if not 0 < math.prod(tensor.shape) <= LARGEST_INPUT or min(tensor.shape, default=1) < 0:
            return None
        dtype = np.dtype(dtype_of(tensor))
        integers = dtype.kind == "i" or dtype.kind == "u"
        if integers:
            limits = np.iinfo(dtype)
            drawn = random.integers(limits.min, limits.max, tensor.shape, dtype, endpoint=True)
        else:
            drawn = random.normal(0, 3, tensor.shape)
        row.append(np.asarray(drawn, dtype))
    return row
