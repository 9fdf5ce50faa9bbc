# SPDX-License-Identifier: Apache-2.0
"""Which movements of data the kernels have: rows side by side, and a block inside a border."""

import dataclasses

from tflm_export.program.move import Copy, Move, contiguous

_MOST_AXES = 4


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows that follow one another in the input and stand apart in the output.

    Attributes:
      count, width: of the rows, in elements.
      stride: from one row of the output to the next.
      start: of the first one in the output.
    """

    count: int
    width: int
    stride: int
    start: int


def rows(form: Move) -> tuple[Rows, ...] | None:
    """The rows of each copy; None where one is no rows from the start of its input, or something is filled."""
    found = tuple(map(_rows, form.copies))
    return None if form.fill is not None or None in found else found


def _rows(copy: Copy) -> Rows | None:
    sizes = copy.sizes if len(copy.sizes) == 2 else (1, *copy.sizes)
    if len(sizes) != 2 or copy.input_offset or copy.input_strides not in ((sizes[1], 1), (1,)):
        return None
    stride = copy.output_strides[0] if len(copy.sizes) == 2 else sizes[1]
    return Rows(*sizes, stride, copy.output_offset) if copy.output_strides[-1] == 1 else None


def border(form: Move) -> dict[str, list[int]] | None:
    """The shape of a block and what is before and after it along four axes; None where it is no whole input inside."""
    x, y = form.inputs[0], form.output
    if form.fill is None or len(form.copies) != 1 or len(x.shape) != len(y.shape) or len(x.shape) > _MOST_AXES:
        return None
    (copy,) = form.copies
    strides = contiguous(y.shape)
    if (copy.sizes, copy.input_offset, copy.input_strides) != (x.shape, 0, contiguous(x.shape)):
        return None
    if copy.output_strides != strides:
        return None
    missing = _MOST_AXES - len(x.shape)
    before, rest = [], copy.output_offset
    for stride in strides:
        before.append(rest // max(stride, 1))
        rest -= before[-1] * stride
    after = [m - b - n for m, b, n in zip(y.shape, before, x.shape, strict=True)]
    return {"shape": [1] * missing + list(x.shape), "before": [0] * missing + before, "after": [0] * missing + after}
