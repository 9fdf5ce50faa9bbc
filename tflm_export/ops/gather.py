# SPDX-License-Identifier: Apache-2.0
"""GATHER and GATHER_ND: the parts of a tensor that a tensor of positions names."""

from tflm_export.flatbuffer.options import GatherOptions
from tflm_export.ops.base import one, register
from tflm_export.ops.data_movement import POSITION_TYPES, DataMovement, axis_of
from tflm_export.program.gather import Gather as GatherForm
from tflm_export.program.gather import GatherNd as GatherNdForm


class _Gather(DataMovement):
    min_inputs = 2
    run_inputs = 2

    def lowering_problem(self, operator):
        positions = operator.inputs[1].type
        return "" if positions in POSITION_TYPES else f"positions of type {positions} are not simulated"


@register("GATHER")
class Gather(_Gather):
    """Slices along an axis."""

    def lower(self, operator, arithmetic):
        x, positions = operator.inputs[:2]
        shared = axis_of(operator.option(GatherOptions.BATCH_DIMS), len(positions.shape) + 1)
        axis = axis_of(operator.option(GatherOptions.AXIS), len(x.shape))
        return one(GatherForm, operator, (x, positions), axis=axis, shared=shared)


@register("GATHER_ND")
class GatherNd(_Gather):
    """Elements or slices at positions in several dimensions, the last of the tensor of positions."""

    def lower(self, operator, arithmetic):
        return one(GatherNdForm, operator, operator.inputs[:2])
