# SPDX-License-Identifier: Apache-2.0
"""Synthetic images, for what is to be known of an image network's activations when there is no data: dead leaves.

Opaque discs of all sizes, one over the other: like pictures, they have edges, and areas of one colour, at every scale.
A radius density of r^-3 makes them alike at all scales, as natural images are (Lee, Mumford and Huang, Occlusion models
for natural images, IJCV 2001). White noise, or noise of a 1/f spectrum, has neither edges nor areas, and what a network
makes of it says less about what it makes of a photo.
"""

import functools

import numpy as np

from tflm_export.errors import UsageError
from tflm_export.flatbuffer.model import Model, Operator, Tensor
from tflm_export.held import holder
from tflm_export.input_means import InputMeans, input_means, work
from tflm_export.ops.base import scale_problem
from tflm_export.ops.statistics import Statistics
from tflm_export.program.form import row_blocks
from tflm_export.program.value import dtype_of, limits_of

AUTO, FORCED, NEVER = SYNTHETIC = ("auto", "images", "none")
IMAGES = 4
DISCS = 150
SMALLEST, LARGEST = 1 / 40, 1 / 1.5  # radius over the longer side
GREY = (1.2, 1.4)  # parameters of the beta distribution of a disc's brightness
COLOUR = 0.1  # standard deviation of a channel's distance from it
NOISE = 0.01  # standard deviation, of each value
MOST_WORK = 1 << 33  # (`input_means.work`) of all images: about a second; larger models get fewer
AT_A_TIME = 1 << 22  # bytes of an image in float64
LEAST_SIDE = 16  # of an input that is taken for an image where nobody says so


def dead_leaves(count: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Images of discs.

    Args:
      count, height, width, channels: their shape.
      seed: images of one seed are the same in every run; the first ones do not depend on the count.

    Returns:
      float32 [count, height, width, channels], 0 (black) to 1 (white).
    """
    images = np.empty((count, height, width, channels), np.float32)
    for image, own in zip(images, np.random.SeedSequence(seed).spawn(count), strict=True):
        _draw(image, np.random.default_rng(own))
    return images


def _draw(image: np.ndarray, random: np.random.Generator) -> None:
    """Draws an image [height, width, channels], some lines at a time."""
    height, width, channels = image.shape
    size = max(height, width)
    radius = _radii(random, size)
    y, x = random.uniform(0, height, DISCS), random.uniform(0, width, DISCS)
    grey = random.beta(*GREY, DISCS + 1)[:, None]
    colours = grey + random.normal(0, COLOUR, (DISCS + 1, channels))  # the last one is the ground's
    vertical = np.square(np.arange(height) + 0.5 - y[:, None])
    horizontal = np.square(np.arange(width) + 0.5 - x[:, None])
    for lines in row_blocks(height, 8 * width * channels, AT_A_TIME):
        top = np.full(image[lines].shape[:2], DISCS)
        for disc in range(DISCS):  # from the bottom up
            top[np.add.outer(vertical[disc, lines], horizontal[disc]) < radius[disc] ** 2] = disc
        image[lines] = np.clip(colours[top] + random.normal(0, NOISE, image[lines].shape), 0, 1)


def _radii(random: np.random.Generator, size: int) -> np.ndarray:
    """Radii of a density that falls off with their cube, by inverting its distribution function."""
    low, high = (SMALLEST * size) ** -2.0, (LARGEST * size) ** -2.0
    return (low - random.uniform(0, 1, DISCS) * (low - high)) ** -0.5


class SyntheticMeans:
    """Means of the inputs of a model's weights over synthetic images, computed when one is first asked for."""

    def __init__(self, model: Model, images: list[tuple[Tensor, Tensor]]):
        """For a model whose inputs are images, each with the tensor whose range an image fills."""
        self._model, self._images = model, images
        self._corrected = self._unknown = 0

    @functools.cached_property
    def _count(self) -> int:
        return min(IMAGES, MOST_WORK // max(1, work(self._model)))

    @functools.cached_property
    def _means(self) -> InputMeans:
        if not self._count:
            return InputMeans({}, "the model is too large to be run for it")
        return input_means(
            self._model,
            lambda: [_filled(tensor, held, self._count, seed) for seed, (tensor, held) in enumerate(self._images)],
        )

    def statistics(self, operator: Operator) -> Statistics | None:
        """Means of what the weights of an operator are multiplied with; None where they are not known."""
        found = self._means.statistics.get(operator.key)
        self._corrected += found is not None
        self._unknown += found is None
        return found

    @property
    def note(self) -> str:
        """What was done with them so far, for people; empty where no weights were rounded."""
        parts = []
        if self._corrected:
            count = f"{self._count} synthetic image{'s' if self._count > 1 else ''}"
            parts.append(f"biases of {_operators(self._corrected)} corrected by {count}")
        if self._unknown:
            why = self._means.problem or "they depend on more than images"
            parts.append(f"no synthetic images for {_operators(self._unknown)}: {why}")
        return "; ".join(parts)


def _operators(count: int) -> str:
    return f"{count} operator{'s' if count > 1 else ''}"


def synthetic_means(model: Model, wanted: str = AUTO) -> SyntheticMeans | None:
    """Means from synthetic images for a model; None where there are to be none.

    Args:
      model: the stock model.
      wanted: "auto": where its one input is a colour image in 8 bits; "images": any whose inputs can be images;
        "none": never.

    Raises:
      UsageError: `wanted` is none of these, or asks for images where an input cannot be one.
    """
    if wanted not in SYNTHETIC:
        raise UsageError(f"synthetic must be one of {', '.join(SYNTHETIC)}, got {wanted!r}")
    inputs = model.subgraphs[0].inputs if model.subgraphs else ()
    if wanted == NEVER or (wanted == AUTO and not (len(inputs) == 1 and _is_colour(inputs[0]))):
        return None
    held = [_held(model, tensor) for tensor in inputs]
    refused = [
        f"{t.label} is {t.type} {list(t.shape)}" for t, integers in zip(inputs, held, strict=True) if not integers
    ]
    if wanted == AUTO and (refused or held[0].type == "INT16"):  # whose 0 may be black as well as grey
        return None
    if refused or not inputs:
        raise UsageError(
            f"synthetic images fill inputs [1, height, width(, channels)] of 8 or 16 bits, also behind a QUANTIZE; "
            f"{', '.join(refused) or 'the model has no input'}; leave out synthetic=images"
        )
    return SyntheticMeans(model, list(zip(inputs, held, strict=True)))


def _is_colour(tensor: Tensor) -> bool:
    """Whether an input looks like one colour image: series of three sensors are one value wide, or short."""
    return len(tensor.shape) == 4 and tensor.shape[3] == 3 and min(tensor.shape[1:3]) >= LEAST_SIDE


def _held(model: Model, tensor: Tensor) -> Tensor | None:
    """The tensor of 8 or 16 bits that holds the image that an input is; None where there is none."""
    if len(tensor.shape) not in (3, 4) or min(tensor.shape) < 1:
        return None
    held = holder(model, tensor)
    return None if scale_problem(held) else held


def _filled(tensor: Tensor, held: Tensor, count: int, seed: int) -> np.ndarray:
    """Images in an input's type, [inferences, *shape], from end to end of the range of the tensor that holds them."""
    images, height, width, *channels = tensor.shape
    inferences = -(-count // images)
    leaves = dead_leaves(inferences * images, height, width, *(channels or [1]), seed=seed)
    lines = leaves.reshape(inferences * images * height, -1)
    low, high = limits_of(dtype_of(held))
    filled = np.empty(lines.shape, dtype_of(tensor))
    for some in row_blocks(len(lines), 8 * lines.shape[1], AT_A_TIME):
        integers = np.rint(low + lines[some].astype(np.float64) * (high - low))
        filled[some] = (integers - held.zero_point) * held.scale if tensor.type == "FLOAT32" else integers
    return filled.reshape(inferences, *tensor.shape)
