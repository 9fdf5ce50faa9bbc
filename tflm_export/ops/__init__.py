"""The operators this package knows, one file each; importing it fills the registry."""

from tflm_export.ops import (  # noqa: F401
    add,
    batch_matmul,
    concatenation,
    conv_2d,
    data_movement,
    depthwise_conv_2d,
    dequantize,
    extremum,
    fixed,
    fully_connected,
    hard_swish,
    logistic,
    mean,
    mul,
    pad,
    pool,
    quantize,
    relu,
    reshape,
    softmax,
    split,
    state,
    strided_slice,
    sub,
    svdf,
    transpose,
    transpose_conv,
    unidirectional_sequence_lstm,
)
from tflm_export.ops.base import op_for

__all__ = ["op_for"]
