# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution plane by plane: what the cores with a kernel for it share (narrow_planes.h)."""

import dataclasses

from tflm_export.c.epilogue import FoldedRescale
from tflm_export.program.weighted_sum import WeightedSum

LARGEST_OFFSET = 4095  # of a load or an addition, bytes
LARGEST_PLANE = 65535  # bytes
_SUM_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Planes:
    """The sizes of a layer.

    Attributes:
      height, pitch: rows and columns of a plane with its padding.
      stride: in both directions.
      output_width: as it says.
      channels: as many of the output as of the input.
      folded: the layer's rescale, None where only the shape matters.
    """

    height: int
    pitch: int
    stride: int
    output_width: int
    channels: int
    folded: FoldedRescale | None

    @property
    def is_whole(self) -> bool:
        """Whether the plane kernel ends the layer itself, instead of leaving sums to the caller."""
        return self.folded.in_assembly

    def definition(self, macro: str, pitch: int, *more: int) -> tuple[str, str]:
        """The name of the plane kernel, and the line of C that makes it with this pitch and more of its own."""
        end = self.folded.epilogue.value if self.is_whole else "sum"
        pixel = self.channels if self.is_whole else _SUM_BYTES
        sizes = (pitch, self.stride, self.output_width // 4, self.output_width % 4, pixel, *more)
        name = "_".join(["narrow_plane", end, *map(str, sizes)])
        return name, f"{macro}({name}, {end.upper()}, {', '.join(map(str, sizes))})"

    @property
    def sums(self) -> int:
        """Bytes of scratch memory for sums that the caller ends."""
        return 0 if self.is_whole else _SUM_BYTES * self.output_width


def planes(form: WeightedSum, folded: FoldedRescale | None = None) -> Planes | None:
    """The sizes of a depthwise layer, None where it is not a 3x3 one that goes plane by plane."""
    height, width = form.windows.height, form.windows.width
    if form.input_channels != form.channels or any(a.kernel != 3 or a.dilation != 1 for a in (height, width)):
        return None
    if height.stride != width.stride or height.stride > 2 or 4 * form.channels > LARGEST_OFFSET:
        return None
    rows, pitch = height.padded, width.padded
    if 2 * pitch + 6 > LARGEST_OFFSET // 2:
        return None
    return Planes(rows, pitch, height.stride, width.output, form.channels, folded)
