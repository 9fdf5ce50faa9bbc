# SPDX-License-Identifier: Apache-2.0
"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: images at another size, one scale on both sides."""

import dataclasses

import numpy as np

from tflm_export.flatbuffer.options import ResizeBilinearOptions, ResizeNearestNeighborOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, constants_problem
from tflm_export.program.move import selected
from tflm_export.program.resize import Neighbours, Resize
from tflm_export.program.value import value_of

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

    def lowering_problem(self, operator):
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

    def lower(self, operator, arithmetic):
        """Weights in units of 2**-10 for int8 and int16; in float32 for uint8."""
        x, y = value_of(operator.inputs[0]), value_of(operator.outputs[0])
        neighbours, unit = (_in_float32, 1) if x.dtype == np.uint8 else (_in_integers, _ONE)
        rows, columns = (
            neighbours(before, after, *self.modes(operator))
            for before, after in zip(x.shape[1:3], y.shape[1:3], strict=True)
        )
        return (Resize(inputs=(x,), outputs=(y,), rows=rows, columns=columns, unit=unit),)


def _in_integers(before: int, after: int, corners: bool, centres: bool) -> Neighbours:
    """Where the pixels of a new side lie on the old one in units of 1 / 1024."""
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
    low = np.minimum(low, before - 1)
    return Neighbours(low, high, position - _ONE * low)


def _in_float32(before: int, after: int, corners: bool, centres: bool) -> Neighbours:
    numerator, denominator = (before - 1, after - 1) if corners and after > 1 else (before, after)
    scale = np.float32(numerator) / np.float32(denominator)
    half = np.float32(0.5 if centres else 0)
    position = (np.arange(after, dtype=np.float32) + half) * scale - half
    low = np.maximum(np.floor(position).astype(np.int64), 0)
    high = np.minimum(np.ceil(position).astype(np.int64), before - 1)
    return Neighbours(low, high, position - low.astype(np.float32))


@register("RESIZE_NEAREST_NEIGHBOR")
class ResizeNearestNeighbor(_Resize):
    """The nearest pixel."""

    fields = ResizeNearestNeighborOptions

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h."""
        x, y = value_of(operator.inputs[0]), value_of(operator.outputs[0])
        rows, columns = (
            _nearest(before, after, *self.modes(operator)).tolist()
            for before, after in zip(x.shape[1:3], y.shape[1:3], strict=True)
        )
        images, _, width, channels = x.shape
        tall = dataclasses.replace(y.part("rows"), shape=(images, len(rows), width, channels))
        return (
            selected(x, tall, [range(images), rows, range(width), range(channels)]),
            selected(tall, y, [range(images), range(len(rows)), columns, range(channels)]),
        )


def _nearest(before: int, after: int, corners: bool, centres: bool) -> np.ndarray:
    """The pixels of an old side that are nearest to those of a new one."""
    numerator, denominator = (before - 1, after - 1) if corners and after > 1 else (before, after)
    scale = np.float32(numerator) / np.float32(denominator)
    position = (np.arange(after, dtype=np.float32) + np.float32(0.5 if centres else 0)) * scale
    whole = np.floor(position.astype(np.float64) + 0.5) if corners else np.floor(position)
    return np.clip(whole.astype(np.int64), 0, before - 1)
