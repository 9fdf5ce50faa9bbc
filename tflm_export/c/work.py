# SPDX-License-Identifier: Apache-2.0
"""How often the parts of each kernel run for a layer: counts of its loops, which follow from the layer's sizes."""

import math

import numpy as np

from tflm_export.c.cost import Work
from tflm_export.c.epilogue import Epilogue, FoldedRescale
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis


def end_of(folded: FoldedRescale) -> str:
    """How a layer's kernels end, with stock rescales that take 64 bits apart."""
    return (
        f"{folded.epilogue.value} sums"
        if folded.epilogue is Epilogue.STOCK and folded.fold is None
        else (folded.epilogue.value)
    )


def tiles_in_rows(form: WeightedSum, pixels: int) -> int:
    """Tiles of so many pixels next to one another in a row."""
    return form.image_shape[0] * form.windows.height.output * math.ceil(form.windows.width.output / pixels)


def tiles_in_images(form: WeightedSum, pixels: int) -> int:
    """Tiles of so many pixels one after another."""
    return form.image_shape[0] * math.ceil(form.windows.outputs / pixels)


def rows_read(axis: Axis) -> tuple[int, int]:
    """Rows under the windows, each once where one kernel is on both of its neighbours: of the image, and of padding."""
    starts = np.arange(axis.output) * axis.stride
    reached = np.unique((starts[:, None] + np.arange(axis.kernel)).ravel()) - axis.before
    inside = int(((reached >= 0) & (reached < axis.size)).sum())
    return inside, len(reached) - inside


def padding_rows(form: WeightedSum) -> tuple[int, int]:
    """`rows_read` of all images."""
    inside, outside = rows_read(form.windows.height)
    return form.image_shape[0] * inside, form.image_shape[0] * outside


def gathered(form: WeightedSum, tiles: int, pixels: int) -> dict[str, float]:
    """What narrow_gather does for tiles of so many windows, whose last one may begin earlier and gather some again."""
    channels, axes = form.input_channels, (form.windows.height, form.windows.width)
    inside = [_inside(axis) for axis in axes]
    lines = inside[0].sum()  # rows of a window that are rows of the image, over the windows of a column
    runs = (
        inside[1] if axes[1].dilation == 1 else np.ones(inside[1].sum(), np.int64)
    )  # elements that are copied at once
    copied, all_taps = lines * inside[1].sum(), form.windows.outputs * len(form.windows.taps)
    again = pixels * tiles / max(1, form.windows.outputs)
    return {
        "gathered rows": pixels * tiles * axes[0].kernel, "gathered taps": again * all_taps * (axes[1].dilation > 1),
        "gathered runs": again * lines * len(runs), "gathered fours": again * lines * int((runs * channels // 4).sum()),
        "gathered ones": again * lines * int((runs * channels % 4).sum()),
        "padding bytes": again * (all_taps - copied) * channels,
    }  # fmt: skip


def _inside(axis: Axis) -> np.ndarray:
    """How many elements of each window are inside the image, int64 [windows]."""
    starts = np.arange(axis.output) * axis.stride - axis.before
    places = starts[:, None] + np.arange(axis.kernel) * axis.dilation
    return ((places >= 0) & (places < axis.size)).sum(1)


def tiles_dsp(form: WeightedSum, folded: FoldedRescale, walk: str, sizes: tuple, tiles: int, words: int = 0) -> Work:
    """Of narrow_conv_2d_tiles_dsp.h.

    Args:
      form, folded: the layer.
      walk: "rows", "pixels" or "windows".
      sizes: rows of the kernel, loops, steps of a loop, and behind it, and pairs of channels.
      tiles: how many.
      words: of a row with its padding.
    """
    height, loops, unrolled, rest, pairs = sizes
    each = tiles * pairs
    counts = {
        "layer": 1, "tiles": tiles, f"pairs {end_of(folded)}": each, "steps": each * height * (loops * unrolled + rest),
        "loops": each * height * loops * (loops > 1), "loop starts": each * height * (loops > 1),
        "kernel rows": each * height * (height > 1),
    }  # fmt: skip
    inputs = form.input_channels
    if walk == "rows":
        inside, outside = padding_rows(form)
        counts |= {
            "lines": form.image_shape[0] * form.windows.height.output, "tile rows": tiles * height,
            "image rows": inside, "image words": inside * form.windows.width.size * -(-inputs // 4),
            "padding words": outside * words, "ring words": height * words,
        }  # fmt: skip
        walk = "rows of 3" if inputs % 4 else walk
    elif walk == "windows":
        counts |= gathered(form, tiles, 4) | {"widened words": tiles * -(-form.rows.shape[1] // 4)}
    else:
        counts |= {"widened words": tiles * inputs}
    code = {"layer": 1, f"loop {end_of(folded)}": 1, "written steps": unrolled * (loops > 0) + rest}
    return Work(f"narrow_conv_2d_tiles_dsp.h {walk}", counts, code)


def tiles_v6m(form: WeightedSum, folded: FoldedRescale, walk: str, sizes: tuple, tiles: int, more: tuple) -> Work:
    """Of narrow_conv_2d_tiles_v6m.h.

    Args:
      form, folded: the layer.
      walk: "rows", "flat", "pixels" or "windows".
      sizes: rows of the kernel, loops, blocks of a loop, steps of a block and of the last one, pairs of channels.
      tiles: how many.
      more: words of a row with its padding; corrections of a tile.
    """
    height, loops, unrolled, block, rest, pairs = sizes
    words, corrections = more
    each = tiles * pairs
    counts = {
        "layer": 1, "tiles": tiles, f"pairs {end_of(folded)}": each,
        "steps": each * height * (loops * unrolled * block + rest),
        "blocks": each * height * (loops * unrolled + (rest > 0)), "loops": each * height * loops * (loops > 1),
        "kernel rows": each * height, "corrections": tiles * corrections,
    }  # fmt: skip
    taps = form.rows.shape[1]
    if walk in ("rows", "flat"):
        inside, outside = padding_rows(form)
        counts |= {
            "lines": form.image_shape[0] * form.windows.height.output,
            "tile rows": tiles * form.windows.height.kernel, "ring rows": inside + outside,
            "ring words": (inside + outside) * words, "copied words": tiles * taps * (walk == "flat"),
        }  # fmt: skip
    elif walk == "windows":
        counts |= gathered(form, tiles, 2) | {"paired words": tiles * taps}
    else:
        counts |= {"paired words": tiles * taps}
    blocks = unrolled * (loops > 0)
    code = {"layer": 1, f"loop {end_of(folded)}": 1, "written steps": blocks * block + rest}
    code |= {"written blocks": blocks + (rest > 0)}
    return Work(f"narrow_conv_2d_tiles_v6m.h {walk}", counts, code)


def dense(kernel: str, folded: FoldedRescale, vectors: int, depth: int, channels: int, at_once: int) -> Work:
    """Of a dense layer whose kernel takes so many channels at once.

    Args:
      kernel: the name of its file.
      folded: the layer's rescale.
      vectors, depth, channels: sizes.
      at_once: channels.
    """
    groups, depth4 = vectors * -(-channels // at_once), -(-depth // 4)
    sixteens, fours = divmod(depth4, 4)
    counts = {
        "layer": 1, "vectors": vectors, "inputs": vectors * depth, f"groups {end_of(folded)}": groups,
        "steps": groups * depth4,
        "sixteens": groups * sixteens, "fours": groups * fours, "no fours": groups * (fours == 0),
    }  # fmt: skip
    return Work(kernel, counts, {"layer": 1, f"file {end_of(folded)}": 1})


def planes(kernel: str, form: WeightedSum, folded: FoldedRescale, sizes, is_planar: bool, two_splits: int = 0) -> Work:
    """Of a depthwise layer that goes plane by plane.

    Args:
      kernel: the name of its header.
      form, folded: the layer.
      sizes: its `Planes`.
      is_planar: whether the input is kept channel by channel.
      two_splits: channels whose weights need more splits, on cores that have such.
    """
    each, (_, height, width, _) = form.image_shape[0] * form.channels, form.image_shape
    lines = each * form.windows.height.output
    fours, ones = divmod(sizes.output_width, 4)
    slow, end = form.image_shape[0] * two_splits * form.windows.height.output, end_of(folded)
    counts = {
        "layer": 1, "planes": each, f"lines {end}": lines, f"fours {end}": lines * fours, f"ones {end}": lines * ones,
        "any ones": lines * (ones > 0), "input rows": each * height, "input fours": each * height * (width // 4),
        "input ones": each * height * (width % 4), "filled": sizes.height * sizes.pitch,
        "slow fours": slow * fours, "slow ones": slow * (ones > 0),
    }  # fmt: skip
    code = {"layer": 1, f"loop {end}": 1, f"any fours {end}": float(fours > 0), f"written ones {end}": ones}
    return Work(f"{kernel} {'planar' if is_planar else 'pixels'} stride {sizes.stride}", counts, code)
