# SPDX-License-Identifier: Apache-2.0
"""QUANTIZE from integers to integers: `y = Zy + Sx/Sy * (x - Zx)`. From float it is no rescale."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.ops.base import ACTIVATION_TYPES, Declaration, register, scale_problem
from tflm_export.ops.constants import constant_keys
from tflm_export.ops.summed import SummedOp
from tflm_export.program.convert import QuantizeReal
from tflm_export.program.requantize import Requantize
from tflm_export.program.value import INTEGER_TYPES, value_of


@register("QUANTIZE")
class Quantize(SummedOp):
    """Change of scale, zero point or integer type.

    int32 goes to int8 and int16 and, in TFLM, comes from both (LiteRT: from int16). The scale of the int32 side stays:
    nothing else in the package reads or moves scales of int32 activations. int16 to int16 has zero points of 0; towards
    other types an int16 input may have any, as the output of SOFTMAX has.
    """

    def declaration(self, operator, graph):
        x, y = operator.inputs[0], operator.outputs[0]
        fixed = {("int32", *t.key): t.scale for t in (x, y) if t.type == "INT32"}
        source, target = (("int32", *t.key) if t.type == "INT32" else t.key for t in (x, y))
        owned, pinned = constant_keys(graph, [t for t in (x,) if t.type != "INT32"])
        return Declaration((solver.Sum((source,), target),), pins=pinned, constants=owned, fixed=fixed)

    def problem(self, operator, graph):
        for tensor in (operator.inputs[0], operator.outputs[0]):
            if tensor.type == "INT32" and tensor.zero_point:
                return f"{tensor.label} has zero point {tensor.zero_point}; INT32 is symmetric"
        tensors = (operator.inputs[0], operator.outputs[0])
        symmetric = all(tensor.type == "INT16" for tensor in tensors)
        return scale_problem(*tensors, types=(*ACTIVATION_TYPES, "INT32"), symmetric_int16=symmetric)

    def factors(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if not all((t.is_quantized or t.type == "INT32") and t.quantization is not None for t in (x, y)):
            return None
        return np.array([rescale.effective_scale(x.scale, 1.0, y.scale)]) if x.scale > 0 and y.scale > 0 else None

    def edit(self, operator, plan, edits):
        if operator.inputs[0].type != "INT32":
            super().edit(operator, plan, edits)

    def lower(self, operator, arithmetic):
        """Source: AffineQuantize and Requantize in tensorflow/lite/kernels/internal/reference."""
        x, y = operator.inputs[0], operator.outputs[0]
        inputs, outputs = (value_of(x),), (value_of(y),)
        if x.type == "FLOAT32":
            return (QuantizeReal(inputs=inputs, outputs=outputs, scale=y.scale, zero_point=y.zero_point),)
        return (
            Requantize(
                inputs=inputs,
                outputs=outputs,
                input_zero_point=x.zero_point,
                rescale=arithmetic.rescale(rescale.effective_scale(x.scale, 1.0, y.scale)),
                zero_point=y.zero_point,
                clamp=outputs[0].limits,
            ),
        )

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in (*INTEGER_TYPES, "FLOAT32") or y.type not in INTEGER_TYPES:
            return f"{x.type} to {y.type} is not simulated"
        if any(t.quantization is None or t.quantization.scale.values.size != 1 for t in (x, y) if t.type != "FLOAT32"):
            return "its input and output need one scale each"
        return ""
