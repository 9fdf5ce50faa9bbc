"""Narrows the rescales of a .tflite model to k-bit multipliers, for TensorFlow Lite Micro."""

from tflm_export.errors import ModelError, UsageError
from tflm_export.narrow import METHODS, check, narrow
from tflm_export.rescale import Rescale

__all__ = ["METHODS", "ModelError", "Rescale", "UsageError", "check", "narrow"]
__version__ = "0.1.0"
