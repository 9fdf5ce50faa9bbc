# SPDX-License-Identifier: Apache-2.0
"""Parts at computed places, through kernels/narrow_gather.h. What is moved may be of any type.

A position outside of its dimension is an error in the runtimes and in the simulator; these steps take the nearest one
inside, so that no memory is touched but the tensors'.
"""

import math

from tflm_export.c.forms.statements import array
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import literal
from tflm_export.program.form import Form
from tflm_export.program.gather import Gather, GatherNd, Update
from tflm_export.program.program import Step


def gather(step: Step[Gather]) -> CStep:
    """Slices along an axis.

    Raises:
      UnsupportedError: the sizes of what it reads and writes do not fit.
    """
    form, (x, positions), shape = step.form, step.form.inputs, step.form.inputs[0].shape
    outer = math.prod(shape[: form.shared])
    blocks, behind = math.prod(shape[form.shared : form.axis]), math.prod(shape[form.axis + 1 :])
    count = positions.size // max(outer, 1)
    fits = form.shared <= form.axis and outer * count == positions.size
    _check(form, fits and outer * blocks * count * behind == form.output.size, shape[form.axis : form.axis + 1])
    sizes = f"{outer}, {blocks}, {shape[form.axis]}, {count}, {behind * x.dtype.itemsize}"
    return _step(step, f"narrow_take({literal(positions.dtype)}, {sizes}, x0, x1, y);")


def gather_nd(step: Step[GatherNd]) -> CStep:
    """Elements or slices at positions in several dimensions.

    Raises:
      UnsupportedError: the sizes of what it reads and writes do not fit.
    """
    form, (x, positions), shape = step.form, step.form.inputs, step.form.inputs[0].shape
    rows, rank = math.prod(positions.shape[:-1]), positions.shape[-1] if positions.shape else 0
    behind = math.prod(shape[rank:])
    _check(form, bool(positions.shape) and rank <= len(shape) and rows * behind == form.output.size, shape[:rank])
    sizes = f"{rows}, {rank}, sizes, strides, {behind * x.dtype.itemsize}"
    call = f"narrow_take_nd({literal(positions.dtype)}, {sizes}, x0, x1, y);"
    return _step(step, call, sizes=array(shape[:rank]), strides=array(_strides(x)[:rank]))


def update(step: Step[Update]) -> CStep:
    """A block inside of a tensor replaced.

    Raises:
      UnsupportedError: the sizes of what it reads and writes do not fit.
    """
    form, (x, block, begin) = step.form, step.form.inputs
    fits = len(x.shape) == len(block.shape) == begin.size and x.shape == form.output.shape
    _check(form, fits and all(a >= b for a, b in zip(x.shape, block.shape, strict=True)), ())
    # Up to the last dimension of which the block is a part; what is behind is moved as a whole.
    rank = max((d + 1 for d, (a, b) in enumerate(zip(x.shape, block.shape, strict=True)) if a != b), default=0)
    rows = math.prod(block.shape[: max(rank - 1, 0)])
    row_bytes = math.prod(block.shape[max(rank - 1, 0) :]) * x.dtype.itemsize
    sizes = f"{x.size * x.dtype.itemsize}, {rank}, block_sizes, room, strides, {rows}, {row_bytes}"
    room = (a - b for a, b in zip(x.shape[:rank], block.shape[:rank], strict=True))
    return _step(
        step,
        f"narrow_update({literal(begin.dtype)}, {sizes}, x0, x1, x2, y);",
        block_sizes=array(block.shape[:rank]),
        room=array(room),
        strides=array(_strides(x)[:rank]),
    )


def _check(form: Form, fits: bool, addressed) -> None:
    if not fits or 0 in addressed:
        shapes = " and ".join(str(list(value.shape)) for value in form.inputs)
        raise UnsupportedError(f"inputs of {shapes} do not give {list(form.output.shape)}")


def _strides(x) -> list[int]:
    """Of each dimension, in bytes."""
    return [math.prod(x.shape[d + 1 :]) * x.dtype.itemsize for d in range(len(x.shape))]


def _step(step: Step, call: str, **constants) -> CStep:
    form = step.form
    return CStep(step.origin, form.inputs, form.outputs, (call,), constants, kernels=("narrow_gather.h",))
