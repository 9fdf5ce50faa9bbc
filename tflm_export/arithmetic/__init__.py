# SPDX-License-Identifier: Apache-2.0
"""Arithmetics of the runtimes."""

from tflm_export.arithmetic.base import Arithmetic, Target, Terms
from tflm_export.arithmetic.litert import LiteRTReference
from tflm_export.arithmetic.narrow import Narrow
from tflm_export.arithmetic.tflm import Tflm

__all__ = ["Arithmetic", "LiteRTReference", "Narrow", "Target", "Terms", "Tflm"]
