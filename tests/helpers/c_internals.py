"""The only place where helpers name what is inside the C back end."""

from tflm_export.ops.context import Rounding

from tflm_export import c_source
from tflm_export.c_source import Program
from tflm_export.kernels.folding import End, Folded, fold
from tflm_export.kernels.step import UnsupportedError

__all__ = ["End", "Folded", "Program", "Rounding", "UnsupportedError", "fold", "lower"]


def lower(data: bytes, name: str, bits: int, rounding: str, core: str) -> Program:
    """The C program of a model for a core and one of the simulator's roundings."""
    return c_source.lower(data, name, bits, Rounding(rounding), core)
