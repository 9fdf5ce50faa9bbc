# SPDX-License-Identifier: Apache-2.0
"""The only place where helpers name what is inside tflm_export: a change of its inner interfaces is followed here."""

from tflm_export import bounds
from tflm_export.flatbuffer.model import Operator
from tflm_export.grid import Grid
from tflm_export.ops import op_for
from tflm_export.program.value import dtype_of
from tflm_export.simulator import simulate

__all__ = ["dtype_of", "factors", "simulate", "worst_case"]


def factors(operator: Operator):
    """What the exporter takes for the factors of an operator; float64."""
    return op_for(operator).factors(operator)


def worst_case(operator: Operator, bits: int):
    """The WorstCase of an operator at a width."""
    return bounds.worst_case(operator, Grid(bits))
