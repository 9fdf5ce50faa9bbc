# SPDX-License-Identifier: Apache-2.0
"""Layers of random sizes on emulated cores, in every way there are kernels for: what each takes."""

import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Iterable, Sequence

import numpy as np
from rich.progress import track

from benchmarks import cycles
from benchmarks.emulators import firmware, unicorn_engine
from benchmarks.emulators.borders import Borders
from benchmarks.random_layers import ENDS, KINDS, Layers
from tflm_export import cores
from tflm_export.c import cost
from tflm_export.c.lowering import KERNELS
from tflm_export.c.placement import place
from tflm_export.c.source import CProgram
from tflm_export.c.step import CStep
from tflm_export.program.program import Origin, Step
from tflm_export.program.weighted_sum import WeightedSum

REPEATED = {"depthwise": 3}  # kinds that several kernels share out among themselves
_AT_ONCE = 24  # layers of a program


@dataclasses.dataclass(frozen=True)
class Sample:
    """A layer computed in one way.

    Attributes:
      layer: its number; a layer that can be computed in several ways has several samples.
      work: what its kernel did.
      cycles: modelled, of the emulated program.
      own, shared: bytes of its function; of its loops and the kernels it calls, which other layers may share.
    """

    layer: int
    work: cost.Work
    cycles: float
    own: int
    shared: int


def ways(form: WeightedSum, cpu: str, channels_first: Iterable = ()) -> list[CStep]:
    """All ways in which a core's kernels compute a layer whose cost the model knows."""
    found: list[CStep] = []

    def keep(possible: Sequence[CStep]) -> CStep:
        found.extend(way for way in possible if way.work is not None)
        return possible[0]

    emitter = KERNELS[cores.find(cpu).kernels](channels_first, keep)
    emitter.emit(Step(Origin(0, 0, "LAYER", "y", "the layer"), form))
    return found


def measure(
    steps: Sequence[CStep], forms: Sequence[WeightedSum], inputs: list[np.ndarray], cpu: str
) -> list[tuple[float, int, int]]:
    """Some layers that do not depend on one another: cycles, own and shared bytes as in `Sample`.

    Raises:
      ValueError: outputs are not what the forms say.
    """
    program = program_of(steps)
    borders = Borders.of(program)
    with tempfile.TemporaryDirectory() as scratch:
        built = firmware.build(program, cpu, pathlib.Path(scratch))
        layers = [program.layer(step) for step in program.steps]
        packed = borders.pack(inputs, 1)
        execution = unicorn_engine.execute(built, layers, packed, borders.sizes[1])
        sizes = firmware.function_sizes(built.path)
    outputs = borders.unpack(execution.outputs)
    for form, x, y, step in zip(forms, inputs, outputs, steps, strict=True):
        expected = form.evaluate(x[None])[0]
        if not step.channels_first and not np.array_equal(expected.ravel(), y.ravel()):
            raise ValueError(f"{step.work.kernel} does not compute the layer")
    spent = np.zeros(len(steps) + 1)
    for block in execution.blocks:
        spent[block.layer] += cycles.executed(block, cpu)
    rows = zip(program.steps, spent[1:].tolist(), strict=True)
    return [(cycles_, sizes[program.layer(step)], _shared(step, sizes)) for step, cycles_ in rows]


def _shared(step: CStep, sizes: dict[str, int]) -> int:
    """Bytes of the loops that were made for a layer, and of the kernels it calls."""
    made = [*(re.match(r"\w+\((\w+)", line).group(1) for line in step.definitions)]
    stems = [kernel.removesuffix(".c") for kernel in step.kernels if kernel.endswith(".c")]
    end = next((end for end in ENDS if any(f"_{end}(" in line for line in step.statements)), "")
    others = tuple(f"_{other}" for other in ENDS if other != end)
    called = [n for n in sizes if n.startswith(tuple(stems)) and not n.endswith(others)] if stems else []
    return sum(size for name, size in sizes.items() if name in {*made, *called})


def program_of(steps: Sequence[CStep]) -> CProgram:
    """A program of layers that do not depend on one another, each with an input and an output of its own."""
    own = [
        dataclasses.replace(
            step, origin=Origin(0, i, "LAYER", "y", f"layer {i}"),
            inputs=(dataclasses.replace(step.inputs[0], key=("x", i)),),
            outputs=(dataclasses.replace(step.output, key=("y", i)),),
        )
        for i, step in enumerate(steps)
    ]  # fmt: skip
    inputs, outputs = tuple(s.inputs[0] for s in own), tuple(s.output for s in own)
    return CProgram("layers", inputs, outputs, tuple(own), frozenset(), place(inputs, outputs, own, [], {}))


def samples(cpu: str, seed: int, count: int) -> list[Sample]:
    """Layers of every kind and end in all ways, `count` each."""
    layers, waiting = Layers(seed), []
    for kind in KINDS:
        for end in ENDS:
            for number in range(count * REPEATED.get(kind, 1)):
                form = layers.layer(kind, end)
                planar = (form.inputs[0].key,) if form.is_depthwise and number % 2 else ()
                number_of = len(waiting)
                waiting += [(number_of, way, form) for way in ways(form, cpu, planar)]
    found = []
    for start in track(range(0, len(waiting), _AT_ONCE), cpu, transient=True):
        numbers, steps, forms = zip(*waiting[start : start + _AT_ONCE], strict=True)
        taken = measure(steps, forms, layers.inputs(forms), cpu)
        found += [Sample(n, step.work, *row) for n, step, row in zip(numbers, steps, taken, strict=True)]
    return found
