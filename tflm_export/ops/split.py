# SPDX-License-Identifier: Apache-2.0
"""SPLIT and SPLIT_V: a tensor cut into parts along an axis."""

import numpy as np

from tflm_export.flatbuffer.model import Operator
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, axis_of, constants_problem
from tflm_export.program.form import Form
from tflm_export.program.move import parts
from tflm_export.program.value import value_of


def _parts(operator: Operator, position: int, axis: np.ndarray, sizes: list[int] | None) -> tuple[Form, ...]:
    """The parts of an input; of equal sizes where none are given."""
    x, outputs = value_of(operator.inputs[position]), [value_of(t) for t in operator.outputs]
    axis = axis_of(int(axis.reshape(-1)[0]), len(x.shape))
    if sizes is None:
        if x.shape[axis] % len(outputs):
            raise ValueError(f"{x.shape[axis]} elements do not fall into {len(outputs)} equal parts")
        sizes = [x.shape[axis] // len(outputs)] * len(outputs)
    return parts(x, outputs, axis, [x.shape[axis] - sum(s for s in sizes if s >= 0) if s < 0 else s for s in sizes])


@register("SPLIT")
class Split(DataMovement):
    """Equal parts; inputs are axis and tensor."""

    run_inputs = 2

    def lower(self, operator, arithmetic):
        return _parts(operator, 1, operator.inputs[0].data, None)

    def lowering_problem(self, operator):
        return constants_problem(operator, 0)


@register("SPLIT_V")
class SplitV(DataMovement):
    """Parts of given sizes; inputs are tensor, sizes (one of them may be -1) and axis."""

    run_inputs = 3

    def lower(self, operator, arithmetic):
        _, sizes, axis = operator.inputs
        return _parts(operator, 0, axis.data, sizes.data.reshape(-1).tolist())

    def lowering_problem(self, operator):
        return constants_problem(operator, 1, 2)
