# SPDX-License-Identifier: Apache-2.0
"""Factors and biases of the layers that keep their weights, chosen one layer after the other.

Each layer is given what the narrowed layers before it compute from real inputs, and is to give what the stock model's
layer gives on the same rows. So a channel makes up for the mean, and often for the gain, of the errors in front of it.
"""

import dataclasses
from collections.abc import Hashable, Mapping
from typing import cast

import numpy as np

from tflm_export import lowering
from tflm_export.arithmetic import Narrow
from tflm_export.flatbuffer.model import Model, Operator
from tflm_export.grid import Grid
from tflm_export.kept.candidates import Sums, best
from tflm_export.kept.refinement import refined
from tflm_export.ops import op_for
from tflm_export.ops.base import Chosen
from tflm_export.ops.constants import rounded_bias
from tflm_export.ops.weighted import WeightedOp
from tflm_export.program.form import row_blocks
from tflm_export.program.program import Program, Step
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.simulator import Trace

FLOOR_OR_CEIL = ("down", "up")
NEAREST = ("nearest",)
LARGEST_SAMPLE = 1 << 20  # outputs of a layer that candidates are compared on
FEWEST_SAMPLES = 512  # of each channel, however many channels there are


def choose(
    moved: Model,
    trace: Trace,
    grids: Mapping[tuple[int, int], Grid],
    roundings: tuple[str, ...] = FLOOR_OR_CEIL,
    refine: bool = True,
    integers_stay: bool = False,
) -> dict[tuple[int, int], Chosen]:
    """Factors and biases by operator.

    Args:
      moved: the model with all that is decided but these: the weights and biases of operators that keep theirs are the
        stock model's, activations have the scales they are to have.
      trace: what the stock model's tensors held on real rows.
      grids: of the operators that keep their weights and are to be narrowed, by (subgraph, index).
      roundings: of the factors to choose from; `NEAREST` alone leaves the biases to be corrected.
      refine: whether biases are then adjusted for the model's outputs (`refinement`).
      integers_stay: whether activations are to hold the integers of the stock model, whatever their scales say, as
        `keep` without data has it; else the real numbers.

    Returns:
      What was chosen, by (subgraph, index), for those of `grids` in the main subgraph that are sums of products with
      constant weights and no variables; nothing where all their factors are on the grids already.
    """
    if all(grids[op.key].contains(op_for(op).factors(op)).all() for op in moved.operators if op.key in grids):
        return {}
    walk = _Walk(moved, trace, grids, roundings, integers_stay)
    block = walk.program.main
    steps = [walk.step(step) for step in block.steps]
    adjusted = dict(walk.chosen)
    if refine and walk.chosen and not walk.program.has_state:
        targets = {value.key: walk.target(value.key) for step in steps for value in step.form.outputs}
        biases = refined(block, tuple(steps), walk.inputs, targets, walk.adjustable)
        for key, bias in biases.items():
            adjusted[key] = dataclasses.replace(adjusted[key], bias=bias)
    return adjusted


class _Walk:
    """A program in its order, with the values that later forms read.

    Where a program has state, values depend on the rows before them, and layers are given the stock model's inputs.
    """

    def __init__(self, moved: Model, trace: Trace, grids: Mapping, roundings: tuple[str, ...], integers_stay: bool):
        self.trace, self.grids, self.roundings = trace, grids, roundings
        self.program: Program = lowering.lower(moved, Narrow())
        meant = trace.model if integers_stay else moved  # whose scales say what integers are to be
        self.operators = {op.key: op for op in meant.operators}
        pairs = zip(trace.model.subgraphs[0].tensors, meant.subgraphs[0].tensors, strict=True)
        self.tensors = {old.key: (old, new) for old, new in pairs}
        self.rows = max(len(trace.tensors[t.key]) // (t.shape or (1,))[0] for t in trace.model.subgraphs[0].inputs)
        self.inputs = {value.key: self._stock(value.key) for value in self.program.main.inputs}
        self.values: dict[Hashable, np.ndarray] = dict(self.inputs)
        self.last = {v.key: step for step in self.program.main.steps for v in step.form.inputs}
        self.chosen: dict[tuple[int, int], Chosen] = {}

    @property
    def adjustable(self) -> set[tuple[int, int]]:
        """The operators whose bias can take another value."""
        return {key for key, found in self.chosen.items() if found.bias is not None}

    def _stock(self, key: Hashable) -> np.ndarray:
        """What the stock model's tensor held, [rows, *shape]."""
        found = self.trace.tensors[key]
        return found.reshape(self.rows, *self.tensors[key][1].shape)

    def target(self, key: Hashable) -> np.ndarray | None:
        """What a tensor is to hold at its new scale, [rows, *shape]; None for what is no tensor of the file."""
        if key not in self.tensors or key not in self.trace.tensors:
            return None
        old, new = self.tensors[key]
        found = self._stock(key)
        if not old.is_quantized or old.scale == new.scale:
            return found
        real = (found - np.float32(old.zero_point)) * np.float32(old.scale / new.scale) + np.float32(new.zero_point)
        limits = np.iinfo(found.dtype)
        return np.clip(real, limits.min, limits.max)

    def step(self, step: Step) -> Step:
        """The step with what was chosen for it; its outputs become known."""
        key = step.origin.key
        operator, form = self.operators[key], step.form
        if key in self.grids and isinstance(form, WeightedSum) and self._is_known(form):
            found = self.chosen[key] = self._chosen(operator, form, self.grids[key])
            step = Step(step.origin, with_choice(form, found, self.grids[key]))
        if not self.program.has_state:
            outputs = step.evaluate(*(value.among(self.values) for value in form.inputs))
            for value, array in zip(form.outputs, outputs, strict=True):
                self.values[value.key] = np.broadcast_to(array, (self.rows, *array.shape[1:]))
            for value in form.inputs:
                if self.last[value.key].form is form:
                    self.values.pop(value.key, None)
        return step

    def _is_known(self, form: WeightedSum) -> bool:
        """Whether the stock model says what a layer's inputs and outputs are; not of variables."""
        needed = [form.output, *(form.inputs[:1] if self.program.has_state else ())]
        return all(self.target(value.key) is not None for value in needed)

    def _chosen(self, operator: Operator, form: WeightedSum, grid: Grid) -> Chosen:
        x = form.inputs[0]
        inputs = x.among(self.values) if not self.program.has_state else self._rounded_target(x)
        op = cast(WeightedOp, op_for(operator))
        layer = op.layer(operator)
        bias = None
        if layer.bias is not None:
            old = self.tensors[layer.x.key][0].scale
            bias = form.bias * (old / layer.x.scale if layer.x.scale else 1.0)
        sums = _sums(form, inputs, self.target(form.output.key))
        factors, corrected = best(sums, op.factors(operator), bias, grid, self.roundings)
        # What is chosen next is to see the biases as the file can hold them.
        return Chosen(factors, corrected if layer.bias is None else rounded_bias(layer.bias, corrected))

    def _rounded_target(self, value) -> np.ndarray:
        return np.rint(self.target(value.key)).astype(value.dtype)


def with_choice(form: WeightedSum, found: Chosen, grid: Grid) -> WeightedSum:
    """A form with the factors and the bias that were chosen for it."""
    bias = form.bias if found.bias is None else found.bias.astype(np.int64)
    return dataclasses.replace(form, rescale=Narrow(grid).rescale(found.factors, form.is_wide), bias=bias)


def _sums(form: WeightedSum, inputs: np.ndarray, target: np.ndarray) -> Sums:
    """A sample of the sums of a layer without their bias, beside what their outputs are to be."""
    images = inputs.reshape(-1, *form.image_shape[1:])
    windows = form.windows.outputs
    count = len(images) * windows
    most = max(FEWEST_SAMPLES, LARGEST_SAMPLE // form.channels)
    sample = np.arange(count)
    if count > most:
        sample = np.sort(np.random.default_rng(0).choice(count, most, replace=False))
    found = []
    for block in row_blocks(len(images), windows * (12 * form.rows.shape[1] + 24 * form.channels)):
        first, last = np.searchsorted(sample, (block.start * windows, block.stop * windows))
        if first < last:
            sums = form.sums(images[block]).reshape(-1, form.channels)
            found.append(sums[sample[first:last] - block.start * windows] - form.bias)
    wanted = target.reshape(-1, form.channels)[sample]
    return Sums(np.concatenate(found).astype(np.float64), wanted.astype(np.float64), form.zero_point, form.clamp)
