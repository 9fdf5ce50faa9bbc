# SPDX-License-Identifier: Apache-2.0
"""Where values live while an inference runs: at the caller's, in the arena, or as variables at its front."""

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from tflm_export.c import planner
from tflm_export.c.step import CStep
from tflm_export.errors import ModelError
from tflm_export.program.move import Move
from tflm_export.program.program import Step
from tflm_export.program.value import Value

_WIDEST_WORD = 4  # bytes that the int8 kernels load at once


@dataclasses.dataclass(frozen=True)
class Place:
    """The memory of a value.

    Attributes:
      region: "input" or "output" of the caller, "arena", or "constant" among the model's own.
      index: of the input or output; bytes from the start of the arena.
    """

    region: str
    index: int = 0


@dataclasses.dataclass(frozen=True)
class Copy:
    """A value that goes on to another place.

    Attributes:
      value: what is copied.
      source, target: from where to where.
    """

    value: Value
    source: Place
    target: Place


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where everything lives.

    Attributes:
      arena: the plan of working memory; keys are those of values, and ("scratch", step). Behind the variables.
      variables: what is kept from one inference to the next, from the start of the arena on.
      state_bytes: that they take, with what aligns the working memory.
      alignment: of the arena, in bytes.
      places: by key of values.
      scratch: by step.
      outputs: for each step, where its outputs go.
      copies: for each step, what is copied behind it.
      results: what is copied at the end of an inference.
    """

    arena: planner.Arena
    variables: tuple[Value, ...]
    state_bytes: int
    alignment: int
    places: dict[Hashable, Place]
    scratch: dict[int, Place]
    outputs: dict[int, tuple[Place, ...]]
    copies: dict[int, tuple[Copy, ...]]
    results: tuple[Copy, ...]

    @property
    def bytes(self) -> int:
        """Of the arena, variables included."""
        return self.state_bytes + self.arena.size


def aliases(steps: Sequence[Step]) -> dict[Hashable, Hashable]:
    """Keys of the values that are another one's bytes -> that one's."""
    root: dict[Hashable, Hashable] = {}
    for step in steps:
        form = step.form
        if isinstance(form, Move) and form.is_identity and not form.output.is_variable:
            (x,) = form.inputs
            if x.dtype == form.output.dtype and x.data is None:
                root[form.output.key] = root.get(x.key, x.key)
    return root


class _Placer:
    """Places everything of a program, one kind of values after another."""

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value], steps: Sequence[CStep], same: dict):
        self.inputs, self.outputs, self.steps, self.same = inputs, outputs, steps, same
        values = [v for step in steps for v in (*step.inputs, *step.outputs)]
        self.variables = _variables(value for value in (*values, *outputs) if value.is_variable)
        sizes = [v.dtype.itemsize for v in (*values, *inputs, *outputs)]
        only_bytes = max(sizes, default=1) == 1 and not any(step.is_general for step in steps)
        self.alignment = _WIDEST_WORD if only_bytes else 2 * _WIDEST_WORD
        self.first: dict[Hashable, int] = {}
        self.last: dict[Hashable, int] = {}
        self.values: dict[Hashable, Value] = {}
        self.places: dict[Hashable, Place] = {}

    def key(self, value: Value) -> Hashable:
        return self.same.get(value.key, value.key)

    def placement(self, moved: Sequence[Step], starts: Mapping[Hashable, np.ndarray]) -> Placement:
        self._find_lives()
        state = self._place_variables()
        self._require_untouched(moved)
        for i, value in enumerate(self.inputs):
            if not value.is_variable:
                self.places[value.key] = Place("input", i)  # of a tensor that is two inputs, the second one
        self._place_outputs()
        buffers = [
            planner.Buffer(key, value.size * value.dtype.itemsize, self.first[key], self.last.get(key, self.first[key]))
            for key, value in self.values.items()
            if key not in self.places
        ]
        buffers += [planner.Buffer(("scratch", i), s.scratch, i, i) for i, s in enumerate(self.steps) if s.scratch]
        buffers += [
            planner.Buffer(("new", i, n), value.size * value.dtype.itemsize, i, i)
            for i, step in enumerate(self.steps)
            for n, value in enumerate(step.outputs)
            if _is_updated(step, value)
        ]
        plan = planner.plan(buffers, self.alignment)
        at = {key: Place("arena", state + offset) for key, offset in plan.offsets.items()}
        self.places |= {key: at[key] for key in self.values if key not in self.places}
        self._require_computed(moved)
        self.places |= {key: self.places[source] for key, source in self.same.items() if source in self.places}
        targets, copies = self._targets(at)
        return Placement(
            arena=plan,
            variables=tuple(
                dataclasses.replace(value, data=starts.get(key, value.data)) for key, value in self.variables.items()
            ),
            state_bytes=state,
            alignment=self.alignment,
            places=self.places,
            scratch={i: at["scratch", i] for i, step in enumerate(self.steps) if step.scratch},
            outputs=targets,
            copies=copies,
            results=tuple(self._results()),
        )

    def _find_lives(self) -> None:
        """From which step to which one values are alive."""
        given = {value.key for value in self.inputs}
        for i, step in enumerate(self.steps):
            for value in step.inputs:
                key = self.key(value)
                if value.data is not None or key in given:
                    continue
                if key not in self.first:
                    raise ModelError(
                        f"the file is damaged: {step.origin.label} reads {value.name} before it is computed"
                    )
                self.last[key] = i
            for value in step.outputs:
                if not value.is_variable:
                    self.first.setdefault(value.key, i)
                    self.values[value.key] = value

    def _place_variables(self) -> int:
        """The bytes they take."""
        offset = 0
        for key, value in self.variables.items():
            self.places[key] = Place("arena", offset)
            offset = planner.aligned(offset + value.size * value.dtype.itemsize, self.alignment)
        return offset

    def _place_outputs(self) -> None:
        """Values that the caller wants are computed in the caller's memory."""
        for i, value in enumerate(self.outputs):
            key = self.key(value)
            if key in self.values and key not in self.places:
                self.places[key] = Place("output", i)

    def _require_untouched(self, moved: Iterable[Step]) -> None:
        """Nobody writes what the caller gives."""
        given = {value.key for value in self.inputs if not value.is_variable}
        for step in moved:
            for value in step.form.outputs:
                if value.key in given:
                    label = step.origin.label
                    raise ModelError(f"the file is damaged: {label} computes {value.name}, which is an input")

    def _require_computed(self, moved: Iterable[Step]) -> None:
        for step in moved:
            for value in step.form.outputs:
                if value.key in self.same and self.same[value.key] not in self.places:
                    (source,) = step.form.inputs
                    raise ModelError(
                        f"the file is damaged: {step.origin.label} reads {source.label} before it is computed"
                    )

    def _targets(self, at: dict) -> tuple[dict, dict]:
        """Where the outputs of steps go: variables that a step reads as well, aside first."""
        targets, copies = {}, {}
        for i, step in enumerate(self.steps):
            places = [at.get(("new", i, n), self.places[self.key(v)]) for n, v in enumerate(step.outputs)]
            targets[i] = tuple(places)
            copies[i] = tuple(
                Copy(value, place, self.places[value.key])
                for value, place in zip(step.outputs, places, strict=True)
                if place != self.places[value.key]
            )
        return targets, copies

    def _results(self) -> Iterable[Copy]:
        for i, value in enumerate(self.outputs):
            target = Place("output", i)
            source = self.places.get(self.key(value), Place("constant") if value.is_constant else None)
            if source is None:
                raise ModelError(f"the file is damaged: the output {value.name} is not computed")
            if source != target:
                yield Copy(value, source, target)


def _variables(values: Iterable[Value]) -> dict[Hashable, Value]:
    """By key.

    Raises:
      ModelError: one has two types or shapes.
    """
    found: dict[Hashable, Value] = {}
    for value in values:
        same = found.setdefault(value.key, value)
        if (same.dtype, same.shape) != (value.dtype, value.shape):
            kinds = " and ".join(f"{v.dtype.name.upper()} {list(v.shape)}" for v in (same, value))
            raise ModelError(f"the file is damaged: the variable {value.label} is {kinds}")
    return found


def _is_updated(step: CStep, value: Value) -> bool:
    return value.is_variable and any(value.key == x.key for x in step.inputs)


def place(
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    steps: Sequence[CStep],
    moved: Sequence[Step],
    starts: Mapping[Hashable, np.ndarray],
) -> Placement:
    """Plans the arena and says where every value lives.

    Args:
      inputs, outputs: of an inference.
      steps: in execution order, those of the first inference among them.
      moved: all steps of the program; those among them that move nothing are no `steps`.
      starts: what variables start with, by key, where it is not what their values say.

    Raises:
      ModelError: something is read, or to be given, that is not computed.
    """
    return _Placer(inputs, outputs, steps, aliases(moved)).placement(moved, starts)
