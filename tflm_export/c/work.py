# SPDX-License-Identifier: Apache-2.0
"""How often the parts of each kernel run for a layer: counts of its loops, which follow from the layer's sizes."""

import numpy as np

from tflm_export.c.cost import Work
from tflm_export.c.dsp_tiling import Tiling
from tflm_export.c.epilogue import Epilogue, FoldedRescale
from tflm_export.c.plane_walk import PlaneWalk
from tflm_export.c.v6m_tiling import PairTiling
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis


def end_of(folded: FoldedRescale) -> str:
    """How a layer's kernels end, with stock rescales that take 64 bits apart."""
    return (
        f"{folded.epilogue.value} sums"
        if folded.epilogue is Epilogue.STOCK and folded.fold is None
        else (folded.epilogue.value)
    )


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


def tiles_dsp(form: WeightedSum, folded: FoldedRescale, tiling: Tiling, sizes: tuple[int, int, int]) -> Work:
    """Of narrow_conv_2d_tiles_dsp.h.

    Args:
      form, folded: the layer.
      tiling: the way in which it goes tile by tile.
      sizes: loops, steps of a loop, and behind it.
    """
    (loops, unrolled, rest), height, end = sizes, tiling.height, end_of(folded)
    pairs, tiles = -(-form.channels // 2), sum(tiling.count.values())
    pixels = sum(count * number for count, number in tiling.count.items())
    # Ends in C are written out for the tiles' sizes.
    sizes_in_c = "" if folded.in_assembly else " of " + " and ".join(str(n) for n, many in tiling.count.items() if many)
    counts = {
        "layer": 1, "tiles": tiles, f"pairs {end}": tiles * pairs, f"ends {end}{sizes_in_c}": pixels * pairs,
        "loop starts": tiles * pairs * height * (loops > 1), "kernel rows": tiles * pairs * height * (height > 1),
    }  # fmt: skip
    code = {"layer": 1, f"loop {end}": len([n for n in tiling.count.values() if n])}
    for width, number in tiling.count.items():
        each = number * pairs * height
        counts |= {f"steps {width}": each * tiling.words, f"loops {width}": each * loops * (loops > 1)}
        if number:
            code |= {f"ends {end}": code.get(f"ends {end}", 0) + width, f"written steps {width}": unrolled + rest}
    inputs, walk = form.input_channels, tiling.walk
    if walk == "windows":
        counts |= gathered(form, pixels, 1) | {"widened words": pixels * -(-form.rows.shape[1] // 4)}
    elif walk == "pixels":
        counts |= {"widened words": pixels * inputs // 4}
    else:
        inside, outside = padding_rows(form)
        order, length = tiling.arguments[:2]
        kernel_rows = form.windows.height.kernel
        counts |= {
            "lines": form.image_shape[0] * form.windows.height.output,
            "tile rows": tiles * height * (walk == "rows"), "image rows": inside,
            f"image words {order}": inside * -(-form.windows.width.size * inputs // 4),
            "padding words": outside * length, "ring words": kernel_rows * length,
            "copied rows": pixels * kernel_rows * (walk == "columns"),
            "copied words": pixels * tiling.words * (walk == "columns"),
        }  # fmt: skip
    return Work(f"narrow_conv_2d_tiles_dsp.h {walk}", counts, code)


def tiles_v6m(form: WeightedSum, folded: FoldedRescale, tiling: PairTiling, sizes: tuple, corrections: int) -> Work:
    """Of narrow_conv_2d_tiles_v6m.h.

    Args:
      form, folded: the layer.
      tiling: the way in which it goes tile by tile.
      sizes: rows of the kernel, loops, blocks of a loop, steps of a block and of the last one, pairs of channels.
      corrections: of a tile.
    """
    (height, loops, unrolled, block, rest, pairs), walk, tiles = sizes, tiling.walk, tiling.tiles
    each = tiles * pairs
    counts = {
        "layer": 1, "tiles": tiles, f"pairs {end_of(folded)}": each,
        "steps": each * height * (loops * unrolled * block + rest),
        "blocks": each * height * (loops * unrolled + (rest > 0)), "loops": each * height * loops * (loops > 1),
        "kernel rows": each * height, "corrections": tiles * corrections,
    }  # fmt: skip
    taps = form.rows.shape[1]
    if walk in ("rows", "flat", "columns"):
        (inside, outside), pixels = padding_rows(form), form.image_shape[0] * form.windows.outputs
        kernel = form.windows.height.kernel
        counts |= {
            "lines": form.image_shape[0] * form.windows.height.output,
            "tile rows": tiles * kernel * (walk != "columns"), "ring rows": inside + outside,
            "ring words": (inside + outside) * tiling.ring, "copied words": tiles * taps * (walk == "flat"),
            "put rows": pixels * kernel * (walk == "columns"), "put words": pixels * taps * (walk == "columns"),
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
        "padded vectors": vectors * (depth % 4 > 0), "padded inputs": vectors * depth * (depth % 4 > 0),
        "last groups": vectors * (channels % at_once > 0),
    }  # fmt: skip
    return Work(kernel, counts, {"layer": 1, f"file {end_of(folded)}": 1})


def plane_walk(sizes: PlaneWalk) -> Work:
    """Of a depthwise layer that goes plane by plane."""
    form, (rows, columns) = sizes.form, sizes.axes
    images, strips = form.image_shape[0], -(-rows.output // sizes.strip)
    each = images * strips
    copied = each * form.input_channels * min(sizes.height, rows.size)
    spent = sum(channels * loop.row_cycles for channels, loop in sizes.kernels) * images * rows.output
    end = end_of(sizes.folded)
    counts = {
        "layer": 1, f"channels {end}": each * form.channels, "planes": each * form.input_channels,
        "record words": each * form.channels * sizes.loop.record, f"loop cycles {end}": spent,
        f"outputs {end}": images * form.windows.outputs * form.channels * (sizes.end == "SUM"),
        "copied rows": copied, "copied fours": copied * (columns.size // 4), "copied ones": copied * (columns.size % 4),
        "padding": each * sizes.height * sizes.pitch,
    }  # fmt: skip
    order = "side by side" if sizes.is_contiguous else "apart"
    code = {
        "layer": 1,
        "loops": len(sizes.kernels),
        "instructions": sum(len(loop.assembly()) for _, loop in sizes.kernels),
    }
    return Work(f"{sizes.header} {order}", counts, code)
