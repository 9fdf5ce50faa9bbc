# SPDX-License-Identifier: Apache-2.0
"""Rows of the kind a model was made for, as far as the shape of its input tells: photographs, digits, speech, motion.

Photographs are crops of the pictures that come with scikit-image and scikit-learn; the others are test rows of the data
folder. None of them is used to narrow a model.
"""

import dataclasses
import functools
import importlib.util
import pathlib

import numpy as np

from benchmarks import datasets
from tflm_export import verify
from tflm_export.flatbuffer.model import Model, Tensor
from tflm_export.held import real_range

# The pictures in scikit-image's wheel that show something of the world, coloured ones first.
PICTURES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "rocket.jpg",
    "motorcycle_left.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "moon.png",
    "page.png",
)
SMALLEST_PHOTO = 48  # pixels of a side; smaller images are digits
SEED = 20  # of the crops
RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Rows:
    """Inputs of a model.

    Attributes:
      source: what they are, for people; `RANDOM` where nothing is known.
      arrays: one for each input of the model, in its types; the rows one after the other along the first dimension.
      count: how many rows there are.
    """

    source: str
    arrays: list[np.ndarray]
    count: int

    def first(self, count: int) -> "Rows":
        """The first rows."""
        count = min(count, self.count)
        arrays = [array[: count * (len(array) // self.count)] for array in self.arrays]
        return Rows(self.source, arrays, count)


def natural_inputs(name: str, model: Model, rows: int) -> Rows | None:
    """Rows for a model with one input; None where nobody knows what it wants.

    Args:
      name: of its file, which tells what the shape does not.
      model: the model.
      rows: how many, at most.
    """
    inputs = model.subgraphs[0].inputs
    if len(inputs) != 1 or not inputs[0].shape:
        return None
    tensor = inputs[0]
    found = _rows(name, tensor.shape[1:], rows)
    if found is None:
        return None
    source, values, is_image = found
    values = values.reshape(-1, *tensor.shape[1:])
    array = _pixels(model, tensor, values) if is_image else quantised(tensor, values)
    return Rows(source, [array], len(array) // tensor.shape[0])


def random_inputs(model: Model, rows: int) -> Rows:
    """Uniformly random integers, for models of which nothing is known."""
    return Rows(RANDOM, verify.random_inputs(model, rows), rows)


def _rows(name: str, shape: tuple[int, ...], rows: int) -> tuple[str, np.ndarray, bool] | None:
    """What they are, their values, and whether those are pixels of 0..255."""
    pixels = int(np.prod(shape))
    if shape[-1:] == (3,) and shape[:2] == (32, 32):
        found = _spread("cifar10_jpeg_test", "images", rows)
        return None if found is None else ("CIFAR-10 test rows", found, True)
    if len(shape) == 3 and shape[-1] in (1, 3) and min(shape[:2]) >= SMALLEST_PHOTO:
        return "photographs", photographs(shape, rows), True
    if pixels == 28 * 28:
        found = _spread("mnist", "x_test", rows)
        return None if found is None else ("MNIST test rows", found, True)
    source, archive, array, divisor = {
        (49, 10, 1): ("spoken digits", "fsdd_mfcc", "x_test", ""),
        (64, 1, 6): ("activity", "har_sw" if "har_sw" in name else "har_sp", "x_test", "suggested_divisor"),
        (30, 1, 40): ("wake-word spectrograms", "sww_calibration", "x", ""),
    }.get(shape, ("", "", "", ""))
    found = _spread(archive, array, rows, divisor) if source else None
    return None if found is None else (source, found, False)


def _spread(archive: str, array: str, rows: int, divisor: str = "") -> np.ndarray | None:
    """Evenly spread rows of an archive of the data folder; None where it is not there."""
    folder = datasets.data_folder()
    if folder is None or not (folder / "data" / f"{archive}.npz").is_file():
        return None
    arrays = datasets.load(archive)
    values = arrays[array].astype(np.float32)
    if divisor:
        values = values / arrays[divisor]
    return values[np.linspace(0, len(values) - 1, min(rows, len(values))).astype(int)]


def photographs(shape: tuple[int, int, int], rows: int) -> np.ndarray:
    """Square crops of photographs, scaled to a shape; the same in every run.

    Args:
      shape: height, width and channels, 1 (grey) or 3.
      rows: how many; the pictures take turns.

    Returns:
      float32 [rows, height, width, channels], 0..255.
    """
    from PIL import Image

    random = np.random.default_rng(SEED)
    pictures = _pictures()
    crops = []
    for row in range(rows):
        picture = pictures[row % len(pictures)]
        side = int(min(picture.size) * random.uniform(0.4, 1.0))
        left, top = (int(random.integers(0, size - side + 1)) for size in picture.size)
        crop = picture.crop((left, top, left + side, top + side)).resize((shape[1], shape[0]), Image.Resampling.BOX)
        crops.append(np.asarray(crop.convert("L" if shape[2] == 1 else "RGB")).reshape(shape))
    return np.stack(crops).astype(np.float32)


@functools.cache
def _pictures() -> list:
    """Pillow images."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    pictures = [Image.fromarray(image) for image in load_sample_images().images]
    found = importlib.util.find_spec("skimage")
    if found is not None:
        folder = pathlib.Path(found.origin).parent / "data"
        pictures += [Image.open(folder / name).convert("RGB") for name in PICTURES if (folder / name).is_file()]
    return pictures


def _pixels(model: Model, tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """Pixels of 0..255 over the whole range of an input; of a float input, over that of what it is quantised to."""
    if tensor.is_quantized:
        limits = np.iinfo(tensor.type.lower())
        return (limits.min + np.rint(values * ((limits.max - limits.min) / 255))).astype(limits.dtype)
    low, high = real_range(model, tensor) or (0.0, 1.0)
    return (low + values * ((high - low) / 255)).astype(np.float32)


def quantised(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """Real values as a tensor holds them."""
    if not tensor.is_quantized:
        return values.astype(np.float32)
    limits = np.iinfo(tensor.type.lower())
    integers = np.rint(values / np.float64(tensor.scale)) + tensor.zero_point
    return np.clip(integers, limits.min, limits.max).astype(limits.dtype)
