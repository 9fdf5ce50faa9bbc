"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: images at another size, one scale on both sides."""

import numpy as np

from tflm_export.flatbuffer.options import ResizeBilinearOptions, ResizeNearestNeighborOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, constants_problem

_ONE = 1 << 10  # unit of positions in the integer kernel


class _Resize(DataMovement):
    """Inputs are images and the new height and width."""

    min_inputs = 2
    run_inputs = 2
    fields: type = ResizeBilinearOptions

    def modes(self, operator) -> tuple[bool, bool]:
        """Whether corners are aligned, and whether pixels are counted at their centres."""
        fields = (self.fields.ALIGN_CORNERS, self.fields.HALF_PIXEL_CENTERS)
        return tuple(bool(operator.option(field, UINT8)) for field in fields)

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        problem = constants_problem(operator, 1)
        if problem:
            return problem
        if x.type not in ("INT8", "UINT8", "INT16") or y.type != x.type:
            return f"{x.type} to {y.type} is not simulated"
        size = operator.inputs[1].data.reshape(-1)
        if len(x.shape) != 4 or min(x.shape) < 1 or len(size) != 2 or tuple(size) != y.shape[1:3] or min(size) < 1:
            return f"images of shape {list(x.shape)} do not become {list(y.shape)}"
        return ""


@register("RESIZE_BILINEAR")
class ResizeBilinear(_Resize):
    """Means of four neighbours, weighted by distance."""

    def run(self, operator, inputs, context):
        """Weights in units of 2**-10 for int8 and int16, halves away from zero; in float32 for uint8.

        Source: tensorflow/lite/kernels/internal/reference/resize_bilinear.h.
        """
        x, size = inputs[0], [int(side) for side in inputs[1].reshape(-1)]
        corners, centres = self.modes(operator)
        if x.dtype == np.uint8:
            return [_in_float32(x, size, corners, centres)]
        (y, y0, y1), (z, z0, z1) = (
            _integer_positions(before, after, corners, centres)
            for before, after in zip(x.shape[1:3], size, strict=True)
        )
        dy, dz = (y - _ONE * y0)[:, None, None], (z - _ONE * z0)[:, None]
        x = x.astype(np.int64)
        upper, lower = x[:, y0], x[:, y1]
        total = (upper[:, :, z0] * (_ONE - dz) + upper[:, :, z1] * dz) * (_ONE - dy)
        total += (lower[:, :, z0] * (_ONE - dz) + lower[:, :, z1] * dz) * dy
        magnitude = (np.abs(total) + (1 << 19)) >> 20
        return [np.where(total > 0, magnitude, -magnitude).astype(inputs[0].dtype)]


def _integer_positions(before: int, after: int, corners: bool, centres: bool) -> tuple[np.ndarray, ...]:
    """Where the pixels of a new side lie on the old one in units of 1 / 1024, and their neighbours there."""
    aligned = corners and after > 1
    numerator, denominator = (before - 1, after - 1) if aligned else (before, after)
    scale = (_ONE * numerator + denominator // 2) // denominator
    position = np.arange(after, dtype=np.int64) * scale
    if centres:
        position += scale // 2 - _ONE // 2
    # C divides towards zero.
    low = np.maximum(np.where(position < 0, -(-position // _ONE), position // _ONE), 0)
    up = position + _ONE - 1
    high = np.minimum(np.where(up < 0, -(-up // _ONE), up // _ONE), before - 1)
    # The runtimes read the last element where rounding put a position beyond it.
    return position, np.minimum(low, before - 1), high


def _in_float32(x: np.ndarray, size: list[int], corners: bool, centres: bool) -> np.ndarray:
    one = np.float32(1)

    def positions(before: int, after: int):
        numerator, denominator = (before - 1, after - 1) if corners and after > 1 else (before, after)
        scale = np.float32(numerator) / np.float32(denominator)
        position = np.arange(after, dtype=np.float32)
        half = np.float32(0.5 if centres else 0)
        position = (position + half) * scale - half
        low = np.maximum(np.floor(position).astype(np.int64), 0)
        high = np.minimum(np.ceil(position).astype(np.int64), before - 1)
        return position, low, high

    (y, y0, y1), (z, z0, z1) = (positions(b, a) for b, a in zip(x.shape[1:3], size, strict=True))
    dy, dz = (y - y0.astype(np.float32))[:, None, None], (z - z0.astype(np.float32))[:, None]
    x = x.astype(np.float32)
    upper, lower = x[:, y0], x[:, y1]
    total = upper[:, :, z0] * (one - dy) * (one - dz)
    total += lower[:, :, z0] * dy * (one - dz)
    total += upper[:, :, z1] * (one - dy) * dz
    total += lower[:, :, z1] * dy * dz
    return (total + np.float32(0.5)).astype(np.uint8)


@register("RESIZE_NEAREST_NEIGHBOR")
class ResizeNearestNeighbor(_Resize):
    """The nearest pixel."""

    fields = ResizeNearestNeighborOptions

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h."""
        x, size = inputs[0], [int(side) for side in inputs[1].reshape(-1)]
        rows, columns = (
            _nearest(before, after, *self.modes(operator)) for before, after in zip(x.shape[1:3], size, strict=True)
        )
        return [x[:, rows[:, None], columns]]


def _nearest(before: int, after: int, corners: bool, centres: bool) -> np.ndarray:
    """The pixels of an old side that are nearest to those of a new one."""
    numerator, denominator = (before - 1, after - 1) if corners and after > 1 else (before, after)
    scale = np.float32(numerator) / np.float32(denominator)
    position = (np.arange(after, dtype=np.float32) + np.float32(0.5 if centres else 0)) * scale
    whole = np.floor(position.astype(np.float64) + 0.5) if corners else np.floor(position)
    return np.clip(whole.astype(np.int64), 0, before - 1)
