# SPDX-License-Identifier: Apache-2.0
"""Parts of a tensor at places that are computed."""

import dataclasses

import numpy as np

from tflm_export.program.form import Form


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Gather(Form):
    """Slices of the first input at the positions that the second one holds.

    Attributes:
      axis: of the first input's shape.
      shared: leading dimensions that both have in common.
    """

    axis: int
    shared: int

    def evaluate(self, x, positions):
        """Source: tensorflow/lite/kernels/internal/reference/gather.h."""
        check_positions(positions, self.inputs[0].shape[self.axis])
        runs, shape = max(len(x), len(positions)), self.inputs[0].shape
        x, positions = (np.broadcast_to(a, (runs, *a.shape[1:])) for a in (x, positions))
        outer = runs * int(np.prod(shape[: self.shared], dtype=np.int64))
        batches = np.moveaxis(x.reshape(outer, *shape[self.shared :]), self.axis - self.shared + 1, 1)
        taken = batches[np.arange(outer)[:, None], positions.reshape(outer, -1)]
        return (np.moveaxis(taken, 1, self.axis - self.shared + 1).reshape(runs, *self.output.shape),)


class GatherNd(Form):
    """Elements or slices of the first input at positions in several dimensions, the last one of the second input."""

    def evaluate(self, x, positions):
        """Source: GatherNd in tensorflow/lite/kernels/internal/reference/reference_ops.h."""
        for axis in range(positions.shape[-1]):
            check_positions(positions[..., axis], self.inputs[0].shape[axis])
        runs = max(len(x), len(positions))
        x, positions = (np.broadcast_to(a, (runs, *a.shape[1:])) for a in (x, positions))
        first = np.arange(runs).reshape(runs, *(1,) * (positions.ndim - 2))
        return (x[(first, *np.moveaxis(positions, -1, 0))].reshape(runs, *self.output.shape),)


class Update(Form):
    """The first input with the second one in it, at the place that the third holds, moved so that it fits."""

    def evaluate(self, x, block, begin):
        """Source: tensorflow/lite/kernels/dynamic_update_slice.cc."""
        runs = max(len(x), len(block), len(begin))
        x, block, begin = (np.broadcast_to(a, (runs, *a.shape[1:])) for a in (x, block, begin))
        result = x.copy()
        sides = list(zip(x.shape[1:], block.shape[1:], strict=True))
        for run in range(runs):
            where = []
            for (side, length), first in zip(sides, begin[run].reshape(-1).tolist(), strict=True):
                first = min(max(first, 0), max(side - length, 0))
                where.append(slice(first, first + length))
            result[(run, *where)] = block[run]
        return (result,)


def check_positions(positions: np.ndarray, size: int) -> None:
    """The runtimes know no positions from the end, which numpy would take."""
    if positions.size and not 0 <= int(positions.min()) <= int(positions.max()) < size:
        raise ValueError(f"positions {positions.min()} to {positions.max()} in a dimension of {size}")
