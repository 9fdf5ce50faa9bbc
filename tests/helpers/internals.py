"""The only place where helpers name what is inside tflm_export: a change of its inner interfaces is followed here."""

from tflm_export import c_source
from tflm_export.c_source import Program
from tflm_export.flatbuffer.model import Operator
from tflm_export.kernels.folding import End, Folded, fold
from tflm_export.kernels.step import UnsupportedError
from tflm_export.ops import op_for
from tflm_export.ops.context import Rounding, dtype_of
from tflm_export.simulator import simulate

__all__ = [
    "End",
    "Folded",
    "Program",
    "Rounding",
    "UnsupportedError",
    "dtype_of",
    "factors",
    "fold",
    "lower",
    "simulate",
    "worst_case",
]


def factors(operator: Operator):
    """What the exporter takes for the factors of an operator; float64."""
    return op_for(operator).factors(operator)


def worst_case(operator: Operator, bits: int):
    """The WorstCase of an operator at a width."""
    return op_for(operator).worst_case(operator, bits)


def lower(data: bytes, name: str, bits: int, rounding: str, core: str) -> Program:
    """The C program of a model for a core and one of the simulator's roundings."""
    return c_source.lower(data, name, bits, Rounding(rounding), core)
