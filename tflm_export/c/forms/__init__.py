# SPDX-License-Identifier: Apache-2.0
"""Forms as calls of kernels that serve all types and shapes; back ends have faster ones for some."""

from collections.abc import Callable

from tflm_export.c.forms.gather import gather, gather_nd, update
from tflm_export.c.forms.matrix_product import matrix_product
from tflm_export.c.forms.normalization import normalization
from tflm_export.c.forms.recurrence import lstm, svdf
from tflm_export.c.forms.reduction import extreme, mean, position, total
from tflm_export.c.forms.resize import resize
from tflm_export.c.forms.softmax import log_softmax, softmax, softmax_int16
from tflm_export.c.forms.weighted_sum import weighted_sum
from tflm_export.c.forms.window_pools import pool
from tflm_export.c.step import CStep
from tflm_export.program.form import Form
from tflm_export.program.gather import Gather, GatherNd, Update
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.normalization import Normalization
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.program import Step
from tflm_export.program.recurrence import Lstm, Svdf
from tflm_export.program.reduction import Extreme, Mean, Position, Total
from tflm_export.program.resize import Resize
from tflm_export.program.softmax import LogSoftmax, Softmax, SoftmaxInt16
from tflm_export.program.weighted_sum import WeightedSum

GENERAL: dict[type[Form], Callable[[Step], CStep]] = {
    WeightedSum: weighted_sum,
    MatrixProduct: matrix_product,
    AveragePool: pool,
    MaxPool: pool,
    Svdf: svdf,
    Lstm: lstm,
    Mean: mean,
    Total: total,
    Extreme: extreme,
    Position: position,
    Softmax: softmax,
    SoftmaxInt16: softmax_int16,
    LogSoftmax: log_softmax,
    Normalization: normalization,
    Resize: resize,
    Gather: gather,
    GatherNd: gather_nd,
    Update: update,
}
