"""Resource variables: VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, and CALL_ONCE that fills them."""

import numpy as np

from tflm_export.flatbuffer.options import CallOnceOptions, VarHandleOptions
from tflm_export.ops.base import Op, register
from tflm_export.ops.context import dtype_of


class State(Op):
    """What variables hold keeps its scale. Rows are successive inferences."""

    def mixes_rows(self, operator):
        return True


@register("VAR_HANDLE")
class VarHandle(State):
    """The variable's name."""

    run_inputs = 0

    def run(self, operator, inputs, context):
        names = (VarHandleOptions.CONTAINER, VarHandleOptions.SHARED_NAME)
        return [np.array("/".join(operator.option_string(field) for field in names))]


@register("READ_VARIABLE")
class ReadVariable(State):
    """The variable's content; the zero point where nothing was assigned."""

    def run(self, operator, inputs, context):
        y = operator.outputs[0]
        fresh = np.full(y.shape, y.zero_point if y.is_quantized else 0, dtype_of(y))
        return [context.variables.setdefault(str(inputs[0]), fresh)]


@register("ASSIGN_VARIABLE")
class AssignVariable(State):
    """Replaces the variable's content."""

    run_inputs = 2

    def run(self, operator, inputs, context):
        context.variables[str(inputs[0])] = inputs[1]
        return []


@register("CALL_ONCE")
class CallOnce(State):
    """Runs a subgraph in the first inference."""

    run_inputs = 0

    def run(self, operator, inputs, context):
        done = ("CALL_ONCE", operator.subgraph, operator.index)
        if done not in context.variables:
            context.variables[done] = np.array(True)
            context.call(self.calls(operator)[0])
        return []

    def calls(self, operator):
        return (operator.option(CallOnceOptions.INIT_SUBGRAPH_INDEX),)
