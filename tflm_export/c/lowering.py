# SPDX-License-Identifier: Apache-2.0
"""From a program of integers to one of C functions: which kernels compute each form, and where each value lives."""

import collections
import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from tflm_export import cores, lowering
from tflm_export.arithmetic import Arithmetic, Narrow
from tflm_export.c.choice import choice
from tflm_export.c.cortex_m0plus import CortexM0Plus
from tflm_export.c.cortex_m4 import CortexM4
from tflm_export.c.placement import aliases, place
from tflm_export.c.portable import Portable
from tflm_export.c.source import CProgram
from tflm_export.c.squares import Squares
from tflm_export.c.step import CStep, Problem, UnsupportedError, UnwritableError, channels_first
from tflm_export.cc_array import identifier
from tflm_export.flatbuffer.model import Model, parse
from tflm_export.grid import Grid, grid_of
from tflm_export.integer_part import integer_part
from tflm_export.lowering import forms_of, origin_of
from tflm_export.program.call import CallOnce
from tflm_export.program.move import Move
from tflm_export.program.passes import drop_channels, integer_borders, signed, simplified
from tflm_export.program.program import Program, Step

KERNELS = {  # by `Core.kernels`
    "portable": Portable, "cortex-m0plus": CortexM0Plus, "cortex-m4": CortexM4, "rv32ic": Squares,
}  # fmt: skip

_SHARING = 6  # layers that go the same way: fewer ones are smaller with their own sizes in them


def emit(
    data: bytes, name: str, bits: int | str | Grid, core: str = "portable", has_integer_borders: bool = False,
    optimize: str = "speed",
) -> dict[str, bytes]:  # fmt: skip
    """The C source of a narrowed model.

    Args:
      data: a .tflite file.
      name: prefix of files and functions; made a C identifier.
      bits: multiplier width k that the model was narrowed to, or another grid.
      core: whose kernels, a name of `cores.CORES`; on any other machine they run as plain C.
      has_integer_borders: whether float32 inputs and outputs are left to the caller, who gives and gets the integers
        behind and before them; so are operators at both ends that have no integer form.
      optimize: "speed" or "size": which of several ways to compute a layer is taken, by `cost`.

    Returns:
      Contents by file name: NAME.h, NAME.c and the kernels.

    Raises:
      UsageError: bits out of range, no such core, or nothing to optimise for.
      ModelError: the bytes are no TFLite model.
      UnwritableError: a ModelError; there are operators without a kernel.
    """
    return translate(data, name, Narrow(grid_of(bits)), core, has_integer_borders, optimize).files()


def translate(
    data: bytes, name: str, arithmetic: Arithmetic, core: str = "portable", has_integer_borders: bool = False,
    optimize: str = "speed",
) -> CProgram:  # fmt: skip
    """As `emit`, before it is written out, and in any arithmetic there are kernels for.

    `Tflm()` gives the same program with stock rescales, for comparison.

    Raises:
      UsageError, ModelError: as `emit`.
    """
    model, left = parse(data), ()
    if has_integer_borders:
        model, left = integer_part(model)
    emitter = KERNELS[cores.find(core).kernels]()
    lowering.require_moderate(model)
    if lowering.unsupported(model):
        problems = []
        for operator in model.operators:
            problem = lowering.lowering_problem(operator)
            steps = () if problem else [Step(origin_of(operator), f) for f in forms_of(operator, arithmetic)]
            own = [Problem(operator.name, operator.label, problem)]
            problems += own if problem else _emitted(steps, emitter)[1]
        raise UnwritableError(problems, "" if has_integer_borders else _at_the_ends(model))
    program = drop_channels(simplified(lowering.lower(model, arithmetic)), emitter.channel_multiple)
    emitted = lower(integer_borders(program) if has_integer_borders else program, name, core, optimize)
    unreached = [graph for graph, block in zip(model.subgraphs, program.blocks, strict=True) if block is None]
    graphs = (f"subgraph {graph.index} ({graph.name}), which the main one does not call," for graph in unreached)
    return dataclasses.replace(emitted, left=(*(operator.label for operator in left), *graphs))


def _at_the_ends(model: Model) -> str:
    """What to do about operators that have no integer form, where they are at the ends of a model only."""
    part, left = integer_part(model)
    if not left or lowering.unsupported(part):
        return ""
    labels = " and ".join(f"operator {operator.index}" for operator in left)
    return f"; --io int8 (has_integer_borders) leaves {labels} to the caller"


def lower(program: Program, name: str, core: str = "portable", optimize: str = "speed") -> CProgram:
    """The C functions of a program.

    Args:
      program: of any inputs, outputs and blocks.
      name, core, optimize: as for `emit`.

    Raises:
      UsageError: no such core, or nothing to optimise for.
      UnwritableError: a ModelError; there are forms without a kernel.
    """
    back_end = KERNELS[cores.find(core).kernels]
    program = signed(program)
    flat, starts = _started(_in_order(program))
    every = [step for step, _ in flat]
    main = program.main
    given = _channels_first(every, {value.key for value in main.outputs}, back_end())
    steps, problems = _emitted(every, back_end(given, choice(optimize)))
    if not problems and any(step.channels_first != channels_first(step.inputs, step.outputs, given) for step in steps):
        # A layer was left to kernels that know one order only.
        steps, problems = _emitted(every, back_end(choose=choice(optimize)))
    if problems:
        raise UnwritableError(problems)
    moved = aliases(every)
    kept = [is_first for step, is_first in flat if not _is_moved(step, moved)]
    name = identifier(f"{name}.c")
    name = f"model_{name}" if name[0].isdigit() else name
    first = frozenset(i for i, is_first in enumerate(kept) if is_first)
    return CProgram(
        name, main.inputs, main.outputs, tuple(steps), first, place(main.inputs, main.outputs, steps, every, starts),
        is_small=optimize == "size" and _share_walks(steps),
    )  # fmt: skip


def _share_walks(steps: Sequence[CStep]) -> bool:
    """Whether layers that share what walks over their tiles and planes take less flash than with a walk for each."""
    walks = collections.Counter(kernel for step in steps for kernel in step.kernels if step.definitions)
    return max(walks.values(), default=0) >= _SHARING


def _in_order(program: Program) -> list[tuple[Step, bool]]:
    """All steps in the order in which the first inference runs them, and whether it is the only one that does.

    Programs branch nowhere: which call of a block is the first one does not depend on data.
    """
    found, called = [], set()
    running = [(iter(program.main.steps), False)]
    while running:
        steps, is_first = running[-1]
        step = next(steps, None)
        if step is None:
            running.pop()
        elif not isinstance(step.form, CallOnce):
            found.append((step, is_first))
        elif step.form.block not in called:
            called.add(step.form.block)
            running.append((iter(program.blocks[step.form.block].steps), True))
    return found


def _started(steps: list[tuple[Step, bool]]) -> tuple[list[tuple[Step, bool]], dict[Hashable, np.ndarray]]:
    """Steps without those of the first inference that give variables constants before anything else touches them.

    Returns:
      The steps, and by the variables' keys these constants, which they then start with.
    """
    kept, starts, touched = [], {}, set()
    for step, is_first in steps:
        form = step.form
        if is_first and isinstance(form, Move) and form.is_identity and form.output.is_variable:
            (x,) = form.inputs
            if x.is_constant and x.dtype == form.output.dtype and form.output.key not in touched:
                starts[form.output.key] = x.data.reshape(form.output.shape)
                touched.add(form.output.key)
                continue
        touched |= {value.key for value in (*form.inputs, *form.outputs) if value.is_variable}
        kept.append((step, is_first))
    return kept, starts


def _emitted(steps: Sequence[Step], emitter: Portable) -> tuple[list[CStep], list[Problem]]:
    """Steps as C, those whose output is another value's bytes apart; and why there is none for some."""
    moved, emitted, problems = aliases(steps), [], []
    for step in steps:
        try:
            if not _is_moved(step, moved):
                emitted.append(emitter.emit(step))
        except UnsupportedError as reason:
            problems.append(Problem(step.origin.name, step.origin.label, str(reason)))
    return emitted, problems


def _is_moved(step: Step, moved: dict) -> bool:
    return any(value.key in moved for value in step.form.outputs)


def _channels_first(steps: Sequence[Step], outputs: set[Hashable], emitter: Portable) -> frozenset:
    """Keys of the values that are kept channel by channel: whoever writes and reads them is faster so."""
    readers = collections.defaultdict(list)
    for step in steps:
        for value in step.form.inputs:
            readers[value.key].append(step.form)
    written = [step.form.output.key for step in steps if emitter.gives_channels_first(step.form)]
    return frozenset(
        key
        for key in written
        if key not in outputs and readers[key] and all(map(emitter.takes_channels_first, readers[key]))
    )
