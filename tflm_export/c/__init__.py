# SPDX-License-Identifier: Apache-2.0
"""The C back end: a program of integers as C99. Knows forms and no operators."""

from tflm_export.c.lowering import emit, lower, translate
from tflm_export.c.source import CProgram
from tflm_export.c.step import UnwritableError

__all__ = ["CProgram", "UnwritableError", "emit", "lower", "translate"]
