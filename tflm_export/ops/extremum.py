"""MAXIMUM and MINIMUM: the larger or smaller integer, elementwise."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.context import INTEGER_TYPES
from tflm_export.ops.data_movement import DataMovement
from tflm_export.ops.elementwise import broadcast_mixes_rows


class _Extremum(DataMovement):
    """LiteRT (XNNPACK included) and TFLM compare integers as they are; equal scales are the converter's duty.

    A rescale that no runtime does cannot be narrowed. Unequal scales stay as they are, for a common one would change
    what the runtimes compute.
    """

    unequal_reason = "its inputs and output have unequal scales, and the runtimes compare integers without a rescale"
    min_inputs = 2
    run_inputs = 2

    def simulation_problem(self, operator):
        types = {t.type for t in (*operator.inputs, *operator.outputs)}
        return "" if len(types) == 1 and types <= set(INTEGER_TYPES) else f"{sorted(types)} operands are not simulated"

    def mixes_rows(self, operator):
        return broadcast_mixes_rows(operator)


@register("MAXIMUM")
class Maximum(_Extremum):
    """The larger integer."""

    def run(self, operator, inputs, context):
        return [np.maximum(*inputs)]


@register("MINIMUM")
class Minimum(_Extremum):
    """The smaller integer."""

    def run(self, operator, inputs, context):
        return [np.minimum(*inputs)]
