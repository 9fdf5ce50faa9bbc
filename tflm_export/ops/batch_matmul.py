"""BATCH_MATMUL: `y = Zy + Sa*Sb/Sy * sum((a - Za) * (b - Zb))` over matrices in the last two dimensions."""

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.options import BatchMatMulOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.ops.base import register
from tflm_export.ops.context import Rounding, centred, emit, exact_product
from tflm_export.ops.elementwise import broadcast_mixes_rows
from tflm_export.ops.product import ProductOp


@register("BATCH_MATMUL")
class BatchMatMul(ProductOp):
    """Either operand may be transposed; leading dimensions broadcast."""

    types = ("INT8", "INT16")

    def count(self, operator):
        a = operator.inputs[0]
        rows_first = operator.option(BatchMatMulOptions.ADJ_X, UINT8)
        return max(1, a.shape[-2 if rows_first else -1]) if len(a.shape) > 1 else 1

    def run(self, operator, inputs, context):
        """Source: BatchMatMul in tensorflow/lite/kernels/internal/reference/batch_matmul.h."""
        a, b = (centred(tensor, x, np.int32) for tensor, x in zip(operator.inputs, inputs, strict=True))
        if operator.option(BatchMatMulOptions.ADJ_X, UINT8):
            a = a.swapaxes(-1, -2)
        if operator.option(BatchMatMulOptions.ADJ_Y, UINT8):
            b = b.swapaxes(-1, -2)
        y = operator.outputs[0]
        first, second = (t.scale for t in operator.inputs)
        factor = rescale.effective_scale(first, second, y.scale, context.rounding is Rounding.TFLITE)
        return [emit(y, context.requantize(exact_product(a, b), factor, wide=y.type == "INT16"))]

    def simulation_problem(self, operator):
        tensors = (*operator.inputs, *operator.outputs)
        types = {t.type for t in tensors}
        if len(types) != 1 or not types <= {"INT8", "INT16"} or not all(t.is_quantized for t in tensors):
            return f"{' and '.join(sorted(types))} operands are not simulated"
        return "" if all(len(t.shape) > 1 for t in tensors) else "operands without rows are not simulated"

    def mixes_rows(self, operator):
        return len(operator.outputs[0].shape) < 3 or broadcast_mixes_rows(operator)
