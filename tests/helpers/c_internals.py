# SPDX-License-Identifier: Apache-2.0
"""As `internals`, for the C back end."""

import numpy as np

from tflm_export import c
from tflm_export.c import CProgram
from tflm_export.c.epilogue import Epilogue, FoldedRescale, Sums
from tflm_export.c.epilogue import fold as fold_rescale
from tflm_export.c.portable import Portable
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.flatbuffer.model import Operator
from tflm_export.lowering import forms_of, origin_of
from tflm_export.program.program import Step
from tflm_export.simulator import arithmetic_of

__all__ = ["CProgram", "Epilogue", "FoldedRescale", "Sums", "UnsupportedError", "emitted", "fold", "translate"]


def fold(factors: np.ndarray, bits: int, rounding: str, sums: Sums, zero_point: int) -> FoldedRescale:
    """The epilogue of a layer by its real factors, float64 [1] or [channels], with one of the simulator's roundings."""
    return fold_rescale(_arithmetic(rounding, bits).rescale(factors), sums, zero_point)


def translate(data: bytes, name: str, bits: int, rounding: str = "narrow", core: str = "portable") -> CProgram:
    """The C program of a model for a core and one of the simulator's roundings."""
    return c.translate(data, name, _arithmetic(rounding, bits), core)


def emitted(operator: Operator, bits: int) -> CStep:
    """An operator of one form with the portable kernels."""
    (form,) = forms_of(operator, _arithmetic("narrow", bits))
    return Portable().emit(Step(origin_of(operator), form))


def _arithmetic(rounding: str, bits: int):
    return arithmetic_of(rounding, bits if rounding == "narrow" else None)
