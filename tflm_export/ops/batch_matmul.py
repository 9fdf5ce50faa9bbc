# SPDX-License-Identifier: Apache-2.0
"""BATCH_MATMUL: `y = Zy + Sa*Sb/Sy * sum((a - Za) * (b - Zb))` over matrices in the last two dimensions."""

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.options import BatchMatMulOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.ops.activations import clamp_of
from tflm_export.ops.base import one, register
from tflm_export.ops.product import ProductOp
from tflm_export.program.matrix_product import MatrixProduct


@register("BATCH_MATMUL")
class BatchMatMul(ProductOp):
    """Either operand may be transposed; leading dimensions broadcast."""

    types = ("INT8", "INT16")

    def lower(self, operator, arithmetic):
        """Source: BatchMatMul in tensorflow/lite/kernels/internal/reference/batch_matmul.h."""
        (a, b), y = operator.inputs, operator.outputs[0]
        factor = rescale.effective_scale(a.scale, b.scale, y.scale, arithmetic.has_float32_products)
        is_wide = y.type == "INT16"
        fields = (BatchMatMulOptions.ADJ_X, BatchMatMulOptions.ADJ_Y)
        return one(
            MatrixProduct,
            operator,
            (a, b),
            transposed=tuple(bool(operator.option(field, UINT8)) for field in fields),
            zero_points=(a.zero_point, b.zero_point),
            bias=np.zeros(1, np.int64),
            rescale=arithmetic.rescale(factor, is_wide),
            zero_point=y.zero_point,
            clamp=clamp_of(y, "NONE"),
            is_wide=is_wide,
        )

    def lowering_problem(self, operator):
        tensors = (*operator.inputs[:2], *operator.outputs)
        types = {t.type for t in tensors}
        if len(types) != 1 or not types <= {"INT8", "INT16"} or not all(t.is_quantized for t in tensors):
            return f"{' and '.join(sorted(types))} operands are not simulated"
        return "" if all(len(t.shape) > 1 for t in tensors) else "operands without rows are not simulated"
