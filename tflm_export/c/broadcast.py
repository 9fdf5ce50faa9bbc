# SPDX-License-Identifier: Apache-2.0
"""Values of different shapes that broadcast to one another, as strides over as few axes as there can be.

Nothing of this is left to C: kernels get an inner loop and what is around it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflm_export.c.literals import integers
from tflm_export.c.step import UnsupportedError
from tflm_export.program.move import contiguous
from tflm_export.program.value import Value

MOST_AXES = 8  # around rows: NARROW_MOST_AXES in kernels/narrow_broadcast.h


@dataclasses.dataclass(frozen=True)
class Walk:
    """How to come by all elements of an output in their order.

    Attributes:
      sizes: of the axes, the innermost last; one axis at least.
      strides: for each input, its steps along the axes, in elements; 0 where it repeats.
    """

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]


def walk(shapes: Sequence[Sequence[int]], shape: Sequence[int]) -> Walk:
    """The walk through inputs of some shapes that broadcast to an output's shape.

    Axes that all inputs go through, or repeat over, as they do through the next one are one with it; axes of one
    element are none.
    """
    steps = [_strides(own, shape) for own in shapes]
    axes: list[tuple[int, list[int]]] = []
    for size, *own in zip(shape, *steps, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == [step * size for step in own]:
            axes[-1] = (axes[-1][0] * size, own)
        else:
            axes.append((size, own))
    axes = axes or [(1, [1] * len(shapes))]
    return Walk(tuple(size for size, _ in axes), tuple(zip(*(own for _, own in axes), strict=True)))


def _strides(own: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    lined_up = (1,) * (len(shape) - len(own)) + tuple(own)
    steps = contiguous(lined_up)
    return tuple(0 if size == 1 else step for size, step in zip(lined_up, steps, strict=True))


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The walk of a form of two inputs, for kernels/narrow_broadcast.h.

    Attributes:
      statement: defines the narrow_broadcast `shape`.
      constants: the arrays it names.
    """

    statement: str
    constants: dict[str, np.ndarray]


def pairs(inputs: Sequence[Value], output: Value) -> Pairs:
    """The walk of a form of two inputs.

    Raises:
      UnsupportedError: there are too many axes along which they broadcast differently.
    """
    found = walk([value.shape for value in inputs], output.shape)
    *outer, count = found.sizes
    steps = [strides[-1] for strides in found.strides]
    if 0 in found.sizes:
        outer, count = [], 0
    if len(outer) > MOST_AXES:
        shapes = " and ".join(str(list(value.shape)) for value in inputs)
        raise UnsupportedError(f"{shapes} broadcast along more than {MOST_AXES + 1} axes")
    names = ("sizes", "strides") if outer else ("0", "0")
    fields = f"{integers(count, *steps, len(outer))}, {', '.join(names)}"
    around = [strides[:-1] for strides in found.strides]
    constants = {"sizes": np.array(outer, np.int32), "strides": np.array(around, np.int32).T} if outer else {}
    return Pairs(f"static const narrow_broadcast shape = {{{fields}}};", constants)
