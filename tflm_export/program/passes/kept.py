# SPDX-License-Identifier: Apache-2.0
"""Which channels of the values of a block are computed: those that reach an output and are not known beforehand."""

import collections
import functools
from collections.abc import Hashable

import numpy as np

from tflm_export.program.aligned_sum import AlignedSum, RescaledSum
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.form import Form
from tflm_export.program.lookup import Lookup
from tflm_export.program.move import Move
from tflm_export.program.passes.folded import Folding
from tflm_export.program.passes.moved_channels import runs_of
from tflm_export.program.passes.ranges import Ranges, channels_of
from tflm_export.program.pool import Pool
from tflm_export.program.product import Product
from tflm_export.program.program import Block
from tflm_export.program.reduction import Extreme, Mean, Reduction, Total
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.resize import Resize
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum


class Kept:
    """The channels that are computed, by value: the least set that every form agrees with, or a little more.

    Forms begin with what a block gives and ask for the channels they read, until nobody asks for more. A form that
    takes each output channel from the same channel of its inputs ties these together.

    Args:
      block: of a program.
      ranges: of its values.
      multiple: values that shrink keep a multiple of so many channels, where they have as many.
    """

    def __init__(self, block: Block, ranges: Ranges, multiple: int = 1):
        self.ranges = ranges
        self.foldings = {
            step.form.output.key: Folding(step.form, ranges)
            for step in block.steps
            if isinstance(step.form, WeightedSum) and Folding.fits(step.form)
        }
        self._forms = [step.form for step in block.steps]
        self._touching: dict[Hashable, set[int]] = collections.defaultdict(set)  # which forms have a value
        for i, form in enumerate(self._forms):
            for value in (*form.inputs, *form.outputs):
                self._touching[value.key].add(i)
        self._pending: set[int] = set()  # forms that have not seen what was asked for last
        self._marks: dict[Hashable, np.ndarray] = {}
        computed = [value for form in self._forms for value in form.outputs]
        for value in (*block.inputs, *block.outputs, *(v for v in computed if v.is_variable or not v.size)):
            self.ask(value, True)
            self._pending |= self._touching[value.key]
        self._close()
        for value in computed:
            self._round_up(value, multiple)
            self._close()

    def of(self, value: Value) -> np.ndarray:
        """Which channels of a value are kept, of constants all; bool [channels]."""
        if value.is_constant or value.is_variable:
            return np.ones(channels_of(value), bool)
        return self._marks.setdefault(value.key, np.zeros(channels_of(value), bool))

    def is_computed(self, value: Value) -> bool:
        """Whether anything of a value is."""
        return value.is_variable or not value.size or bool(self.of(value).any())

    def ask(self, value: Value, channels, where: slice = slice(None)) -> None:
        """Keeps channels of a value, or of a part of its channels."""
        marks = self.of(value)[where]
        if (~marks & channels).any():
            marks |= channels
            self._pending |= self._touching[value.key]

    def tie(self, a: Value, b: Value, of_a: slice = slice(None), of_b: slice = slice(None)) -> None:
        """Keeps the same channels of two values, or of parts of their channels; the fewer ones repeat in the others."""
        first, second = self.of(a)[of_a], self.of(b)[of_b]
        few = min(len(first), len(second))
        if not few or len(first) % few or len(second) % few:
            self.ask(a, True)
            self.ask(b, True)
            return
        both = first.reshape(-1, few).any(0) | second.reshape(-1, few).any(0)
        self.ask(a, np.tile(both, len(first) // few), of_a)
        self.ask(b, np.tile(both, len(second) // few), of_b)

    def _close(self) -> None:
        while self._pending:
            last = max(self._pending)
            self._pending.remove(last)
            if any(self.is_computed(y) for y in self._forms[last].outputs):
                _grow(self._forms[last], self)

    def _round_up(self, value: Value, multiple: int) -> None:
        """Keeps a few channels more of what shrinks, constant ones if there are any: those cost least."""
        marks = self.of(value)
        kept = int(np.count_nonzero(marks))
        missing = min(-kept % multiple, len(marks) - kept) if kept else 0
        if missing:
            order = np.lexsort((~self.ranges.constant(value), marks))  # dropped ones first, of these constant ones
            self.ask(value, np.isin(np.arange(len(marks)), order[:missing]))


@functools.singledispatch
def _grow(form: Form, kept: Kept) -> None:
    """Asks for what a form reads, and for the output channels that it cannot leave out. By default all."""
    for value in (*form.inputs, *form.outputs):
        kept.ask(value, True)


_ask_all = _grow.dispatch(Form)


@_grow.register
def _(form: WeightedSum, kept: Kept) -> None:
    folding = kept.foldings.get(form.output.key)
    (x,), y = form.inputs, form.output
    if folding is None:
        _ask_all(form, kept)
    elif form.is_depthwise:
        groups = kept.of(y).reshape(len(form.weights), -1).any(1) | kept.of(x)
        kept.ask(x, groups)
        kept.ask(y, np.repeat(groups, form.weights.shape[1]))
    else:
        read = folding.read[kept.of(y)].any(0)
        read[0] |= not (read.any() or kept.of(x).any())  # an image of no channels is none
        kept.ask(x, read)


@_grow.register
def _(form: Move, kept: Kept) -> None:
    """What is moved together stays together, so that no block falls apart."""
    runs = runs_of(form)
    if form.is_identity:
        kept.tie(form.inputs[0], form.output)
    elif runs is None:
        _ask_all(form, kept)
    elif not any(kept.of(form.output)[run.written_channels].any() for run in runs):
        _ask_all(form, kept)  # only what it fills is read: a border without anything in it is none
    else:
        for run in runs:
            kept.tie(form.inputs[run.source], form.output, run.read_channels, run.written_channels)


@_grow.register(Requantize)
@_grow.register(Prelu)
@_grow.register(Lookup)
@_grow.register(AlignedSum)
@_grow.register(RescaledSum)
@_grow.register(Product)
@_grow.register(Elementwise)
@_grow.register(Pool)
@_grow.register(Resize)
def _(form: Form, kept: Kept) -> None:
    for x in form.inputs:
        if x.is_constant:
            continue
        if channels_of(x) == channels_of(form.output):
            kept.tie(x, form.output)
        else:
            kept.ask(x, True)


@_grow.register(Mean)
@_grow.register(Total)
@_grow.register(Extreme)
def _(form: Reduction, kept: Kept) -> None:
    (x,) = form.inputs
    if len(x.shape) - 1 in form.axes or channels_of(x) != channels_of(form.output):
        _ask_all(form, kept)
    else:
        kept.tie(x, form.output)
