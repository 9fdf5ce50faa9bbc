# SPDX-License-Identifier: Apache-2.0
"""Forms as calls of kernels that serve all types and shapes; back ends have faster ones for some."""

from collections.abc import Callable

from tflm_export.c.forms.matrix_product import matrix_product
from tflm_export.c.forms.recurrence import lstm, svdf
from tflm_export.c.forms.weighted_sum import weighted_sum
from tflm_export.c.forms.window_pools import pool
from tflm_export.c.step import CStep
from tflm_export.program.form import Form
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.program import Step
from tflm_export.program.recurrence import Lstm, Svdf
from tflm_export.program.weighted_sum import WeightedSum

GENERAL: dict[type[Form], Callable[[Step], CStep]] = {
    WeightedSum: weighted_sum,
    MatrixProduct: matrix_product,
    AveragePool: pool,
    MaxPool: pool,
    Svdf: svdf,
    Lstm: lstm,
}
