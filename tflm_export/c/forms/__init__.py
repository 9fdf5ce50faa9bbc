# SPDX-License-Identifier: Apache-2.0
"""Forms as calls of kernels that serve all types and shapes; back ends have faster ones for some."""

from collections.abc import Callable

from tflm_export.c.forms.convert import cast, dequantize, quantize_real
from tflm_export.c.forms.gather import gather, gather_nd, update
from tflm_export.c.forms.lookup import lookup
from tflm_export.c.forms.matrix_product import matrix_product
from tflm_export.c.forms.move import move
from tflm_export.c.forms.normalization import normalization
from tflm_export.c.forms.recurrence import lstm, svdf
from tflm_export.c.forms.reduction import extreme, mean, position, total
from tflm_export.c.forms.requantize import prelu, requantize
from tflm_export.c.forms.resize import resize
from tflm_export.c.forms.softmax import log_softmax, softmax, softmax_int16
from tflm_export.c.forms.two_values import aligned_sum, elementwise, product, rescaled_sum
from tflm_export.c.forms.weighted_sum import weighted_sum
from tflm_export.c.forms.window_pools import pool
from tflm_export.c.step import CStep
from tflm_export.program.aligned_sum import AlignedSum, RescaledSum
from tflm_export.program.convert import Cast, Dequantize, QuantizeReal
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.form import Form
from tflm_export.program.gather import Gather, GatherNd, Update
from tflm_export.program.lookup import Lookup
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.move import Move
from tflm_export.program.normalization import Normalization
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.product import Product
from tflm_export.program.program import Step
from tflm_export.program.recurrence import Lstm, Svdf
from tflm_export.program.reduction import Extreme, Mean, Position, Total
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.resize import Resize
from tflm_export.program.softmax import LogSoftmax, Softmax, SoftmaxInt16
from tflm_export.program.weighted_sum import WeightedSum

GENERAL: dict[type[Form], Callable[[Step], CStep]] = {
    AlignedSum: aligned_sum,
    AveragePool: pool,
    Cast: cast,
    Dequantize: dequantize,
    Elementwise: elementwise,
    Extreme: extreme,
    Gather: gather,
    GatherNd: gather_nd,
    LogSoftmax: log_softmax,
    Lookup: lookup,
    Lstm: lstm,
    MatrixProduct: matrix_product,
    MaxPool: pool,
    Mean: mean,
    Move: move,
    Normalization: normalization,
    Position: position,
    Prelu: prelu,
    Product: product,
    QuantizeReal: quantize_real,
    Requantize: requantize,
    RescaledSum: rescaled_sum,
    Resize: resize,
    Softmax: softmax,
    SoftmaxInt16: softmax_int16,
    Svdf: svdf,
    Total: total,
    Update: update,
    WeightedSum: weighted_sum,
}
