"""TILE, BROADCAST_TO, REVERSE_V2 and MIRROR_PAD: elements repeated or mirrored."""

import numpy as np

from tflm_export.flatbuffer.options import MirrorPadOptions
from tflm_export.flatbuffer.reader import INT8
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, axis_of, constant_integers, constants_problem

_MIRROR_MODES = ("reflect", "symmetric")  # by code


class _Repeat(DataMovement):
    """The second input says how."""

    min_inputs = 2
    run_inputs = 2

    def simulation_problem(self, operator):
        return constants_problem(operator, 1)


@register("TILE")
class Tile(_Repeat):
    """Copies side by side along each axis."""

    def run(self, operator, inputs, context):
        x, counts = inputs
        shape = [side * count for side, count in zip(x.shape, counts.reshape(-1).tolist(), strict=True)]
        if shape != list(context.shape(operator.outputs[0])):  # before it takes memory
            raise ValueError(f"{counts.reshape(-1).tolist()} copies of {list(x.shape)} make {shape}")
        return [np.tile(x, counts.reshape(-1))]

    def mixes_rows(self, operator):
        return constant_integers(operator, 1)[:1] != [1]


@register("BROADCAST_TO")
class BroadcastTo(_Repeat):
    """The output's shape is taken from the file."""

    def run(self, operator, inputs, context):
        return [np.broadcast_to(inputs[0], context.shape(operator.outputs[0]))]

    def mixes_rows(self, operator):
        return len(operator.inputs[0].shape) != len(operator.outputs[0].shape)


@register("REVERSE_V2")
class Reverse(_Repeat):
    """The other way round along some axes."""

    def run(self, operator, inputs, context):
        x, axes = inputs
        return [np.flip(x, tuple(axis_of(axis, x.ndim) for axis in axes.reshape(-1).tolist()))]

    def mixes_rows(self, operator):
        rank = max(1, len(operator.inputs[0].shape))
        return 0 in [axis % rank for axis in constant_integers(operator, 1)]


@register("MIRROR_PAD")
class MirrorPad(_Repeat):
    """A border of mirrored elements, with those at the edge or without."""

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/mirror_pad.cc."""
        x, border = inputs
        mode = _MIRROR_MODES[operator.option(MirrorPadOptions.MODE, INT8)]
        return [np.pad(x, border.reshape(-1, 2).tolist(), mode)]

    def simulation_problem(self, operator):
        mode = operator.option(MirrorPadOptions.MODE, INT8)
        if mode not in range(len(_MIRROR_MODES)):
            return f"a border of mode {mode} is not simulated"
        problem = super().simulation_problem(operator)
        if problem or len(constant_integers(operator, 1)) != 2 * len(operator.inputs[0].shape):
            return problem or "its border does not fit its input"
        spare = 0 if _MIRROR_MODES[mode] == "symmetric" else 1
        border = operator.inputs[1].data.reshape(-1, 2)
        fits = (border >= 0) & (border <= np.array(operator.inputs[0].shape)[:, None] - spare)
        return "" if fits.all() else "its border is wider than its input"

    def mixes_rows(self, operator):
        return any(constant_integers(operator, 1)[:2])
