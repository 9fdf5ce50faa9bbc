# SPDX-License-Identifier: Apache-2.0
"""What passes share: a program with other steps, and forms that read other values."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable

from tflm_export.program.form import Form
from tflm_export.program.program import Block, Program
from tflm_export.program.value import Value


def each_block(program: Program, change: Callable[[Block], Block]) -> Program:
    """A program with every block changed."""
    return Program(tuple(None if block is None else change(block) for block in program.blocks))


def reading(form: Form, replaced: dict[Hashable, Value]) -> Form:
    """A form with other values in place of some that it reads, by key."""
    if not any(value.key in replaced for value in form.inputs):
        return form
    return dataclasses.replace(form, inputs=tuple(replaced.get(value.key, value) for value in form.inputs))


def uses(block: Block) -> Counter:
    """How often steps read each value, and the block gives it, by key."""
    return Counter(value.key for step in block.steps for value in step.form.inputs) + Counter(
        value.key for value in block.outputs
    )
