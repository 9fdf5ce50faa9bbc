# SPDX-License-Identifier: Apache-2.0
"""What of a weighted sum is known beforehand: products of constant inputs, and outputs that are constant."""

import dataclasses

import numpy as np

from tflm_export.program.passes.ranges import Ranges, channels_of, padded_taps, settled_sums
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.rescale import Rescaler


class Folding:
    """A weighted sum with its constants in its bias.

    The products of a constant input channel are a constant where none of its weights ever stands on the border, which
    holds the zero point, or where it is the zero point itself. The sum of a channel whose output is constant is one
    that gives this output. No bound on a sum grows: of a raw input x and its weight w, `|w| |x|` at most goes to the
    start, and it is gone from the reach.

    Args:
      form: of which `fits` holds.
      ranges: of the values of its block.

    Attributes:
      weights: as those of the form, with zeros for what is known.
      bias: with what is known; int64 [channels].
      read: bool [channels, input's channels]: which input channels a channel reads.
    """

    def __init__(self, form: WeightedSum, ranges: Ranges):
        (x,) = form.inputs
        groups, channels, height, width, depth = form.weights.shape
        found = ranges.of(x)
        weights = form.weights.reshape(groups, channels, height * width, depth)
        border, _ = padded_taps(form.windows)
        times = form.input_channels // len(found)
        centred = np.tile(found.low - form.input_zero_point, times).reshape(groups, 1, depth)
        is_constant = np.tile(found.is_constant, times).reshape(groups, 1, depth)
        known = is_constant & ((centred == 0) | ~weights[:, :, border.reshape(-1)].any(2))  # [groups, channels, depth]
        added = (np.where(known, centred, 0) * weights.sum(2, dtype=np.int64)).sum(2).reshape(-1)
        is_settled, sums = settled_sums(form, found)
        left = ~known & ~is_settled.reshape(groups, channels, 1)
        self.weights = np.where(left[:, :, None], weights, 0).astype(form.weights.dtype).reshape(form.weights.shape)
        self.bias = np.where(is_settled, sums, form.bias + added)
        used = self.weights.reshape(groups, channels, height * width, depth).any(2).reshape(form.channels, -1)
        self.read = used.reshape(form.channels, -1, len(found)).any(1) if groups == 1 else used

    @staticmethod
    def fits(form: WeightedSum) -> bool:
        """Whether channels of the form are those of its values."""
        (x,), y = form.inputs, form.output
        inputs, channels = channels_of(x), channels_of(y)
        if len(form.weights) > 1 and (not form.is_depthwise or inputs != form.input_channels):
            return False
        is_whole = y.size == form.image_shape[0] * form.windows.outputs * form.channels
        return bool(y.size and x.dtype.kind in "iu" and is_whole and channels == form.channels) and (
            not x.is_variable and form.input_channels % inputs == 0
        )


def without_channels(
    form: WeightedSum, folding: Folding, x: Value, y: Value, read: np.ndarray, written: np.ndarray
) -> WeightedSum:
    """A weighted sum of some channels, with its constants in its bias.

    Args:
      form: the sum of all channels.
      folding: of it.
      x, y: input and output of fewer channels.
      read, written: which ones; bool [channels]. What `folding` reads is among them, and groups are whole.
    """
    if form.is_depthwise:
        weights = folding.weights[written.reshape(len(form.weights), -1).any(1)]
    else:
        inputs = np.tile(read, form.input_channels // len(read))
        weights = folding.weights[:, written][..., inputs]
    return dataclasses.replace(
        form,
        inputs=(x,),
        outputs=(y,),
        weights=np.ascontiguousarray(weights),
        bias=folding.bias[written],
        rescale=_of_channels(form.rescale, written),
    )


def _of_channels(rescale: Rescaler, kept: np.ndarray) -> Rescaler:
    """A rescale of some channels; one that is the same for all of them stays."""
    arrays = {field.name: getattr(rescale, field.name) for field in dataclasses.fields(rescale)}
    own = {name: values[kept] for name, values in arrays.items() if np.shape(values) == kept.shape and len(kept) > 1}
    return dataclasses.replace(rescale, **own)
