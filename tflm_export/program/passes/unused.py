# SPDX-License-Identifier: Apache-2.0
"""Forms whose outputs nobody reads go."""

import dataclasses

from tflm_export.program.call import CallOnce
from tflm_export.program.passes.rewrite import each_block
from tflm_export.program.program import Block, Program


def remove_unused(program: Program) -> Program:
    """A program without what does not reach its outputs or its variables."""
    return each_block(program, _without)


def _without(block: Block) -> Block:
    needed = {value.key for value in block.outputs}
    steps = []
    for step in reversed(block.steps):
        form = step.form
        if isinstance(form, CallOnce) or any(v.is_variable or v.key in needed for v in form.outputs):
            needed |= {value.key for value in form.inputs}
            steps.append(step)
    return dataclasses.replace(block, steps=tuple(reversed(steps)))
