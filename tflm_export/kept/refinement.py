# SPDX-License-Identifier: Apache-2.0
"""Biases of all layers at once, adjusted so that the model's outputs come nearer to the stock model's.

A layer's own error says nothing of what later layers make of it. Near the biases that are there the outputs are linear
in them; their gradients on real rows make a least-squares problem, damped as Levenberg and Marquardt do, whose solution
is a step. A step is taken only if it brings outputs nearer on rows that are not among those that it was solved for.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from tflm_export.kept.sensitivity import inside, propagate
from tflm_export.program.convert import Dequantize
from tflm_export.program.lookup import Lookup
from tflm_export.program.move import Move
from tflm_export.program.program import Block, Program, Step
from tflm_export.program.softmax import LogSoftmax, Softmax, SoftmaxInt16
from tflm_export.program.weighted_sum import WeightedSum

STEPS = 6
TRIALS = 4  # of a step, each damped ten times as much as the one before
DAMPING = 0.1  # of the first step, of the mean diagonal
LEAST_GAIN = 1e-3  # of the squared error, for which another step is taken
FEWEST_ROWS = 32  # fewer say too little about the outputs
MOST_NUMBERS = 16  # of an inference's outputs; of more, as many random sums
MOST_WORK = 1 << 34  # multiplications for the gradients of a step; models that need more get fewer rows
LARGEST_MATRIX = 1 << 25  # gradients that are held at a time
HELD_OUT = 4  # every so manieth row judges
_LIMITS = {False: (-(2.0**31), 2.0**31 - 1), True: (-(2.0**47), 2.0**47)}  # of a bias, by whether sums are wide


def refined(
    block: Block,
    steps: Sequence[Step],
    inputs: Mapping[Hashable, np.ndarray],
    targets: Mapping[Hashable, np.ndarray | None],
    adjustable: set[tuple[int, int]],
) -> dict[tuple[int, int], np.ndarray]:
    """Biases by operator.

    Args:
      block: inputs and outputs of the program.
      steps: its forms, with all that is chosen so far.
      inputs: integers of its inputs, [rows, *shape] by key.
      targets: what values are to hold, [rows, *shape] by key; may lack some.
      adjustable: (subgraph, index) of the operators whose biases may change.

    Returns:
      Integers in float64 [channels], by (subgraph, index); empty where nothing was gained.
    """
    ends = [_End.of(value.key, steps) for value in block.outputs]
    ends = [end for end in dict.fromkeys(ends) if targets.get(end.key) is not None and end.key not in inputs]
    layers = [i for i, step in enumerate(steps) if step.origin.key in adjustable and isinstance(step.form, WeightedSum)]
    rows = len(next(iter(inputs.values()))) if inputs else 0
    if not ends or not layers or rows < FEWEST_ROWS:
        return {}
    problem = _Problem(block, layers, ends, targets, inputs, rows)
    start = _State(tuple(steps), problem)
    best = problem.descend(start)
    if best is start:
        return {}
    return {best.steps[i].origin.key: best.steps[i].form.bias.astype(np.float64) for i in layers}


@dataclasses.dataclass(frozen=True)
class _End:
    """A value that stands for an output: what functions of single numbers, or of a row's differences, make it of.

    Attributes:
      key: of the value.
      is_relative: whether only differences within a row count.
    """

    key: Hashable
    is_relative: bool = False

    @classmethod
    def of(cls, key: Hashable, steps: Sequence[Step]) -> "_End":
        producers = {value.key: step.form for step in steps for value in step.form.outputs}
        is_relative = False
        while key in producers:
            form = producers[key]
            exponentials = isinstance(form, (Softmax, SoftmaxInt16, LogSoftmax))
            if not exponentials and not isinstance(form, (Dequantize, Lookup)) and not _is_same(form):
                break
            is_relative |= exponentials
            key = form.inputs[0].key
        return cls(key, is_relative)


def _is_same(form) -> bool:
    return isinstance(form, Move) and form.is_identity


class _Problem:
    """What stays the same from step to step."""

    def __init__(self, block: Block, layers: list[int], ends: list[_End], targets, inputs, rows: int):
        self.block, self.layers, self.ends, self.inputs = block, layers, ends, inputs
        judging = np.arange(rows) % HELD_OUT == HELD_OUT - 1
        self.targets = [targets[end.key].reshape(rows, -1).astype(np.float64) for end in ends]
        # Several outputs count alike, whatever their scales.
        self.weights = [1.0 if len(ends) == 1 else 1 / max(float(t.std()), 1e-9) for t in self.targets]
        self.judging, self.fitting = np.flatnonzero(judging), np.flatnonzero(~judging)

    def errors(self, values: Mapping[Hashable, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """What outputs are off by, [rows, numbers]."""
        found = []
        for end, target, weight in zip(self.ends, self.targets, self.weights, strict=True):
            error = (values[end.key].reshape(len(rows), -1) - target[rows]) * weight
            found.append(error - error.mean(1, keepdims=True) if end.is_relative else error)
        return np.concatenate(found, axis=1)

    def run(self, steps: tuple[Step, ...], rows: np.ndarray) -> dict[Hashable, np.ndarray]:
        program = Program((Block(self.block.inputs, self.block.outputs, steps),))
        return program.run([self.inputs[value.key][rows] for value in self.block.inputs])

    def descend(self, state: "_State") -> "_State":
        """The best state that steps lead to; the given one where none is better."""
        damping = DAMPING
        for _ in range(STEPS):
            gradients, errors = state.gradients()
            for _ in range(TRIALS):
                tried = state.stepped(damped_solution(gradients, errors, damping))
                damping *= 10
                if tried.judged < (1 - LEAST_GAIN) * state.judged:
                    break
            else:
                break
            state, damping = tried, damping / 30
        return state


class _State:
    """A program, and how far its outputs are from what they are to be."""

    def __init__(self, steps: tuple[Step, ...], problem: _Problem):
        self.steps, self.problem = steps, problem
        values = problem.run(steps, problem.judging)
        self.judged = float(np.square(problem.errors(values, problem.judging)).mean())

    def stepped(self, shifts: np.ndarray) -> "_State":
        """The state whose layers' outputs are shifted by so many of their steps, [channels of all layers]."""
        steps, start = list(self.steps), 0
        for i in self.problem.layers:
            form = steps[i].form
            own = shifts[start : start + form.channels]
            factors = np.broadcast_to(form.rescale.value, (form.channels,))
            change = np.divide(own, factors, out=np.zeros(form.channels), where=factors > 0)
            bias = np.clip(np.rint(form.bias + change), *_LIMITS[form.is_wide]).astype(np.int64)
            steps[i] = Step(steps[i].origin, dataclasses.replace(form, bias=bias))
            start += form.channels
        return _State(tuple(steps), self.problem)

    def gradients(self) -> tuple[np.ndarray, np.ndarray]:
        """How sums of the outputs change with shifts, [sums of all rows, channels], and what they are off by."""
        problem = self.problem
        rows = problem.fitting[: self._row_count()]
        values = problem.run(self.steps, rows)
        errors = problem.errors(values, rows)
        probes = _probes(errors.shape[1])
        channels = [self.steps[i].form.channels for i in problem.layers]
        starts = dict(zip(problem.layers, np.cumsum([0, *channels]).tolist(), strict=False))
        places = {id(self.steps[i]): start for i, start in starts.items()}
        found = np.zeros((len(rows), probes.shape[1], sum(channels)), np.float32)
        for number, probe in enumerate(probes.T):

            def seen(step: Step, gradient: np.ndarray, number=number) -> None:
                start = places.get(id(step))
                if start is not None:
                    passed = gradient * inside(values[step.form.output.key], step.form.clamp)
                    passed = passed.reshape(len(rows), -1, step.form.channels).sum(1)
                    found[:, number, start : start + step.form.channels] = passed

            propagate(self.steps, values, self._spread(probe, len(rows), values), seen)
        return found.reshape(-1, sum(channels)), (errors @ probes).reshape(-1)

    def _spread(self, probe: np.ndarray, rows: int, values: Mapping) -> dict[Hashable, np.ndarray]:
        """The gradient of a sum of outputs with respect to each of them."""
        spread, start = {}, 0
        for end, weight in zip(self.problem.ends, self.problem.weights, strict=True):
            shape = values[end.key].shape
            own = probe[start : start + int(np.prod(shape[1:]))] * weight
            start += len(own)
            own = own - own.mean() if end.is_relative else own
            spread[end.key] = np.broadcast_to(own.astype(np.float32), (rows, len(own))).reshape(shape)
        return spread

    def _row_count(self) -> int:
        """How many rows the work and the memory for gradients allow."""
        numbers = min(MOST_NUMBERS, sum(t.shape[1] for t in self.problem.targets))
        work = sum(step.form.multiplications for step in self.steps)
        channels = sum(self.steps[i].form.channels for i in self.problem.layers)
        most = min(MOST_WORK // (numbers * max(1, work)), LARGEST_MATRIX // (numbers * max(1, channels)))
        return int(np.clip(most, FEWEST_ROWS // 2, len(self.problem.fitting)))


def _probes(numbers: int) -> np.ndarray:
    """The sums of an inference's outputs that are looked at, [numbers, sums]: each by itself, or random ones."""
    if numbers <= MOST_NUMBERS:
        return np.eye(numbers)
    signs = np.random.default_rng(0).integers(0, 2, (numbers, MOST_NUMBERS)) * 2 - 1
    return signs / np.sqrt(MOST_NUMBERS)


def damped_solution(gradients: np.ndarray, errors: np.ndarray, damping: float) -> np.ndarray:
    """Minimises |gradients @ x + errors|^2 + ridge |x|^2, by the smaller one of the two equal systems."""
    many, channels = gradients.shape
    ridge = damping * max(float(np.square(gradients, dtype=np.float64).sum()) / channels, 1e-12)
    wide = gradients.astype(np.float64)
    if channels <= many:
        return -np.linalg.solve(wide.T @ wide + ridge * np.eye(channels), wide.T @ errors)
    return -wide.T @ np.linalg.solve(wide @ wide.T + ridge * np.eye(many), errors)
