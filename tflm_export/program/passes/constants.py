# SPDX-License-Identifier: Apache-2.0
"""Forms that read nothing but constants, among them arithmetic on shapes, are computed now."""

import dataclasses

import numpy as np

from tflm_export.program.call import CallOnce
from tflm_export.program.passes.rewrite import each_block, reading
from tflm_export.program.program import Block, Program

LARGEST = 1 << 16  # elements; a larger constant costs more memory than its computation is worth


def fold_constants(program: Program) -> Program:
    """A program in which what is constant is a constant. Outputs of the program are still computed."""
    return each_block(program, _folded)


def _folded(block: Block) -> Block:
    given = {value.key for value in block.outputs}
    steps, known = [], {}
    for step in block.steps:
        step = dataclasses.replace(step, form=reading(step.form, known))
        form = step.form
        values = (*form.inputs, *form.outputs)
        fixed = not any(v.is_variable for v in values) and all(v.data is not None for v in form.inputs)
        small = all(value.size <= LARGEST and value.key not in given for value in form.outputs)
        if isinstance(form, CallOnce) or not fixed or not small:
            steps.append(step)
            continue
        arrays = step.evaluate(*(value.data[None] for value in form.inputs))
        for value, array in zip(form.outputs, arrays, strict=True):
            known[value.key] = dataclasses.replace(value, data=np.ascontiguousarray(array[0]).reshape(value.shape))
    return dataclasses.replace(block, steps=tuple(steps))
