# SPDX-License-Identifier: Apache-2.0
"""Movements of data whose blocks are whole runs of channels at places: they can leave channels out."""

import dataclasses

import numpy as np

from tflm_export.program.move import Copy, Move, same
from tflm_export.program.passes.ranges import channels_of
from tflm_export.program.value import Value


@dataclasses.dataclass(frozen=True)
class Run:
    """A copy of a run of channels, at some places.

    Attributes:
      source: which of the inputs.
      sizes: of the block of places.
      read, read_strides, read_channel: the first place, how far it is to the next ones, and the first channel.
      written, written_strides, written_channel: the same of the output.
      channels: how many.
    """

    source: int
    sizes: tuple[int, ...]
    read: int
    read_strides: tuple[int, ...]
    read_channel: int
    written: int
    written_strides: tuple[int, ...]
    written_channel: int
    channels: int

    @property
    def read_channels(self) -> slice:
        """Of the input."""
        return slice(self.read_channel, self.read_channel + self.channels)

    @property
    def written_channels(self) -> slice:
        """Of the output."""
        return slice(self.written_channel, self.written_channel + self.channels)


def runs_of(form: Move) -> list[Run] | None:
    """The copies of a move as runs of channels, None where one of them is something else."""
    runs = [_run(copy, form.inputs[copy.source], form.output) for copy in form.copies if 0 not in copy.sizes]
    return None if None in runs else runs


def without_channels(form: Move, inputs: tuple[Value, ...], output: Value, kept: list[np.ndarray]) -> Move:
    """A move of some channels.

    Args:
      form: an identity, or of `runs_of`; each of its runs is kept in the output as it is in the input.
      inputs, output: of fewer channels.
      kept: which ones, of each input and then of the output; bool [channels].
    """
    if form.is_identity:
        return same(inputs[0], output)
    *read, written = (np.concatenate([[0], np.cumsum(marks)]) for marks in kept)  # kept channels before each
    copies = []
    for run in runs_of(form):
        width, depth = channels_of(inputs[run.source]), channels_of(output)
        before, behind = read[run.source][[run.read_channels.start, run.read_channels.stop]].tolist()
        first = int(written[run.written_channel])
        if behind > before:
            copies.append(
                Copy(
                    run.source,
                    (*run.sizes, behind - before),
                    run.read * width + before,
                    (*(stride * width for stride in run.read_strides), 1),
                    run.written * depth + first,
                    (*(stride * depth for stride in run.written_strides), 1),
                )
            )
    sources = sorted({copy.source for copy in copies})  # of the others nothing is left
    return dataclasses.replace(
        form,
        inputs=tuple(inputs[source] for source in sources),
        outputs=(output,),
        copies=tuple(dataclasses.replace(copy, source=sources.index(copy.source)) for copy in copies),
    )


def _run(copy: Copy, x: Value, y: Value) -> Run | None:
    width, depth = channels_of(x), channels_of(y)
    (read, read_channel), (written, written_channel) = (
        divmod(copy.input_offset, width),
        divmod(copy.output_offset, depth),
    )
    places, channels = [], 1
    for size, own, other in zip(copy.sizes, copy.input_strides, copy.output_strides, strict=True):
        if size == 1:
            continue
        if own % width == 0 and other % depth == 0 and (own, other) != (1, 1):
            places.append((size, own // width, other // depth))
        elif (own, other) == (1, 1) and channels == 1:
            channels = size
        else:
            return None
    if width == depth and channels > width and channels % width == 0 and read_channel == written_channel == 0:
        places.append((channels // width, 1, 1))  # whole places, one behind the other
        channels = width
    if read_channel + channels > width or written_channel + channels > depth:
        return None
    sizes, own, other = zip(*places, strict=True) if places else ((), (), ())
    return Run(copy.source, sizes, read, own, read_channel, written, other, written_channel, channels)
