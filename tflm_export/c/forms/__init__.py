# SPDX-License-Identifier: Apache-2.0
"""Forms as calls of kernels that serve all types and shapes; back ends have faster ones for some."""

from collections.abc import Callable

from tflm_export.c.step import CStep
from tflm_export.program.form import Form
from tflm_export.program.program import Step

GENERAL: dict[type[Form], Callable[[Step], CStep]] = {}
