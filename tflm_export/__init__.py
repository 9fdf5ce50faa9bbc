# SPDX-License-Identifier: Apache-2.0
"""Narrows the rescales of a .tflite model to k-bit multipliers, for TensorFlow Lite Micro.

Public besides the names below are the modules `flatbuffer.model` (parsed files), `rescale`, `grid` and `arithmetic`
(what factors are and may be, and how a runtime applies them), `lowering`, `integer_part` and `program` (a model in
integers), `simulator`, `c` and `kernels` (a model as C, and its kernels), `rtl` (rescalers in Verilog), `cores`,
`runtimes` (LiteRT and TFLM), `verify`, `compare`, `files` (files that appear whole or not at all), `cluster` (work in
other processes), `held` (what an input can hold) and `command_line`.
"""

from tflm_export.errors import ModelError, UsageError
from tflm_export.factors import factors
from tflm_export.narrow import METHODS, SYNTHETIC, check, narrow
from tflm_export.rescale import MAX_BITS, Rescale, check_bits
from tflm_export.to_int8 import Conversion, to_int8

__all__ = [
    "MAX_BITS",
    "METHODS",
    "SYNTHETIC",
    "Conversion",
    "ModelError",
    "Rescale",
    "UsageError",
    "check",
    "check_bits",
    "factors",
    "narrow",
    "to_int8",
]
__version__ = "0.1.0"
