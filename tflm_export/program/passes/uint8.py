# SPDX-License-Identifier: Apache-2.0
"""uint8 between layers becomes int8: the same numbers less 128, which kernels for int8 then compute."""

import dataclasses
from collections.abc import Callable, Hashable

import numpy as np

from tflm_export.program.aligned_sum import AlignedSum, RescaledSum
from tflm_export.program.convert import Dequantize, QuantizeReal
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.form import Form
from tflm_export.program.gather import Gather, GatherNd, Update
from tflm_export.program.lookup import Lookup
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.move import Move
from tflm_export.program.passes.rewrite import each_block
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.product import Product
from tflm_export.program.program import Block, Program, Step
from tflm_export.program.reduction import Extreme, Mean, Position, Total
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.softmax import Softmax
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.rescale import IDENTITY

OFFSET = 128
_Change = dict[str, object]  # fields of a form in place of its own


def signed(program: Program) -> Program:
    """A program that computes in int8 where it did in uint8, if it has sums of products of uint8; else as it is.

    Its inputs, outputs and variables stay. Between uint8 and int8 go elements with 128 taken off, or added.
    """
    forms = [step.form for block in program.blocks if block is not None for step in block.steps]
    if not any(isinstance(form, WeightedSum) and form.inputs[0].dtype == np.uint8 for form in forms):
        return program
    return each_block(program, lambda block: _Signing(block).changed())


@dataclasses.dataclass(frozen=True)
class _Offsets:
    """What is taken off the inputs and the outputs of a form: 128 of uint8, else 0."""

    inputs: tuple[int, ...]
    output: int

    @classmethod
    def of(cls, form: Form) -> "_Offsets":
        first, *_ = form.outputs
        return cls(tuple(map(_offset, form.inputs)), _offset(first))

    def zero_points(self, given: tuple[int, ...]) -> tuple[int, ...]:
        """Those of the inputs."""
        return tuple(zero - offset for zero, offset in zip(given, self.inputs, strict=True))

    def clamp(self, given: tuple[int, int]) -> tuple[int, int]:
        """That of the output."""
        return given[0] - self.output, given[1] - self.output


class _Signing:
    """A block on its way.

    Args:
      block: as it was.
    """

    def __init__(self, block: Block):
        self.block = block
        self.steps: list[Step] = []
        self.as_int8: dict[Hashable, Value] = {}  # by the key of a uint8 value: the int8 one
        self.as_uint8 = {value.key for value in block.inputs}  # the uint8 values that there are

    def changed(self) -> Block:
        for step in self.block.steps:
            self._step(step)
        if self.steps:
            for value in self.block.outputs:
                self._uint8(value, self.steps[-1])
        return dataclasses.replace(self.block, steps=tuple(self.steps))

    def _step(self, step: Step) -> None:
        form = step.form
        made = None if any(value.is_variable for value in (*form.inputs, *form.outputs)) else change_of(form)
        if made is None:
            for value in form.inputs:
                self._uint8(value, step)
            self.as_uint8 |= {value.key for value in form.outputs}
            self.steps.append(step)
            return
        inputs = tuple(self._int8(value, step) if _offset(value) else value for value in form.inputs)
        outputs = tuple(self._new(value) if _offset(value) else value for value in form.outputs)
        self.steps.append(dataclasses.replace(step, form=made(inputs, outputs)))

    def _new(self, value: Value) -> Value:
        """The int8 value of a uint8 one."""
        data = None if value.data is None else _less(value.data)
        own = dataclasses.replace(value.part("int8", np.int8), data=data)
        real = {"scale": value.scale, "zero_point": value.zero_point - OFFSET}
        own = dataclasses.replace(own, name=value.name, selection=value.selection, **real)
        self.as_int8[value.key] = own
        return own

    def _int8(self, value: Value, step: Step) -> Value:
        """The same, made of the uint8 value in front of a step if nothing else gave it."""
        if value.key in self.as_int8:
            return self.as_int8[value.key]
        own = self._new(value)
        if not value.is_constant:
            self._moved(value, own, -OFFSET, step)
        return own

    def _uint8(self, value: Value, step: Step) -> None:
        """Makes the uint8 value of an int8 one if somebody wants it."""
        if _offset(value) and value.key in self.as_int8 and value.key not in self.as_uint8 and value.data is None:
            self.as_uint8.add(value.key)
            self._moved(self.as_int8[value.key], value, OFFSET, step)

    def _moved(self, x: Value, y: Value, offset: int, step: Step) -> None:
        form = Requantize(
            inputs=(x,), outputs=(y,), input_zero_point=0, rescale=IDENTITY, zero_point=offset, clamp=y.limits
        )
        self.steps.append(dataclasses.replace(step, form=form))


def change_of(form: Form) -> Callable[[tuple[Value, ...], tuple[Value, ...]], Form] | None:
    """What makes the form that computes the same of and as int8, from its inputs and outputs; None where none does."""
    change = _CHANGES.get(type(form))
    if change is None or len({_offset(value) for value in form.outputs}) != 1:
        return None
    offsets = _Offsets.of(form)
    if not offsets.output and not any(offsets.inputs):
        return lambda inputs, outputs: form
    made = change(form, offsets)
    return None if made is None else lambda inputs, outputs: _with(form, made, inputs, outputs)


def _with(form: Form, made: _Change | Form, inputs: tuple[Value, ...], outputs: tuple[Value, ...]) -> Form:
    fields = {"inputs": inputs, "outputs": outputs}
    if isinstance(made, _Means):
        return Mean(**fields, **made)
    return dataclasses.replace(form, **fields, **made)


class _Means(dict):
    """Fields of a Mean that takes the place of a form of another type."""


def _offset(value: Value) -> int:
    return OFFSET if value.dtype == np.uint8 else 0


def _less(data: np.ndarray) -> np.ndarray:
    return (data.astype(np.int16) - OFFSET).astype(np.int8)


def _sum(form: WeightedSum, off: _Offsets) -> _Change:
    """Weights that all fit int8 become int8, too."""
    low, high = int(form.weights.min(initial=0)), int(form.weights.max(initial=0))
    fits = low >= -OFFSET and high < OFFSET
    return {
        "weights": form.weights.astype(np.int8) if fits else form.weights,
        "input_zero_point": form.input_zero_point - off.inputs[0],
    } | _ended(form, off)


def _ended(form: WeightedSum | RescaledSum | Product | MatrixProduct | Requantize, off: _Offsets) -> _Change:
    return {"zero_point": form.zero_point - off.output, "clamp": off.clamp(form.clamp)}


def _terms(form: RescaledSum | Product | MatrixProduct, off: _Offsets) -> _Change:
    return {"zero_points": off.zero_points(form.zero_points)} | _ended(form, off)


def _aligned(form: AlignedSum, off: _Offsets) -> _Change:
    raised = sum(factor * offset for factor, offset in zip(form.factors, off.inputs, strict=True))
    return {
        "zero_points": off.zero_points(form.zero_points),
        "start": form.start + raised - (off.output << form.shift),
        "clamp": off.clamp(form.clamp),
    }


def _requantized(form: Requantize, off: _Offsets) -> _Change:
    return {"input_zero_point": form.input_zero_point - off.inputs[0]} | _ended(form, off)


def _prelu(form: Prelu, off: _Offsets) -> _Change:
    return {"zero_points": off.zero_points(form.zero_points), "zero_point": form.zero_point - off.output}


def _mean(form: Mean, off: _Offsets) -> _Change:
    raised = off.inputs[0] * form.count * form.factor
    return {
        "input_zero_point": form.input_zero_point - off.inputs[0],
        "start": form.start + raised - off.output * form.divisor,
    }


def _total(form: Total, off: _Offsets) -> _Change:
    return {
        "input_zero_point": form.input_zero_point - off.inputs[0],
        "zero_point": form.zero_point - off.output,
    }


def _same_offsets(change: Callable) -> Callable:
    """Of forms whose output is made of elements of their inputs: only if all of them become int8."""

    def checked(form: Form, off: _Offsets) -> _Change | None:
        return change(form, off) if off.output and any(off.inputs) else None

    return checked


def _moved(form: Move, off: _Offsets) -> _Change | None:
    fill = None if form.fill is None else form.fill - off.output
    return {"fill": fill} if all(off.inputs) else None


def _average(form: AveragePool, off: _Offsets) -> _Change | None:
    """As a Mean, if of whole images: halves of integers that are not negative go up, of others away from zero."""
    height, width = form.windows.height, form.windows.width
    is_whole = all((a.output, a.before, a.kernel, a.dilation) == (1, 0, a.size, 1) for a in (height, width))
    if not is_whole or form.clamp != form.output.limits:
        return None
    count = height.size * width.size
    return _Means(
        axes=(1, 2), input_zero_point=0, rescale=IDENTITY, factor=1, start=count // 2, divisor=count
    )  # fmt: skip


def _pooled(form: MaxPool, off: _Offsets) -> _Change:
    return {"clamp": off.clamp(form.clamp)}


def _nothing(form: Form, off: _Offsets) -> _Change:
    return {}


def _looked_up(form: Lookup, off: _Offsets) -> _Change:
    return {"table": _less(form.table) if off.output else form.table}


def _real(form: QuantizeReal | Dequantize, off: _Offsets) -> _Change:
    return {"zero_point": form.zero_point - (off.output or off.inputs[0])}


def _larger_or_smaller(form: Elementwise, off: _Offsets) -> _Change | None:
    if form.function not in ("maximum", "minimum") or not all(off.inputs):
        return None
    return {"clamp": None if form.clamp is None else off.clamp(form.clamp)}


_CHANGES: dict[type[Form], Callable[..., _Change | None]] = {
    WeightedSum: _sum,
    AlignedSum: _aligned,
    RescaledSum: _terms,
    Product: _terms,
    MatrixProduct: _terms,
    Requantize: _requantized,
    Prelu: _prelu,
    Mean: _mean,
    Total: _total,
    Extreme: _same_offsets(_nothing),
    Position: _nothing,
    AveragePool: _same_offsets(_average),
    MaxPool: _same_offsets(_pooled),
    Softmax: _nothing,
    Lookup: _looked_up,
    Move: _same_offsets(_moved),
    Gather: _same_offsets(_nothing),
    GatherNd: _same_offsets(_nothing),
    Update: _same_offsets(_nothing),
    Elementwise: _same_offsets(_larger_or_smaller),
    QuantizeReal: _real,
    Dequantize: _real,
}
