# SPDX-License-Identifier: Apache-2.0
"""TILE, BROADCAST_TO, REVERSE_V2 and MIRROR_PAD: elements repeated or mirrored."""

import numpy as np

from tflm_export.flatbuffer.options import MirrorPadOptions
from tflm_export.flatbuffer.reader import INT8
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, axis_of, constant_integers, constant_of, constants_problem
from tflm_export.program.move import contiguous, repeated, selected
from tflm_export.program.value import value_of

_MIRROR_MODES = ("reflect", "symmetric")  # by code


class _Repeat(DataMovement):
    """The second input says how."""

    min_inputs = 2
    run_inputs = 2

    def lowering_problem(self, operator):
        return constants_problem(operator, 1)


@register("TILE")
class Tile(_Repeat):
    """Copies side by side along each axis."""

    def lower(self, operator, arithmetic):
        x, y, counts = value_of(operator.inputs[0]), value_of(operator.outputs[0]), constant_of(operator.inputs[1])
        shape = [side * count for side, count in zip(x.shape, counts, strict=True)]
        if shape != list(y.shape):
            raise ValueError(f"{counts} copies of {list(x.shape)} make {shape}")
        sizes = [size for pair in zip(counts, x.shape, strict=True) for size in pair]
        strides = [step for stride in contiguous(x.shape) for step in (0, stride)]
        return (repeated(x, y, sizes, strides),)


@register("BROADCAST_TO")
class BroadcastTo(_Repeat):
    """The output's shape is taken from the file."""

    def lower(self, operator, arithmetic):
        x, y = value_of(operator.inputs[0]), value_of(operator.outputs[0])
        shape = (*[1] * (len(y.shape) - len(x.shape)), *x.shape)
        if any(own not in (1, side) for own, side in zip(shape, y.shape, strict=True)):
            raise ValueError(f"{list(x.shape)} does not broadcast to {list(y.shape)}")
        strides = [0 if own == 1 else stride for own, stride in zip(shape, contiguous(shape), strict=True)]
        return (repeated(x, y, y.shape, strides),)


@register("REVERSE_V2")
class Reverse(_Repeat):
    """The other way round along some axes."""

    def lower(self, operator, arithmetic):
        x = value_of(operator.inputs[0])
        axes = {axis_of(axis, len(x.shape)) for axis in constant_of(operator.inputs[1])}
        positions = [range(side)[:: -1 if axis in axes else 1] for axis, side in enumerate(x.shape)]
        return (selected(x, value_of(operator.outputs[0]), positions),)


@register("MIRROR_PAD")
class MirrorPad(_Repeat):
    """A border of mirrored elements, with those at the edge or without."""

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/mirror_pad.cc."""
        x, border = value_of(operator.inputs[0]), operator.inputs[1].data.reshape(-1, 2).tolist()
        mode = _MIRROR_MODES[operator.option(MirrorPadOptions.MODE, INT8)]
        positions = [np.pad(np.arange(side), ends, mode).tolist() for side, ends in zip(x.shape, border, strict=True)]
        return (selected(x, value_of(operator.outputs[0]), positions),)

    def lowering_problem(self, operator):
        mode = operator.option(MirrorPadOptions.MODE, INT8)
        if mode not in range(len(_MIRROR_MODES)):
            return f"a border of mode {mode} is not simulated"
        problem = super().lowering_problem(operator)
        if problem or len(constant_integers(operator, 1)) != 2 * len(operator.inputs[0].shape):
            return problem or "its border does not fit its input"
        spare = 0 if _MIRROR_MODES[mode] == "symmetric" else 1
        border = operator.inputs[1].data.reshape(-1, 2)
        fits = (border >= 0) & (border <= np.array(operator.inputs[0].shape)[:, None] - spare)
        return "" if fits.all() else "its border is wider than its input"
