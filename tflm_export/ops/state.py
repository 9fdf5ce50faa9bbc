# SPDX-License-Identifier: Apache-2.0
"""Resource variables: VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, and CALL_ONCE that fills them."""

import dataclasses

import numpy as np

from tflm_export.flatbuffer.model import Tensor
from tflm_export.flatbuffer.options import CallOnceOptions, VarHandleOptions
from tflm_export.ops.base import Op, register
from tflm_export.program.call import CallOnce as CallOnceForm
from tflm_export.program.call import Handle
from tflm_export.program.move import same
from tflm_export.program.value import Value, value_of


@register("VAR_HANDLE")
class VarHandle(Op):
    """The variable's name, which those that read and write it find under the key of its output."""

    run_inputs = 0

    def lower(self, operator, arithmetic):
        names = (VarHandleOptions.CONTAINER, VarHandleOptions.SHARED_NAME)
        name = "/".join(operator.option_string(field) for field in names)
        return (Handle(inputs=(), outputs=(), handle=operator.outputs[0].key, variable=name),)

    def lowering_problem(self, operator):
        return "" if operator.outputs else "it lacks outputs"


def _variable(handle: Tensor, content: Tensor) -> Value:
    """The variable behind a handle, with what it starts with: zero."""
    value = value_of(content)
    fresh = np.full(value.shape, content.zero_point if content.is_quantized else 0, value.dtype)
    return dataclasses.replace(value, key=("variable", handle.key), data=fresh, is_variable=True)


@register("READ_VARIABLE")
class ReadVariable(Op):
    """The variable's content; the zero point where nothing was assigned."""

    def lower(self, operator, arithmetic):
        y = operator.outputs[0]
        return (same(_variable(operator.inputs[0], y), value_of(y)),)


@register("ASSIGN_VARIABLE")
class AssignVariable(Op):
    """Replaces the variable's content."""

    run_inputs = 2

    def lower(self, operator, arithmetic):
        handle, x = operator.inputs[:2]
        return (same(value_of(x), _variable(handle, x)),)


@register("CALL_ONCE")
class CallOnce(Op):
    """Runs a subgraph in the first inference."""

    run_inputs = 0

    def lower(self, operator, arithmetic):
        return (CallOnceForm(inputs=(), outputs=(), block=self.calls(operator)[0]),)

    def calls(self, operator):
        return (operator.option(CallOnceOptions.INIT_SUBGRAPH_INDEX),)
