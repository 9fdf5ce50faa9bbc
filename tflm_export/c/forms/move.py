# SPDX-License-Identifier: Apache-2.0
"""Any movement of data, as tables of blocks for one kernel."""

import collections
import itertools

import numpy as np

from tflm_export.c.literals import integer, integers
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.program.move import Copy, Move
from tflm_export.program.program import Step

MOST_AXES = 8  # of a block in kernels/narrow_move.c
_PLACE = 8  # bytes of a place
_SHORT = 4  # elements; calls of memcpy for less cost more than they bring

Axes = tuple[tuple[int, int, int], ...]  # (size, step in the input, step in the output), the innermost last
Places = list[tuple[int, int]]  # where copies begin in the input and in the output
Blocks = dict[tuple[int, Axes], Places]  # by source and axes


def move(step: Step[Move]) -> CStep:
    """A fill where there is one, then all blocks in one call.

    Raises:
      UnsupportedError: an input is of another type than the output, as in damaged files; it would be read beyond its
        end.
    """
    form = step.form
    others = [value.dtype.name.upper() for value in form.inputs if value.dtype != form.output.dtype]
    if others:
        raise UnsupportedError(f"it moves {others[0]} to {form.output.dtype.name.upper()}")
    size, statements, kernels = form.output.dtype.itemsize, [], []
    if form.fill is not None and form.output.size:
        statements.append(f"narrow_set({size}, {form.output.size}, {integer(form.fill)}, y);")
        kernels.append("narrow_set.c")
    found, constants = blocks(form.copies), {}
    if found:
        names = ", ".join(f"x{i}" for i in range(len(form.inputs)))
        rank = max(len(axes) for _, axes in found)
        statements.append(f"const void *const inputs[] = {{{names}}};")
        statements.append(f"narrow_move({integers(size, len(found), rank)}, blocks, places, inputs, y);")
        constants = {"blocks": _table(found, rank), "places": np.array([*itertools.chain(*found.values())], np.int32)}
        kernels.append("narrow_move.c")
    else:
        statements += [f"(void)x{i};" for i in range(len(form.inputs))] + ["(void)y;"]
    return CStep(step.origin, form.inputs, form.outputs, tuple(statements), constants, kernels=tuple(kernels))


def blocks(copies: tuple[Copy, ...]) -> Blocks:
    """The blocks of a movement and where their copies begin, in the smallest tables that are found.

    Copies of one block that stand at equal distances are one copy of a block with one more axis. Many blocks of few
    copies become fewer ones of more copies, which are what lies along their outermost axis.
    """
    found: Blocks = collections.defaultdict(list)
    for copy in copies:
        if 0 not in copy.sizes:
            axes = arranged(tuple(zip(copy.sizes, copy.input_strides, copy.output_strides, strict=True)))
            found[copy.source, axes].append((copy.input_offset, copy.output_offset))
    best = _limited(_progressions(found))
    while found:
        split: Blocks = collections.defaultdict(list)
        copied = sum(len(places) * axes[0][0] for (_, axes), places in found.items() if len(axes) > 1)
        if not 0 < _PLACE * copied < _bytes(best):
            break
        for (source, axes), places in found.items():
            axes, places = _split(axes, places) if len(axes) > 1 else (axes, places)
            split[source, axes] += places
        found, best = split, min(best, _limited(_progressions(split)), key=_bytes)
    return best


def _bytes(found: Blocks) -> int:
    """Of both tables."""
    rank = max((len(axes) for _, axes in found), default=0)
    return sum(4 * (2 + 3 * rank) + _PLACE * len(places) for places in found.values())


def arranged(axes: Axes) -> Axes:
    """Axes of a block in the order in which they are best gone through, as few as there can be."""
    kept: list[tuple[int, int, int]] = []
    for size, x, y in sorted((axis for axis in axes if axis[0] != 1), key=lambda axis: -abs(axis[2])):
        if kept and kept[-1][1:] == (x * size, y * size):
            kept[-1] = (kept[-1][0] * size, x, y)
        else:
            kept.append((size, x, y))
    if not kept:
        return ((1, 1, 1),)
    size, x, y = kept[-1]
    if (x, y) != (1, 1) or size < _SHORT:
        longest = max(range(len(kept)), key=lambda i: (kept[i][0], i))
        kept.append(kept.pop(longest))
    return tuple(kept)


def _progressions(found: Blocks) -> Blocks:
    """Blocks, those whose copies stand at equal distances as one copy with one more axis."""
    merged: Blocks = collections.defaultdict(list)
    for (source, axes), places in found.items():
        steps = {(c - a, d - b) for (a, b), (c, d) in itertools.pairwise(places)}
        if len(steps) == 1:
            axes, places = arranged(((len(places), *steps.pop()), *axes)), places[:1]
        merged[source, axes] += places
    return merged


def _limited(found: Blocks) -> Blocks:
    """Blocks of at most as many axes as the kernel has; what is beyond becomes copies."""
    limited: Blocks = collections.defaultdict(list)
    for (source, axes), places in found.items():
        while len(axes) > MOST_AXES:
            axes, places = _split(axes, places)
        limited[source, axes] += places
    return limited


def _split(axes: Axes, places: Places) -> tuple[Axes, Places]:
    """The outermost axis as copies."""
    (size, x, y), *rest = axes
    return tuple(rest), [(a + i * x, b + i * y) for a, b in places for i in range(size)]


def _table(found: Blocks, rank: int) -> np.ndarray:
    """int32 [blocks, 2 + 3 * rank]: source, copies, sizes, steps in the input, steps in the output."""
    rows = []
    for (source, axes), places in found.items():
        padded = ((1, 0, 0),) * (rank - len(axes)) + axes
        rows.append([source, len(places), *itertools.chain(*zip(*padded, strict=True))])
    return np.array(rows, np.int32)
