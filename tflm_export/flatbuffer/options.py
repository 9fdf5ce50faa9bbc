# SPDX-License-Identifier: Apache-2.0
"""Facts of the TFLite schema on operators' option tables: field numbers, and the tables' codes in the union.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs (schema version 3).
"""

import enum

PADDING_SAME = 0
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")  # by code

# Fields in the order of the .fbs file, numbered from 0 (or from 2, after two that are deprecated).
Conv2DOptions = enum.IntEnum(
    "Conv2DOptions", "PADDING STRIDE_W STRIDE_H ACTIVATION DILATION_W DILATION_H QUANTIZED_BIAS_TYPE", start=0
)
DepthwiseConv2DOptions = enum.IntEnum(
    "DepthwiseConv2DOptions", "PADDING STRIDE_W STRIDE_H DEPTH_MULTIPLIER ACTIVATION DILATION_W DILATION_H", start=0
)
Pool2DOptions = enum.IntEnum(
    "Pool2DOptions", "PADDING STRIDE_W STRIDE_H FILTER_WIDTH FILTER_HEIGHT ACTIVATION", start=0
)
SVDFOptions = enum.IntEnum("SVDFOptions", "RANK ACTIVATION", start=0)
FullyConnectedOptions = enum.IntEnum(
    "FullyConnectedOptions",
    "ACTIVATION WEIGHTS_FORMAT KEEP_NUM_DIMS ASYMMETRIC_QUANTIZE_INPUTS QUANTIZED_BIAS_TYPE",
    start=0,
)
SoftmaxOptions = enum.IntEnum("SoftmaxOptions", "BETA", start=0)
ConcatenationOptions = enum.IntEnum("ConcatenationOptions", "AXIS ACTIVATION", start=0)
AddOptions = enum.IntEnum("AddOptions", "ACTIVATION POT_SCALE_INT16", start=0)
MulOptions = enum.IntEnum("MulOptions", "ACTIVATION", start=0)
ReducerOptions = enum.IntEnum("ReducerOptions", "KEEP_DIMS", start=0)
SubOptions = enum.IntEnum("SubOptions", "ACTIVATION POT_SCALE_INT16", start=0)
StridedSliceOptions = enum.IntEnum(
    "StridedSliceOptions", "BEGIN_MASK END_MASK ELLIPSIS_MASK NEW_AXIS_MASK SHRINK_AXIS_MASK OFFSET", start=0
)
TransposeConvOptions = enum.IntEnum("TransposeConvOptions", "PADDING STRIDE_W STRIDE_H ACTIVATION", start=0)
UnidirectionalSequenceLSTMOptions = enum.IntEnum(
    "UnidirectionalSequenceLSTMOptions", "ACTIVATION CELL_CLIP PROJ_CLIP TIME_MAJOR", start=0
)
LeakyReluOptions = enum.IntEnum("LeakyReluOptions", "ALPHA", start=0)
BatchMatMulOptions = enum.IntEnum("BatchMatMulOptions", "ADJ_X ADJ_Y", start=0)
CallOnceOptions = enum.IntEnum("CallOnceOptions", "INIT_SUBGRAPH_INDEX", start=0)
VarHandleOptions = enum.IntEnum("VarHandleOptions", "CONTAINER SHARED_NAME", start=0)
GatherOptions = enum.IntEnum("GatherOptions", "AXIS BATCH_DIMS", start=0)
PackOptions = enum.IntEnum("PackOptions", "VALUES_COUNT AXIS", start=0)
UnpackOptions = enum.IntEnum("UnpackOptions", "NUM AXIS", start=0)
SpaceToDepthOptions = enum.IntEnum("SpaceToDepthOptions", "BLOCK_SIZE", start=0)
DepthToSpaceOptions = enum.IntEnum("DepthToSpaceOptions", "BLOCK_SIZE", start=0)
ResizeBilinearOptions = enum.IntEnum("ResizeBilinearOptions", "ALIGN_CORNERS HALF_PIXEL_CENTERS", start=2)
ResizeNearestNeighborOptions = enum.IntEnum("ResizeNearestNeighborOptions", "ALIGN_CORNERS HALF_PIXEL_CENTERS", start=0)
MirrorPadOptions = enum.IntEnum("MirrorPadOptions", "MODE", start=0)

# Names of the fields of one byte of those tables that have an activation; their other fields have four.
BYTES = (
    "PADDING ACTIVATION WEIGHTS_FORMAT KEEP_NUM_DIMS ASYMMETRIC_QUANTIZE_INPUTS QUANTIZED_BIAS_TYPE POT_SCALE_INT16"
).split()

# Code in the BuiltinOptions union; 0 is "no table".
UNION_CODES = {
    Conv2DOptions: 1,
    DepthwiseConv2DOptions: 2,
    Pool2DOptions: 5,
    SVDFOptions: 6,
    FullyConnectedOptions: 8,
    SoftmaxOptions: 9,
    ConcatenationOptions: 10,
    AddOptions: 11,
    ResizeBilinearOptions: 15,
    SpaceToDepthOptions: 19,
    MulOptions: 21,
    GatherOptions: 23,
    ReducerOptions: 27,
    SubOptions: 28,
    StridedSliceOptions: 32,
    TransposeConvOptions: 49,
    PackOptions: 59,
    UnpackOptions: 64,
    UnidirectionalSequenceLSTMOptions: 71,
    ResizeNearestNeighborOptions: 74,
    LeakyReluOptions: 75,
    MirrorPadOptions: 77,
    DepthToSpaceOptions: 94,
    BatchMatMulOptions: 101,
    CallOnceOptions: 103,
    VarHandleOptions: 111,
}
