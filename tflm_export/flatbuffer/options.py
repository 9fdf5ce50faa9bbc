"""Facts of the TFLite schema on operators' option tables: field numbers, and the tables' codes in the union.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs (schema version 3).
"""

import enum

PADDING_SAME = 0
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")  # by code


class Conv2DOptions(enum.IntEnum):
    PADDING = 0
    STRIDE_W = 1
    STRIDE_H = 2
    ACTIVATION = 3
    DILATION_W = 4
    DILATION_H = 5


class DepthwiseConv2DOptions(enum.IntEnum):
    PADDING = 0
    STRIDE_W = 1
    STRIDE_H = 2
    DEPTH_MULTIPLIER = 3
    ACTIVATION = 4
    DILATION_W = 5
    DILATION_H = 6


class Pool2DOptions(enum.IntEnum):
    PADDING = 0
    STRIDE_W = 1
    STRIDE_H = 2
    FILTER_WIDTH = 3
    FILTER_HEIGHT = 4
    ACTIVATION = 5


class SVDFOptions(enum.IntEnum):
    RANK = 0
    ACTIVATION = 1


class FullyConnectedOptions(enum.IntEnum):
    ACTIVATION = 0
    WEIGHTS_FORMAT = 1
    KEEP_NUM_DIMS = 2


class SoftmaxOptions(enum.IntEnum):
    BETA = 0


class ConcatenationOptions(enum.IntEnum):
    AXIS = 0
    ACTIVATION = 1


class AddOptions(enum.IntEnum):
    ACTIVATION = 0
    POT_SCALE_INT16 = 1


class MulOptions(enum.IntEnum):
    ACTIVATION = 0


class ReducerOptions(enum.IntEnum):
    KEEP_DIMS = 0


class SubOptions(enum.IntEnum):
    ACTIVATION = 0
    POT_SCALE_INT16 = 1


class StridedSliceOptions(enum.IntEnum):
    BEGIN_MASK = 0
    END_MASK = 1
    ELLIPSIS_MASK = 2
    NEW_AXIS_MASK = 3
    SHRINK_AXIS_MASK = 4
    OFFSET = 5


class TransposeConvOptions(enum.IntEnum):
    PADDING = 0
    STRIDE_W = 1
    STRIDE_H = 2
    ACTIVATION = 3


class UnidirectionalSequenceLSTMOptions(enum.IntEnum):
    ACTIVATION = 0
    CELL_CLIP = 1
    PROJ_CLIP = 2
    TIME_MAJOR = 3


class LeakyReluOptions(enum.IntEnum):
    ALPHA = 0


class BatchMatMulOptions(enum.IntEnum):
    ADJ_X = 0
    ADJ_Y = 1


class CallOnceOptions(enum.IntEnum):
    INIT_SUBGRAPH_INDEX = 0


class VarHandleOptions(enum.IntEnum):
    CONTAINER = 0
    SHARED_NAME = 1


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
    MulOptions: 21,
    ReducerOptions: 27,
    SubOptions: 28,
    StridedSliceOptions: 32,
    TransposeConvOptions: 49,
    UnidirectionalSequenceLSTMOptions: 71,
    LeakyReluOptions: 75,
    BatchMatMulOptions: 101,
    CallOnceOptions: 103,
    VarHandleOptions: 111,
}
