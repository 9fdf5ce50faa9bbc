# SPDX-License-Identifier: Apache-2.0
"""Cortex-M0+ and other ARMv6-M cores: two pixels in one product, weights as words of two channels."""

import functools

import numpy as np

from tflm_export.c import work
from tflm_export.c.dsp_weights import fours_of_channels, in_order
from tflm_export.c.int16_tiles import int16_tiles, is_int16_by_int8, v6m_tiling
from tflm_export.c.pair_planes import PairPlanes, pair_planes
from tflm_export.c.portable import pixels_of, rescale_statement
from tflm_export.c.step import CStep
from tflm_export.c.tiled import Tiled
from tflm_export.c.tiles import Tiles, pairs_of
from tflm_export.c.v6m_tiling import PIXELS, PairTiling, tilings

_LANE = 255  # sum of |w| whose products with int8 share a 16-bit lane
_TILES = "narrow_conv_2d_tiles_v6m"
_BLOCKS = (8, 7, 6, 5, 4, 3, 2, 1)  # steps of two inputs between splits
_STEP_CYCLES, _SPLIT_CYCLES, _CORRECTION_CYCLES = 19, 8, 24
_UNROLLED = 16  # steps of a loop, about


class CortexM0Plus(Tiled):
    """Two outputs in one product where shapes allow; everything else as on any core."""

    def planes(self, form, folded=None) -> PairPlanes | None:
        return pair_planes(form, self.layout(form.inputs[0], form), self.layout(form.output, form), folded)

    def of_int16(self, step) -> CStep | None:
        tiling = v6m_tiling(step.form) if is_int16_by_int8(step.form) else None
        return None if tiling is None else int16_tiles(step, tiling)

    def columns(self, step, folded, columns) -> list[CStep]:
        way = self.plane_by_plane(step, folded, columns)
        return [] if way is None else [way]

    def tilings(self, form) -> list[PairTiling]:
        return tilings(form)

    def tiles(self, step, folded, rows) -> list[CStep]:
        packed = functools.cache(lambda count: blocked(rows.reshape(len(rows), count, -1)))
        return [self.tiled(step, folded, tiling, *packed(tiling.rows)) for tiling in tilings(step.form)]

    def tiled(self, step, folded, tiling: PairTiling, block: int, words: list[np.ndarray]) -> CStep:
        """In tiles of two pixels and two channels, in one of the ways to do so.

        Args:
          step, folded, tiling: the layer, its rescale and the way.
          block, words: as `blocked` gives them.
        """
        form = step.form
        tiles = Tiles(folded, self.layout(form.output, form), PIXELS)
        steps = -(-form.rows.shape[1] // tiling.rows // 2)
        loops, unrolled = _loops(steps // block, block)
        sizes = (tiling.rows, loops, unrolled, block, steps - loops * unrolled * block)
        kernel, definition = tiles.definition(_TILES.upper(), *sizes)
        corrections = sum(map(len, words)) - (steps + 1) * tiling.rows * tiles.pairs
        done = work.tiles_v6m(form, folded, tiling, (*sizes, tiles.pairs), corrections)
        stream, layer = tiles.stream(words, folded.start[pairs_of(tiles.channels)]), tiles.statement(kernel)
        walk, *own = tiling.call
        arguments = ", ".join(map(str, ("&window", "&layer", *own, tiles.layout.image, "x0", "y", "scratch")))
        call = f"narrow_conv_2d_{walk}_v6m({arguments});"
        return self.tile_step(step, tiles, f"{_TILES}.h", layer, [definition], stream, call, tiling.scratch, done)

    def packed(self, step, folded, rows) -> CStep | None:
        channels, depth = rows.shape
        weights = fours_of_channels(rows, folded, in_order, 1)
        kernel, vectors = f"{weights.kernel}_v6m", pixels_of(step.form)
        call = f"{kernel}_{folded.epilogue.value}({vectors}, {depth}, {channels}, &rescale, weights, x0, y, scratch);"
        constants = {"weights": weights.words} | weights.folded.constants()
        statements, scratch = (rescale_statement(folded), call), 4 * (depth + -depth % 4)
        done = work.dense(f"{kernel}.c", folded, vectors, depth, channels, 4)
        return self.clamped(step, statements, constants, scratch, f"{kernel}.c", folded, work=done)


def _loops(blocks: int, block: int) -> tuple[int, int]:
    """How often a loop runs, and how many blocks are written out in it, so that it has few steps and no rest."""
    unrolled = max((n for n in range(1, blocks + 1) if blocks % n == 0 and n * block <= _UNROLLED), default=0)
    return (blocks // unrolled, unrolled) if unrolled else (1, 0)


def blocked(rows: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """Weights [channels, kernel rows, inputs] for the tile kernel: steps of a block, and the words of each pair.

    The larger a block, the fewer splits, and the more weights do not fit it; the fastest size is taken.
    """
    steps = -(-rows.shape[2] // 2)
    choices = []
    for block in _BLOCKS:
        if block <= max(steps, 1):
            fitting, missing = shrink(rows, 2 * block)
            corrected = _paired(missing).any(3)
            splits = -(-steps // block) * rows.shape[1] * len(corrected)
            cycles = _SPLIT_CYCLES * splits + _CORRECTION_CYCLES * int(corrected.sum())
            choices.append((cycles, block, fitting, missing))
    _, block, fitting, missing = min(choices, key=lambda choice: choice[:2])
    return block, _words(fitting, missing)


def shrink(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits weights in two, so that the |w| of every `size` in a row of the first part sum up to 255 at most.

    The largest weights of a block are made smaller first, so that few of them are.

    Args:
      rows: int8 [channels, kernel rows, inputs].
      size: of a block.

    Returns:
      Two arrays of the same shape that add up to it, the second one nearly all zeros; int64.
    """
    wide = rows.astype(np.int64)
    inputs = wide.shape[-1]
    blocks = np.pad(wide, [(0, 0)] * (wide.ndim - 1) + [(0, -inputs % size)]).reshape(*wide.shape[:-1], -1, size)
    magnitude = np.abs(blocks)
    order = np.argsort(-magnitude, -1, kind="stable")
    sorted_ = np.take_along_axis(magnitude, order, -1)
    excess = np.maximum(magnitude.sum(-1, keepdims=True) - _LANE, 0)
    taken = np.clip(excess - (np.cumsum(sorted_, -1) - sorted_), 0, sorted_)
    missing = np.zeros_like(blocks)
    np.put_along_axis(missing, order, taken, -1)
    missing = (missing * np.sign(blocks)).reshape(*wide.shape[:-1], -1)[..., :inputs]
    return wide - missing, missing


def _paired(rows: np.ndarray) -> np.ndarray:
    """[channels, kernel rows, inputs] as [pairs, kernel rows, inputs, A or B]."""
    return rows[pairs_of(len(rows))].transpose(0, 2, 3, 1)


def _words(fitting: np.ndarray, missing: np.ndarray) -> list[np.ndarray]:
    """Of each pair, for each row the weights, the number of corrections and the corrections."""
    inputs = fitting.shape[2]
    even = inputs + inputs % 2
    weights = np.pad(_paired(fitting), ((0, 0), (0, 0), (0, even - inputs), (0, 0))).astype(np.int8)
    steps = np.ascontiguousarray(weights).reshape(*weights.shape[:2], -1).view("<i4")
    words: list[list[np.ndarray]] = [[] for _ in steps]
    missing = _paired(missing)
    for pair, row in np.ndindex(*steps.shape[:2]):
        (where,) = missing[pair, row].any(1).nonzero()
        a, b = (missing[pair, row, where, c] & 0xFF for c in (0, 1))
        corrections = 4 * (even - where) | a << 16 | b << 24
        words[pair] += [steps[pair, row], [len(where)], corrections.astype(np.uint32).view(np.int32)]
    return [np.concatenate(parts).astype(np.int32) for parts in words]
