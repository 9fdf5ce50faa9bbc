# SPDX-License-Identifier: Apache-2.0
"""Every movement of data, as strided copies."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from tflm_export.program.form import Form
from tflm_export.program.value import Value


@dataclasses.dataclass(frozen=True)
class Copy:
    """A block of elements that goes from one place to another.

    Attributes:
      source: which of the inputs.
      sizes: of the block.
      input_offset, input_strides: where it stands in the flat input, in elements; strides may be 0 or negative.
      output_offset, output_strides: where it goes.
    """

    source: int
    sizes: tuple[int, ...]
    input_offset: int
    input_strides: tuple[int, ...]
    output_offset: int
    output_strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Move(Form):
    """Elements of the inputs, elsewhere.

    Attributes:
      copies: blocks that do not meet in the output.
      fill: what stands where no block goes; None where there is no such place.

    Raises:
      ValueError: a block leaves its input or the output, or the output's type does not hold the fill.
    """

    copies: tuple[Copy, ...]
    fill: int | None = None

    def __post_init__(self):
        if self.fill is not None and not self.output.limits[0] <= self.fill <= self.output.limits[1]:
            raise ValueError(f"{self.output.dtype.name} does not hold its padding {self.fill}")
        for copy in self.copies:
            for size, offset, strides in (
                (self.inputs[copy.source].size, copy.input_offset, copy.input_strides),
                (self.output.size, copy.output_offset, copy.output_strides),
            ):
                ends = [stride * (n - 1) for n, stride in zip(copy.sizes, strides, strict=True)]
                low, high = offset + sum(min(e, 0) for e in ends), offset + sum(max(e, 0) for e in ends)
                if 0 not in copy.sizes and not 0 <= low <= high < size:
                    raise ValueError(f"elements {low} to {high} of {size} are moved")

    @property
    def is_identity(self) -> bool:
        """Whether the output's elements are the input's, in their order."""
        if len(self.copies) != 1 or self.inputs[0].size != self.output.size:
            return False
        (copy,) = self.copies
        steps = zip(copy.sizes, copy.input_strides, copy.output_strides, contiguous(copy.sizes), strict=True)
        dense = all(own == other == step for size, own, other, step in steps if size > 1)
        return dense and math.prod(copy.sizes) == self.output.size

    def evaluate(self, *inputs):
        runs = max(len(x) for x in inputs)
        flat = [x.reshape(len(x), -1) for x in inputs]
        y = np.empty((runs, self.output.size), self.output.dtype)
        if self.fill is not None:
            y.fill(self.fill)
        for copy in self.copies:
            if 0 not in copy.sizes:
                _block(y, copy.sizes, copy.output_offset, copy.output_strides)[...] = _block(
                    flat[copy.source], copy.sizes, copy.input_offset, copy.input_strides
                )
        return (y.reshape(runs, *self.output.shape),)


def _block(flat: np.ndarray, sizes: tuple, offset: int, strides: tuple) -> np.ndarray:
    """A view of [rows, elements] as [rows, *sizes]; the caller has checked that it is inside."""
    rows, step = flat.strides
    return np.lib.stride_tricks.as_strided(
        flat[:, offset:], (len(flat), *sizes), (rows, *(step * stride for stride in strides))
    )


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a shape in row-major order, in elements."""
    return tuple(itertools.accumulate([1, *reversed(shape[1:])], lambda a, b: a * b))[::-1] if len(shape) else ()


def same(x: Value, y: Value) -> Move:
    """The same elements, in another shape or place.

    Raises:
      ValueError: there are more of one than of the other.
    """
    if x.size != y.size:
        raise ValueError(f"{list(x.shape)} does not become {list(y.shape)}")
    return Move(inputs=(x,), outputs=(y,), copies=(Copy(0, (x.size,), 0, (1,), 0, (1,)),))


def regrouped(x: Value, y: Value, split: Sequence[int], order: Sequence[int]) -> Move:
    """The input in a shape of more dimensions, these in another order.

    Args:
      x, y: input and output.
      split: the shape, of as many elements as the input.
      order: the dimension of `split` that each dimension of the output's elements is.

    Raises:
      ValueError: sizes do not fit, or `order` is no permutation.
    """
    if sorted(order) != list(range(len(split))) or np.prod(split, dtype=np.int64) != x.size or x.size != y.size:
        raise ValueError(f"{list(x.shape)} as {list(split)} in the order {list(order)} is no {list(y.shape)}")
    strides = contiguous(split)
    sizes = tuple(int(split[i]) for i in order)
    return Move(
        inputs=(x,), outputs=(y,), copies=(Copy(0, sizes, 0, tuple(strides[i] for i in order), 0, contiguous(sizes)),)
    )


def repeated(x: Value, y: Value, sizes: Sequence[int], strides: Sequence[int]) -> Move:
    """Every element of the output from a strided place of the input, in the output's order; strides of 0 repeat."""
    if np.prod(sizes, dtype=np.int64) != y.size:
        raise ValueError(f"{list(x.shape)} repeated to {list(sizes)} is no {list(y.shape)}")
    return Move(inputs=(x,), outputs=(y,), copies=(Copy(0, tuple(sizes), 0, tuple(strides), 0, contiguous(sizes)),))


def joined(inputs: Sequence[Value], y: Value, axis: int, shape: Sequence[int] | None = None) -> Move:
    """Tensors side by side along an axis of the output's shape, or of another shape of its elements.

    Raises:
      ValueError: sizes do not fit.
    """
    shape = y.shape if shape is None else shape
    outer, width = int(np.prod(shape[:axis], dtype=np.int64)), int(np.prod(shape[axis:], dtype=np.int64))
    copies, start = [], 0
    for i, x in enumerate(inputs):
        own, rest = divmod(x.size, max(1, outer))
        if rest:
            raise ValueError(f"{list(x.shape)} is no part of {list(shape)} along axis {axis}")
        copies.append(Copy(i, (outer, own), 0, (own, 1), start, (width, 1)))
        start += own
    if start != width and y.size:
        raise ValueError(f"parts of {[list(x.shape) for x in inputs]} along axis {axis} are no {list(shape)}")
    return Move(inputs=tuple(inputs), outputs=(y,), copies=tuple(copies))


def parts(x: Value, outputs: Sequence[Value], axis: int, widths: Sequence[int]) -> tuple[Move, ...]:
    """A tensor cut along an axis, a form for each part.

    Raises:
      ValueError: widths do not add up to the axis, or do not fit the outputs.
    """
    outer = math.prod(x.shape[:axis])
    width, inner = math.prod(x.shape[axis:]), math.prod(x.shape[axis + 1 :])
    if sum(widths) != x.shape[axis] or len(widths) != len(outputs) or min(widths, default=0) < 0:
        raise ValueError(f"{list(x.shape)} along axis {axis} does not fall into {len(outputs)} parts of {list(widths)}")
    forms, start = [], 0
    for y, count in zip(outputs, widths, strict=True):
        own = count * inner
        if outer * own != y.size:
            raise ValueError(f"{count} of {list(x.shape)} along axis {axis} is no {list(y.shape)}")
        copy = Copy(0, (outer, own), start, (width, 1), 0, (own, 1))
        forms.append(Move(inputs=(x,), outputs=(y,), copies=(copy,)))
        start += own
    return tuple(forms)


def padded(x: Value, y: Value, before: Sequence[int], fill: int) -> Move:
    """A tensor inside a border.

    Raises:
      ValueError: it does not fit into the output there.
    """
    if len(x.shape) != len(y.shape) or len(before) != len(y.shape):
        raise ValueError(f"{list(x.shape)} with {list(before)} in front is no {list(y.shape)}")
    if any(not 0 <= b <= b + n <= m for b, n, m in zip(before, x.shape, y.shape, strict=True)):
        raise ValueError(f"{list(x.shape)} with {list(before)} in front does not fit into {list(y.shape)}")
    strides = contiguous(y.shape)
    offset = sum(b * stride for b, stride in zip(before, strides, strict=True))
    copy = Copy(0, x.shape, 0, contiguous(x.shape), offset, strides)
    return Move(inputs=(x,), outputs=(y,), copies=(copy,), fill=fill)


def selected(x: Value, y: Value, positions: Sequence[Sequence[int]]) -> Move:
    """The elements at given positions of each axis.

    Args:
      x, y: input and output.
      positions: for each axis of the input, from the front.

    Raises:
      ValueError: positions are outside, or not as many as the output has.
    """
    if np.prod([len(p) for p in positions], dtype=np.int64) != y.size or len(positions) != len(x.shape):
        raise ValueError(f"{[len(p) for p in positions]} elements of {list(x.shape)} are no {list(y.shape)}")
    strides, steps = contiguous(x.shape), contiguous([len(p) for p in positions])
    copies = []
    for runs in itertools.product(*(_progressions(p) for p in positions)):
        offset = sum(first * stride for (_, first, _, _), stride in zip(runs, strides, strict=True))
        place = sum(start * step for (start, _, _, _), step in zip(runs, steps, strict=True))
        sizes = tuple(count for _, _, count, _ in runs)
        moves = tuple(stride * jump for (_, _, _, jump), stride in zip(runs, strides, strict=True))
        copies.append(Copy(0, sizes, offset, moves, place, steps))
    if any(not 0 <= p < size for own, size in zip(positions, x.shape, strict=True) for p in own):
        raise ValueError(f"positions outside {list(x.shape)} are selected")
    return Move(inputs=(x,), outputs=(y,), copies=tuple(copies))


def _progressions(positions: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Positions as arithmetic progressions: (index of the first, first, count, step)."""
    found, start = [], 0
    while start < len(positions):
        step = positions[start + 1] - positions[start] if start + 1 < len(positions) else 1
        end = start + 1
        while end < len(positions) and positions[end] - positions[end - 1] == step:
            end += 1
        found.append((start, positions[start], end - start, step))
        start = end
    return found


def padding_of(move: Move) -> list[tuple[int, int]] | None:
    """How many elements of the fill stand before and behind each axis; None where a move is no border."""
    x, y = move.inputs[0], move.output
    if move.fill is None or len(move.copies) != 1 or len(x.shape) != len(y.shape):
        return None
    (copy,) = move.copies
    if (copy.sizes, copy.input_strides, copy.output_strides) != (x.shape, contiguous(x.shape), contiguous(y.shape)):
        return None
    offset, border = copy.output_offset, []
    for size, side, stride in zip(x.shape, y.shape, copy.output_strides, strict=True):
        before, offset = divmod(offset, stride)
        border.append((before, side - size - before))
    return border if copy.input_offset == 0 else None
