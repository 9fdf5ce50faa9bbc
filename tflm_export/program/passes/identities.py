# SPDX-License-Identifier: Apache-2.0
"""Forms that give what they read, in the same shape, go."""

import dataclasses

import numpy as np

from tflm_export.program.form import Form
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.move import Move
from tflm_export.program.passes.rewrite import each_block, reading
from tflm_export.program.pool import Pool
from tflm_export.program.program import Block, Program
from tflm_export.program.requantize import Requantize
from tflm_export.rescale import Rescale


def remove_identities(program: Program) -> Program:
    """A program without forms that do nothing. Outputs of the program keep the forms that give them."""
    return each_block(program, _without)


def _without(block: Block) -> Block:
    given = {value.key for value in block.outputs}
    steps, same = [], {}
    for step in block.steps:
        form = reading(step.form, same)
        if form.outputs and form.output.key not in given and _is_identity(form):
            same[form.output.key] = form.inputs[0]
        else:
            steps.append(dataclasses.replace(step, form=form))
    return dataclasses.replace(block, steps=tuple(steps))


def _is_identity(form: Form) -> bool:
    """Whether the output is always the first input, of the same type and shape."""
    if not form.inputs:
        return False
    x, y = form.inputs[0], form.output
    if x.is_variable or y.is_variable or (x.shape, x.dtype) != (y.shape, y.dtype):
        return False
    if isinstance(form, Move):
        return form.is_identity
    if isinstance(form, Pool):
        return form.windows.is_pointwise and form.clamp == y.limits
    if isinstance(form, Lookup):
        return bool((form.table == every_integer(x.dtype)).all())
    return isinstance(form, Requantize) and _rescales_by_one(form) and form.clamp == y.limits


def _rescales_by_one(form: Requantize) -> bool:
    """Of narrow rescales only: what the stock ones do to a factor of one is theirs."""
    if type(form.rescale) is not Rescale or form.below is not None or form.input_zero_point != form.zero_point:
        return False
    return bool(np.all(form.rescale.value == 1))
