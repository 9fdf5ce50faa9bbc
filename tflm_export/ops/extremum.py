# SPDX-License-Identifier: Apache-2.0
"""MAXIMUM and MINIMUM: the larger or smaller integer, elementwise."""

from tflm_export.ops.base import one, register
from tflm_export.ops.data_movement import DataMovement
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.value import INTEGER_TYPES


class _Extremum(DataMovement):
    """LiteRT (XNNPACK included) and TFLM compare integers as they are; equal scales are the converter's duty.

    A rescale that no runtime does cannot be narrowed. Unequal scales stay as they are, for a common one would change
    what the runtimes compute.
    """

    unequal_reason = "its inputs and output have unequal scales, and the runtimes compare integers without a rescale"
    min_inputs = 2
    run_inputs = 2
    function = ""

    def lower(self, operator, arithmetic):
        return one(Elementwise, operator, operator.inputs[:2], function=self.function)

    def lowering_problem(self, operator):
        types = {t.type for t in (*operator.inputs[:2], *operator.outputs)}
        return "" if len(types) == 1 and types <= set(INTEGER_TYPES) else f"{sorted(types)} operands are not simulated"


@register("MAXIMUM")
class Maximum(_Extremum):
    """The larger integer."""

    function = "maximum"


@register("MINIMUM")
class Minimum(_Extremum):
    """The smaller integer."""

    function = "minimum"
