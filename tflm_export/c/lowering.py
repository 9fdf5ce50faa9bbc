# SPDX-License-Identifier: Apache-2.0
"""From a program of integers to one of C functions: which kernels compute each form, and where each value lives."""

import collections
import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from tflm_export import cores, lowering
from tflm_export.arithmetic import Arithmetic, Narrow
from tflm_export.c import planner
from tflm_export.c.cortex_m0plus import CortexM0Plus
from tflm_export.c.cortex_m4 import CortexM4
from tflm_export.c.portable import Portable
from tflm_export.c.source import CProgram, arena
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.cc_array import identifier
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.lowering import forms_of, origin_of
from tflm_export.program.move import Move
from tflm_export.program.passes import simplified
from tflm_export.program.program import Block, Program, Step
from tflm_export.program.value import Value, value_of

KERNELS = {"portable": Portable, "cortex-m0plus": CortexM0Plus, "cortex-m4": CortexM4}  # by `Core.kernels`


def emit(data: bytes, name: str, bits: int, core: str = "portable") -> dict[str, bytes]:
    """The C source of a narrowed model.

    Args:
      data: a .tflite file with int8 input and output.
      name: prefix of files and functions; made a C identifier.
      bits: multiplier width k that the model was narrowed to.
      core: whose kernels, a name of `cores.CORES`; on any other machine they run as plain C.

    Returns:
      Contents by file name: NAME.h, NAME.c and the kernels.

    Raises:
      UsageError: bits out of range, or no such core.
      ModelError: the bytes are no TFLite model, or there are operators without a kernel; all of them are named.
    """
    return translate(data, name, Narrow(Grid(bits)), core).files()


def translate(data: bytes, name: str, arithmetic: Arithmetic, core: str = "portable") -> CProgram:
    """As `emit`, before it is written out, and in any arithmetic there are kernels for.

    `Tflm()` gives the same program with stock rescales, for comparison.

    Raises:
      UsageError, ModelError: as `emit`.
    """
    model = parse(data)
    emitter = KERNELS[cores.find(core).kernels]()
    lowering.require_moderate(model)
    if lowering.unsupported(model):
        graph = model.subgraphs[0]
        _check_borders([value_of(tensor) for tensor in graph.inputs], [value_of(tensor) for tensor in graph.outputs])
        problems = []
        for operator in model.operators:
            problem = lowering.lowering_problem(operator)
            steps = () if problem else [Step(origin_of(operator), f) for f in forms_of(operator, arithmetic)]
            problems += [f"{operator.label}: {problem}"] if problem else _emitted(steps, emitter)[1]
        raise _unwritable(problems)
    return lower(simplified(lowering.lower(model, arithmetic)), name, core)


def lower(program: Program, name: str, core: str = "portable") -> CProgram:
    """The C functions of a program.

    Args:
      program: with one block, one int8 input and one int8 output.
      name, core: as for `emit`.

    Raises:
      UsageError: no such core.
      ModelError: there are forms without a kernel; all of them are named.
    """
    back_end = KERNELS[cores.find(core).kernels]
    block = _only_block(program)
    steps, problems = _emitted(block.steps, back_end(_channels_first(block, back_end())))
    if problems:
        raise _unwritable(problems)
    name = identifier(f"{name}.c")
    return _place(f"model_{name}" if name[0].isdigit() else name, block, steps)


def _emitted(steps: Sequence[Step], emitter: Portable) -> tuple[list[CStep], list[str]]:
    """Steps as C, those whose output is another value's bytes apart; and why there is none for some."""
    aliases, emitted, problems = _aliases(steps), [], []
    for step in steps:
        try:
            if not any(value.key in aliases for value in step.form.outputs):
                emitted.append(emitter.emit(step))
        except UnsupportedError as reason:
            problems.append(f"{step.origin.label}: {reason}")
    return emitted, problems


def _unwritable(problems: Sequence[str]) -> ModelError:
    return ModelError(f"the model cannot be written as C: {'; '.join(problems)}")


def _only_block(program: Program) -> Block:
    if len(program.blocks) != 1:
        raise ModelError(f"the model has {len(program.blocks)} subgraphs; C source is written for one")
    _check_borders(program.main.inputs, program.main.outputs)
    return program.main


def _check_borders(inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
    """Raises ModelError where what goes in and comes out of an inference does not fit the kernels."""
    for role, values in (("input", inputs), ("output", outputs)):
        if len(values) != 1:
            raise ModelError(f"the model has {len(values)} {role}s; C source is written for one")
        (value,) = values
        how = " (--to_int8 with --io int8 makes it so)" if value.dtype == np.uint8 else ""
        wrong = f"{value.label} is {value.dtype.name.upper()}; INT8 is needed{how}"
        problem = "" if value.dtype == np.int8 else wrong
        problem = problem or ("" if value.scale is not None else f"{value.label} has no scale, or several")
        if problem:
            raise ModelError(f"the model's {role} does not fit the kernels: {problem}")


def _aliases(steps: Sequence[Step]) -> dict[Hashable, Hashable]:
    """Keys of the values that are another one's bytes -> that one's."""
    root: dict[Hashable, Hashable] = {}
    for step in steps:
        form = step.form
        if isinstance(form, Move) and form.is_identity and not form.output.is_variable:
            (x,) = form.inputs
            if x.dtype == form.output.dtype == np.int8 and x.data is None:
                root[form.output.key] = root.get(x.key, x.key)
    return root


def _channels_first(block: Block, emitter: Portable) -> frozenset:
    """Keys of the values that are kept channel by channel: whoever writes and reads them is faster so."""
    readers = collections.defaultdict(list)
    for step in block.steps:
        for value in step.form.inputs:
            readers[value.key].append(step.form)
    outputs = {value.key for value in block.outputs}
    written = [step.form.output.key for step in block.steps if emitter.gives_channels_first(step.form)]
    return frozenset(
        key
        for key in written
        if key not in outputs and readers[key] and all(map(emitter.takes_channels_first, readers[key]))
    )


@dataclasses.dataclass(frozen=True)
class _Lives:
    """From which step to which one values are alive, by key."""

    first: dict[Hashable, int]
    last: dict[Hashable, int]
    sizes: dict[Hashable, int]


def _lives(x: Value, steps: Sequence[CStep], aliases: dict) -> _Lives:
    lives = _Lives({step.output.key: i for i, step in enumerate(steps)}, {}, {})
    for i, step in enumerate(steps):
        for value in step.inputs:
            key = aliases.get(value.key, value.key)
            if value.data is not None:
                continue
            if key != x.key and lives.first.get(key, i) >= i:
                raise ModelError(f"the file is damaged: {step.origin.label} reads {value.name} before it is computed")
            lives.last[key] = i
        lives.sizes[step.output.key] = step.output.size
    return lives


def _place(name: str, block: Block, steps: Sequence[CStep]) -> CProgram:
    """Plans the arena and says where every value lives."""
    (x,), (y,), aliases = block.inputs, block.outputs, _aliases(block.steps)
    lives = _lives(x, steps, aliases)
    end = aliases.get(y.key, y.key)
    places = {x.key: "input"} | ({end: "output"} if end in lives.first else {})
    buffers = [
        planner.Buffer(key, lives.sizes[key], first, lives.last.get(key, first))
        for key, first in lives.first.items()
        if key not in places
    ]
    buffers += [planner.Buffer(("scratch", i), s.scratch, i, i) for i, s in enumerate(steps) if s.scratch]
    plan = planner.plan(buffers)
    places |= {key: arena(plan.offsets[key]) for key in lives.first if key in plan.offsets}
    for step in block.steps:
        if any(aliases.get(value.key, x.key) not in places for value in step.form.outputs):
            (source,) = step.form.inputs
            raise ModelError(f"the file is damaged: {step.origin.label} reads {source.label} before it is computed")
    places |= {key: places[source] for key, source in aliases.items()}
    if end in lives.first:
        return CProgram(name, x, y, tuple(steps), plan, places, ())
    if end != x.key:
        raise ModelError(f"the file is damaged: the output {y.name} is not computed")
    copy = f"narrow_copy_rows(1, {x.size}, {x.size}, input, output);"
    return CProgram(name, x, y, tuple(steps), plan, places, (copy,))
