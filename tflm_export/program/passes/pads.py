# SPDX-License-Identifier: Apache-2.0
"""A border of the zero point in front of a convolution becomes the convolution's own."""

import dataclasses

from tflm_export.program.form import Form
from tflm_export.program.move import Move, padding_of
from tflm_export.program.passes.rewrite import each_block, uses
from tflm_export.program.program import Block, Program
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis, Windows


def fuse_pads(program: Program) -> Program:
    """A program in which convolutions pad for themselves, where all their windows still touch the image."""
    return each_block(program, _fused)


def _fused(block: Block) -> Block:
    counts = uses(block)
    pads: dict = {}
    steps = []
    for step in block.steps:
        form = step.form
        if isinstance(form, Move) and counts[form.output.key] == 1:
            pads[form.output.key] = step
        pad = pads.get(form.inputs[0].key) if isinstance(form, WeightedSum) else None
        fused = None if pad is None else _with_border(form, pad.form)
        if fused is not None:
            steps.remove(pad)
        steps.append(step if fused is None else dataclasses.replace(step, form=fused))
    return dataclasses.replace(block, steps=tuple(steps))


def _with_border(form: WeightedSum, pad: Move) -> Form | None:
    """A convolution of what a pad reads, None where it cannot be."""
    border = padding_of(pad)
    if (
        border is None
        or pad.fill != form.input_zero_point
        or len(border) != 4
        or (border[0], border[3]) != ((0, 0),) * 2
    ):
        return None
    axes = [
        _widened(axis, ends) for axis, ends in zip((form.windows.height, form.windows.width), border[1:3], strict=True)
    ]
    if None in axes:
        return None
    return dataclasses.replace(form, inputs=(pad.inputs[0],), windows=Windows(*axes))


def _widened(axis: Axis, ends: tuple[int, int]) -> Axis | None:
    """The same windows over an axis without its border, None where one of them would lie outside."""
    before, size = axis.before + ends[0], axis.size - sum(ends)
    reach = (axis.kernel - 1) * axis.dilation
    last = (axis.output - 1) * axis.stride - before  # where the last window begins
    if axis.spread != 1 or before > reach or last >= size:
        return None
    return dataclasses.replace(axis, size=size, before=before, after=max(0, last + reach + 1 - size))
