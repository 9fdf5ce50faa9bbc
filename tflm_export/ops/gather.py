"""GATHER and GATHER_ND: the parts of a tensor that a tensor of positions names."""

import math

import numpy as np

from tflm_export.flatbuffer.options import GatherOptions
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, axis_of


class _Gather(DataMovement):
    min_inputs = 2
    run_inputs = 2

    def simulation_problem(self, operator):
        positions = operator.inputs[1].type
        return "" if positions in ("INT32", "INT64", "INT16") else f"positions of type {positions} are not simulated"

    def mixes_rows(self, operator):
        x, positions = operator.inputs[:2]
        return not x.is_constant and not positions.is_constant


@register("GATHER")
class Gather(_Gather):
    """Slices along an axis."""

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/gather.h."""
        x, positions = inputs[:2]
        shared = axis_of(operator.option(GatherOptions.BATCH_DIMS), positions.ndim + 1)
        axis = axis_of(operator.option(GatherOptions.AXIS), x.ndim)
        _check_positions(positions, x.shape[axis])
        outer = math.prod(x.shape[:shared])
        batches = np.moveaxis(x.reshape(outer, *x.shape[shared:]), axis - shared + 1, 1)
        taken = batches[np.arange(outer)[:, None], positions.reshape(outer, -1)]
        taken = np.moveaxis(taken, 1, axis - shared + 1)
        return [taken.reshape(*x.shape[:axis], *positions.shape[shared:], *x.shape[axis + 1 :])]

    def mixes_rows(self, operator):
        x = operator.inputs[0]
        if operator.option(GatherOptions.BATCH_DIMS):
            return True
        along_rows = operator.option(GatherOptions.AXIS) % max(1, len(x.shape)) == 0
        return super().mixes_rows(operator) or along_rows != x.is_constant


@register("GATHER_ND")
class GatherNd(_Gather):
    """Elements or slices at positions in several dimensions, the last of the tensor of positions."""

    def run(self, operator, inputs, context):
        """Source: GatherNd in tensorflow/lite/kernels/internal/reference/reference_ops.h."""
        x, positions = inputs[:2]
        for axis in range(positions.shape[-1]):
            _check_positions(positions[..., axis], x.shape[axis])
        return [x[tuple(np.moveaxis(positions, -1, 0))]]

    def mixes_rows(self, operator):
        return not operator.inputs[0].is_constant


def _check_positions(positions: np.ndarray, size: int) -> None:
    """The runtimes know no positions from the end, which numpy would take."""
    if positions.size and not 0 <= int(positions.min()) <= int(positions.max()) < size:
        raise ValueError(f"positions {positions.min()} to {positions.max()} in a dimension of {size}")
