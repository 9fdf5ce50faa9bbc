"""The operators this package knows, one file each; importing it fills the registry."""

from tflm_export.ops import (  # noqa: F401
    add,
    conv_2d,
    data_movement,
    depthwise_conv_2d,
    fixed,
    fully_connected,
    mean,
    quantize,
)
from tflm_export.ops.base import op_for

__all__ = ["op_for"]
