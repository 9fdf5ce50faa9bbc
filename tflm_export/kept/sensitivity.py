# SPDX-License-Identifier: Apache-2.0
"""How a program's outputs change with the values on the way: gradients of its forms, from the outputs back.

Integers are taken for real numbers, rounding for none, and a clamp passes what lies inside it.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.form import Form
from tflm_export.program.move import Move
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.product import Product
from tflm_export.program.program import Step
from tflm_export.program.reduction import Mean
from tflm_export.program.requantize import Requantize
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Windows
from tflm_export.rescale import Rescale, Rescaler

_LARGEST_FACTOR = 2.0**16


def propagate(
    steps: Sequence[Step],
    values: Mapping[Hashable, np.ndarray],
    gradients: Mapping[Hashable, np.ndarray],
    seen: Callable[[Step, np.ndarray], None],
) -> None:
    """Takes gradients from some values back through a program.

    Args:
      steps: in execution order.
      values: what every value held, [rows, *shape] by key.
      gradients: of a number with respect to some values, float32 [rows, *shape] by key.
      seen: is given each step that the gradients reach, and that of its first output, in reverse order. What lies
        before a form whose gradient is not known here is reached as far as other ways lead to it.
    """
    found = dict(gradients)
    for step in reversed(steps):
        gradient = found.pop(step.form.output.key, None)
        if gradient is None:
            continue
        seen(step, gradient)
        form = step.form
        inputs = [value.among(values) for value in form.inputs]
        for value, part in zip(form.inputs, pulled(form, gradient, inputs, values[form.output.key]), strict=True):
            if part is not None and value.data is None:
                found[value.key] = found[value.key] + part if value.key in found else part


@functools.singledispatch
def pulled(form: Form, gradient: np.ndarray, inputs: list[np.ndarray], output: np.ndarray) -> list[np.ndarray | None]:
    """The gradient with respect to the inputs of a form.

    Args:
      form: the form.
      gradient: with respect to its first output, float32 [rows, *shape].
      inputs, output: what these held.

    Returns:
      float32 [rows, *shape] for each input; None where it is not known here.
    """
    return [None] * len(form.inputs)


def inside(output: np.ndarray, clamp: tuple[int, int]) -> np.ndarray:
    """Where a clamp lets changes through."""
    return (output > clamp[0]) & (output < clamp[1])


def _slopes(rescaler: Rescaler) -> np.ndarray:
    """The factors of a rescale of this package's kernels; float32, one dimension.

    Those so large that outputs saturate at the slightest change, which only damaged files have, let nothing through.
    """
    assert isinstance(rescaler, Rescale)
    factors = np.ravel(rescaler.value)
    return np.where(factors > _LARGEST_FACTOR, 0, factors).astype(np.float32)


@pulled.register
def _weighted_sum(form: WeightedSum, gradient, inputs, output):
    factors = np.broadcast_to(_slopes(form.rescale), (form.channels,))
    images, view = len(gradient) * form.image_shape[0], form.windows
    sums = (gradient * inside(output, form.clamp)).reshape(images, view.height.output, view.width.output, -1) * factors
    weights = form.weights.astype(np.float32)
    parts = np.split(sums, len(weights), axis=3) if not form.is_depthwise else [sums]

    def under(tap: tuple[int, int]) -> np.ndarray:
        if form.is_depthwise:
            grouped = sums.reshape(*sums.shape[:3], *weights.shape[:2])
            return np.einsum("nyxgc,gc->nyxg", grouped, weights[:, :, tap[0], tap[1], 0])
        return np.concatenate([part @ own[:, tap[0], tap[1]] for part, own in zip(parts, weights, strict=True)], axis=3)

    return [_scattered(view, images, form.input_channels, under).reshape(len(gradient), *form.inputs[0].shape)]


def _scattered(view: Windows, images: int, channels: int, under: Callable) -> np.ndarray:
    """What every element of an image gets from all windows it is under; `under` says what a tap of each gives."""
    axes = (view.height, view.width)
    sides = [axis.before + (axis.size - 1) * axis.spread + 1 + axis.after for axis in axes]
    padded = np.zeros((images, *sides, channels), np.float32)
    for tap in view.taps:
        part = view.tap(padded, *tap)
        part += under(tap)
    rows, columns = (slice(a.before, a.before + (a.size - 1) * a.spread + 1, a.spread) for a in axes)
    return padded[:, rows, columns]


@pulled.register
def _aligned_sum(form: AlignedSum, gradient, inputs, output):
    gradient = gradient * inside(output, form.clamp)
    return [
        _unbroadcast(gradient * np.float32(factor / 2.0**form.shift), value.shape)
        for factor, value in zip(form.factors, form.inputs, strict=True)
    ]


@pulled.register
def _product(form: Product, gradient, inputs, output):
    gradient = gradient * inside(output, form.clamp) * _slopes(form.rescale)[0]
    rank = gradient.ndim - 1
    a, b = (
        (x - np.float32(zero)).reshape(len(x), *(1,) * (rank + 1 - x.ndim), *x.shape[1:])
        for x, zero in zip(inputs, form.zero_points, strict=True)
    )
    return [_unbroadcast(gradient * other, v.shape) for other, v in zip((b, a), form.inputs, strict=True)]


@pulled.register
def _requantize(form: Requantize, gradient, inputs, output):
    slope = _slopes(form.rescale)[0]
    if form.below is not None:
        below = form.below_sign * _slopes(form.below)[0]
        slope = np.where(inputs[0] >= form.input_zero_point, slope, below)
    return [_unbroadcast(gradient * inside(output, form.clamp) * slope, form.inputs[0].shape)]


def _unbroadcast(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The sum over what was repeated of a value of this shape."""
    wide = (1,) * (gradient.ndim - 1 - len(shape)) + shape
    axes = tuple(i + 1 for i, (own, side) in enumerate(zip(wide, gradient.shape[1:], strict=True)) if own != side)
    return gradient.sum(axes).reshape(len(gradient), *shape)


@pulled.register
def _average_pool(form: AveragePool, gradient, inputs, output):
    view, shape = form.windows, form.inputs[0].shape
    count = sum(view.tap(view.pad(np.ones((1, *shape[1:3], 1), np.float32), 0), *tap) for tap in view.taps)
    share = (gradient * inside(output, form.clamp)).reshape(-1, *form.output.shape[1:]) / count
    return [_scattered(view, len(share), shape[3], lambda tap: share).reshape(len(gradient), *shape)]


@pulled.register
def _max_pool(form: MaxPool, gradient, inputs, output):
    view, shape = form.windows, form.inputs[0].shape
    images = inputs[0].reshape(-1, *shape[1:])
    padded = view.pad(images, np.iinfo(images.dtype).min)
    largest, own = (array.reshape(-1, *form.output.shape[1:]) for array in (output, gradient))
    found = _scattered(view, len(own), shape[3], lambda tap: own * (view.tap(padded, *tap) == largest))
    return [found.reshape(len(gradient), *shape)]


@pulled.register
def _mean(form: Mean, gradient, inputs, output):
    shape = form.inputs[0].shape
    kept = [1 if axis in form.axes else side for axis, side in enumerate(shape)]
    own = (gradient * inside(output, form.output.limits)).reshape(len(gradient), *kept)
    return [np.broadcast_to(own * np.float32(form.factor / form.divisor), (len(gradient), *shape))]


@pulled.register
def _move(form: Move, gradient, inputs, output):
    if form.is_identity:
        return [gradient.reshape(len(gradient), *form.inputs[0].shape)]
    ends = np.cumsum([0, *(value.size for value in form.inputs)])
    source = _sources(form, ends)
    moved = source >= 0
    total = np.zeros((len(gradient), ends[-1]), np.float32)
    np.add.at(total, (slice(None), source[moved]), gradient.reshape(len(gradient), -1)[:, moved])
    parts = np.split(total, ends[1:-1], axis=1)
    return [part.reshape(len(part), *v.shape) for part, v in zip(parts, form.inputs, strict=True)]


def _sources(form: Move, ends: np.ndarray) -> np.ndarray:
    """Which element of all inputs, one after the other, each of the output is, int64; -1 for the fill."""
    numbered = dataclasses.replace(
        form,
        outputs=(dataclasses.replace(form.output, dtype=np.dtype(np.int64)),),
        fill=None if form.fill is None else -1,
    )
    places = [np.arange(a, b).reshape(1, *v.shape) for a, b, v in zip(ends, ends[1:], form.inputs, strict=False)]
    return numbered.evaluate(*places)[0].reshape(-1)
