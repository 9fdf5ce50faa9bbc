# SPDX-License-Identifier: Apache-2.0
"""Operators that take any input scale and are no rescale: tables, fixed-point functions, borders to float."""

from tflm_export.ops.base import Declaration, Op


class FixedFunction(Op):
    """The output scale is fixed by the operator, the input scale (int8) goes into its table or internal fixed point."""

    min_inputs = 1

    def declare(self, operator, graph):
        pinned = [t for t in operator.outputs if t.is_quantized]
        pinned += [t for t in operator.inputs if t is not None and t.is_quantized and t.type != "INT8"]
        return Declaration(pins=tuple(t.key for t in pinned))
