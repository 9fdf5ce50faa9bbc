# SPDX-License-Identifier: Apache-2.0
"""Weights in the order that SXTB16 and SMLAD want them, two channels in a word (narrow_conv_2d_tiles_dsp.h)."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tflm_export.c.epilogue import FoldedRescale
from tflm_export.c.tiles import pairs_of

_WITHIN = 1 << 23  # of a sum that 32 bits hold 256 times


def in_fours(rows: np.ndarray) -> np.ndarray:
    """Weights [channels, depth] in the order in which SXTB16 unpacks bytes, depth4 = depth up to a multiple of 4.

    Returns:
      int8 [channels, depth4 / 2, 2]: k, k' = 0, 2 and then 1, 3 of every four.
    """
    channels, depth = rows.shape
    fours = np.pad(rows, ((0, 0), (0, -depth % 4))).reshape(channels, -1, 2, 2)  # k = 2 * second + odd
    return fours.transpose(0, 1, 3, 2).reshape(channels, -1, 2)


def in_order(rows: np.ndarray) -> np.ndarray:
    """Weights [channels, depth] as they are, int8 [channels, depth2 / 2, 2]."""
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(rows), -1, 2)


def each(steps: np.ndarray) -> np.ndarray:
    """Words [pairs, n] of (A k, B k, A k', B k'), lowest byte first, from int8 [channels, n, 2]."""
    paired = steps[pairs_of(len(steps))].astype(np.int8)  # [pairs, A or B, n, k or k']
    return np.ascontiguousarray(paired.transpose(0, 2, 3, 1)).reshape(len(paired), -1).view("<i4")


def lanes(steps: np.ndarray) -> np.ndarray:
    """Words [pairs, n] of two int16, 256 * B + A for k and for k', from int8 [channels, n, 2]: see lanes_hold."""
    a, b = steps[pairs_of(len(steps))].astype(np.int64).transpose(1, 0, 2, 3)
    halves = (256 * b + a).astype("<i2")
    return np.ascontiguousarray(halves).reshape(len(halves), -1).view("<i4")


def lanes_hold(rows: np.ndarray, start: np.ndarray) -> bool:
    """Whether the second channel of every pair can be computed with the first one in the lower byte of its weights.

    With SA, SB the sums of both channels with their starts, the kernel has SA and P = SA + 256 SB modulo 2^32. P - SA
    is 256 SB modulo 2^32, and as an int32 it is 256 SB if -2^23 <= SB < 2^23; additions wrap, so no sum on the way
    matters. |SB| <= |start| + 128 * sum |w|: for weights of 127 up to 516 inputs hold, for those of trained layers
    some thousands. 256 B + A has to be an int16, which it is unless B is -128 and A is negative.

    Args:
      rows: weights [channels, inputs].
      start: [channels].
    """
    a, b = rows[pairs_of(len(rows))].astype(np.int64).transpose(1, 0, 2)
    starts = start[pairs_of(len(rows))[:, 1]].astype(np.int64)
    reach = np.abs(starts) + 128 * np.abs(b).sum(1)
    return bool((reach < _WITHIN).all() and not ((b == -128) & (a < 0)).any())


def together(starts: np.ndarray) -> np.ndarray:
    """Where sums of pairs of channels in lanes begin, from where the channels do; int32 [..., 2]."""
    a, b = np.moveaxis(starts.astype(np.int64), -1, 0)
    return np.stack([a, a + 256 * b], -1).astype(np.int32)  # which wraps, as the sums do


@dataclasses.dataclass(frozen=True, eq=False)
class FoursOfChannels:
    """The weights of a dense layer that takes four channels at once.

    Attributes:
      kernel: which reads them, without its core.
      words: [fours of channels, runs, pairs, words of a run].
      folded: the rescale with its starts, of channels up to a multiple of 4.
    """

    kernel: str
    words: np.ndarray
    folded: FoldedRescale


def fours_of_channels(rows: np.ndarray, folded: FoldedRescale, order: Callable, run: int) -> FoursOfChannels:
    """The weights [channels, depth] of a dense layer, in fours of both.

    Args:
      rows, folded: the layer.
      order: of inputs, in_fours or in_order.
      run: words of one pair before those of the other one.
    """
    padded = np.pad(rows, ((0, -len(rows) % 4), (0, -rows.shape[1] % 4)))
    folded = folded.padded(len(padded))
    in_lanes, steps = lanes_hold(padded, folded.start), order(padded)
    words = (lanes if in_lanes else each)(steps).reshape(len(padded) // 4, 2, -1, run).transpose(0, 2, 1, 3)
    kernel = "narrow_fully_connected_lanes" if in_lanes else "narrow_fully_connected"
    if in_lanes:
        folded = dataclasses.replace(folded, start=together(folded.start.reshape(-1, 2)).reshape(-1))
    return FoursOfChannels(kernel, np.ascontiguousarray(words), folded)
