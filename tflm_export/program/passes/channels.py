# SPDX-License-Identifier: Apache-2.0
"""Channels that are constant or that nobody reads go; forms compute the others, with the constants in their biases."""

import dataclasses
import functools
import math
from collections.abc import Hashable

import numpy as np

from tflm_export.program.form import Broadcasting, Form
from tflm_export.program.move import Move
from tflm_export.program.passes import folded, moved_channels
from tflm_export.program.passes.constants import LARGEST, fold_constants
from tflm_export.program.passes.kept import Kept
from tflm_export.program.passes.ranges import Ranges, channels_of
from tflm_export.program.passes.rewrite import each_block
from tflm_export.program.passes.unused import remove_unused
from tflm_export.program.program import Block, Program, Step
from tflm_export.program.value import Selection, Value
from tflm_export.program.weighted_sum import WeightedSum


def drop_channels(program: Program, multiple: int = 1) -> Program:
    """A program that computes no channel that is constant over all inputs there are, or that reaches no output.

    A constant is what the clamps, the weights and the constants of the forms before allow, not only what the type does.
    What is left is what it was; a value of fewer channels has a key of its own and says which they are (`selection`).
    Channels that are constant stay where they cannot be left out: behind a layer's padding with something else than the
    zero point, and beside others that are not constant in a sum of two values.

    Args:
      program: of any forms.
      multiple: values keep a multiple of so many channels, where they have as many: what kernels are fastest with.
    """
    computed = math.inf
    while _computed(program) < computed:  # what is left of a value may be constant as a whole
        computed = _computed(program)
        program = remove_unused(fold_constants(each_block(program, _with_constants)))
        program = remove_unused(each_block(program, functools.partial(_without_channels, multiple=multiple)))
    return program


def _computed(program: Program) -> int:
    """Elements of all values that a program computes."""
    forms = (step.form for block in program.blocks if block is not None for step in block.steps)
    return sum(value.size for form in forms for value in form.outputs)


def _with_constants(block: Block) -> Block:
    """Forms read constants in place of values that are constant as a whole."""
    ranges, given = Ranges(block), {value.key for value in block.outputs}
    known: dict[Hashable, Value] = {}
    for step in block.steps:
        for y in step.form.outputs:
            if y.size <= LARGEST and y.key not in given and ranges.constant(y).all():
                row = ranges.of(y).low.astype(y.dtype)
                data = np.broadcast_to(row, y.shape or (1,)).reshape(y.shape)
                known[y.key] = dataclasses.replace(y, data=np.ascontiguousarray(data).reshape(y.shape))
    return dataclasses.replace(block, steps=tuple(_reading(step, known) for step in block.steps))


def _reading(step: Step, known: dict[Hashable, Value]) -> Step:
    """A step with constants in place of values; beside another value, one row of them is enough."""
    form = step.form
    if not any(x.key in known for x in form.inputs):
        return step
    inputs = [known.get(x.key, x) for x in form.inputs]
    if isinstance(form, Broadcasting) and not all(x.is_constant for x in inputs):
        whole = any(not x.is_constant and x.shape == form.output.shape for x in inputs)
        inputs = [_row(x) if whole and x.key in known and x.shape else x for x in inputs]
    return dataclasses.replace(step, form=dataclasses.replace(form, inputs=tuple(inputs)))


def _row(value: Value) -> Value:
    """The last axis of a constant that is the same along all others."""
    data = value.data.reshape(-1, channels_of(value))[0]
    return dataclasses.replace(value, key=(value.key, "row"), shape=data.shape, data=data)


def _without_channels(block: Block, multiple: int) -> Block:
    kept = Kept(block, Ranges(block), multiple)
    steps = []
    for step in block.steps:
        outputs = step.form.outputs
        if not outputs or any(kept.is_computed(y) for y in outputs):
            steps.append(dataclasses.replace(step, form=_shrunk(step.form, kept)))
    return dataclasses.replace(block, steps=tuple(steps))


def _shrunk(form: Form, kept: Kept) -> Form:
    """A form of the channels that are kept."""
    values = (*form.inputs, *form.outputs)
    marks = [kept.of(value) for value in values]
    if all(own.all() for own in marks):
        return form
    inputs = tuple(_selected(x, _read(x, form, kept)) for x in form.inputs)
    (output,) = (_selected(y, kept.of(y)) for y in form.outputs)
    if isinstance(form, WeightedSum):
        folding = kept.foldings[form.output.key]
        return folded.without_channels(form, folding, inputs[0], output, marks[0], marks[1])
    if isinstance(form, Move):
        return moved_channels.without_channels(form, inputs, output, marks)
    return dataclasses.replace(form, inputs=inputs, outputs=(output,))


def _read(x: Value, form: Form, kept: Kept) -> np.ndarray:
    """Which channels of an input a form reads: of a constant beside other values those of the output."""
    beside = x.is_constant and isinstance(form, Broadcasting) and channels_of(x) == channels_of(form.output)
    return kept.of(form.output) if beside else kept.of(x)


def _selected(value: Value, marks: np.ndarray) -> Value:
    """A value of some of its channels."""
    if marks.all():
        return value
    (indices,) = marks.nonzero()
    whole = value.selection or Selection(value.key, len(marks), np.arange(len(marks)))
    return dataclasses.replace(
        value,
        key=(value.key, "channels", indices.tobytes()),
        shape=(*value.shape[:-1], len(indices)),
        data=None if value.data is None else np.ascontiguousarray(value.data[..., indices]),
        selection=dataclasses.replace(whole, indices=whole.indices[indices]),
    )
