# SPDX-License-Identifier: Apache-2.0
"""A program whose inputs and outputs are integers, with nothing of float32 between them and its caller."""

import dataclasses

from tflm_export.program.convert import Dequantize, QuantizeReal
from tflm_export.program.passes.rewrite import uses
from tflm_export.program.program import Block, Program
from tflm_export.program.value import Value


def integer_borders(program: Program) -> Program:
    """A program without the steps that make integers of its float32 inputs and real numbers of its outputs.

    Inputs that anything else reads, too, and outputs that are no integers' real numbers, stay as they are.
    """
    main = _outputs(_inputs(program.main))
    return Program((main, *program.blocks[1:]))


def _inputs(block: Block) -> Block:
    """The integers go in that the first step makes."""
    read, given = uses(block), {value.key: value for value in block.inputs}
    made: dict = {}
    for step in block.steps:
        form = step.form
        if isinstance(form, QuantizeReal) and form.inputs[0].key in given and read[form.inputs[0].key] == 1:
            made[form.inputs[0].key] = form.output
    quantized = {value.key for value in made.values()}
    steps = tuple(step for step in block.steps if not (step.form.outputs and step.form.output.key in quantized))
    return dataclasses.replace(block, inputs=tuple(_named(made.get(x.key, x), x) for x in block.inputs), steps=steps)


def _outputs(block: Block) -> Block:
    """The integers come out that the last step reads."""
    read = uses(block)
    integers: dict = {}
    for step in block.steps:
        form = step.form
        if isinstance(form, Dequantize) and not form.inputs[0].is_constant and read[form.output.key] == 1:
            integers[form.output.key] = form.inputs[0]
    given = {value.key for value in block.outputs} & integers.keys()
    steps = tuple(step for step in block.steps if not (step.form.outputs and step.form.output.key in given))
    outputs = tuple(_named(integers[y.key], y) if y.key in given else y for y in block.outputs)
    return dataclasses.replace(block, outputs=outputs, steps=steps)


def _named(value: Value, border: Value) -> Value:
    """A value with the name of the tensor that the model has at its border."""
    return value if value is border else dataclasses.replace(value, name=border.name)
