# SPDX-License-Identifier: Apache-2.0
"""A depthwise layer plane by plane: what the cores share (narrow_plane_walk.h).

An image may lie on its side in the plane: long rows take fewer cycles than many short ones, and so do 1 x k kernels.
"""

import abc
import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from tflm_export.c.epilogue import FoldedRescale
from tflm_export.c.initializer import initializer
from tflm_export.c.tiles import Layout
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis

_STRIP = 4096  # bytes of a plane that is not cut into strips, about
_SUM_BYTES = 4


@dataclasses.dataclass(frozen=True)
class PlaneWalk(abc.ABC):
    """How a layer goes plane by plane.

    Attributes:
      form: the layer; each of its outputs is of one input channel.
      given, made: where its inputs and outputs are.
      folded: its rescale, None where only the shape matters.
      transposed: whether the image lies on its side.
    """

    header: ClassVar[str]  # with the macro that makes its kernels
    kind: ClassVar[str]  # narrow_plane_kind
    element: ClassVar[int]  # bytes
    channel_cycles: ClassVar[float]  # of a channel of a strip, about
    row_cycles: ClassVar[float]  # of a row of a strip that is copied, about
    element_cycles: ClassVar[float]  # of an element of it

    form: WeightedSum
    given: Layout
    made: Layout
    folded: FoldedRescale | None
    transposed: bool

    @property
    @abc.abstractmethod
    def pitch(self) -> int:
        """Elements from row to row of the plane."""

    @property
    @abc.abstractmethod
    def loop(self) -> Any:
        """The kernel: it has row_cycles, the cycles of a row of outputs, about, and the words of a record."""

    @abc.abstractmethod
    def definitions(self) -> list[str]:
        """The lines of C that make the kernels."""

    @abc.abstractmethod
    def records(self, columns: np.ndarray) -> np.ndarray:
        """[channels, words]: what the walk reads for each channel, of weights [taps, channels]."""

    @abc.abstractmethod
    def layer(self, records: np.ndarray) -> str:
        """The narrow_plane_layer."""

    def constants(self) -> dict[str, np.ndarray]:
        """What the layer reads besides its records."""
        return {}

    @property
    def kernels(self) -> list[tuple[int, Any]]:
        """How many channels each of its kernels computes."""
        return [(self.form.channels, self.loop)]

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Windows along the rows and the columns of a plane."""
        windows = self.form.windows
        return (windows.width, windows.height) if self.transposed else (windows.height, windows.width)

    @property
    def end(self) -> str:
        """What the kernel ends with: "SHIFT", "MULTIPLY", "STOCK", or "SUM" where it leaves that to C."""
        return "SUM" if self.folded is None or not self.folded.in_assembly else self.folded.epilogue.value.upper()

    @property
    def output_steps(self) -> tuple[int, int]:
        """Bytes from row to row and from column to column of what the kernel writes."""
        if self.end == "SUM":
            return _SUM_BYTES * self.axes[1].output, _SUM_BYTES
        return self._steps(self.made, self.form.windows.width.output)

    @property
    def strip(self) -> int:
        """Rows of output that are computed before the next rows of input are copied."""
        rows, _ = self.axes
        fitting = _STRIP // (self.element * self.pitch) - reach(rows)
        strips = -(-rows.output // max(1, fitting // rows.stride + 1))
        return -(-rows.output // strips)

    @property
    def height(self) -> int:
        """Rows of a strip of the plane."""
        rows, _ = self.axes
        return rows.padded if self.strip == rows.output else (self.strip - 1) * rows.stride + reach(rows)

    @property
    def scratch(self) -> int:
        """Bytes of a strip, and of the sums that the caller ends."""
        sums = _SUM_BYTES * self.axes[1].output if self.end == "SUM" else 0
        return (self.element * self.height * self.pitch + 3 & ~3) + sums

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements of a row of the plane lie side by side in the image."""
        return self._steps(self.given, self.form.windows.width.size)[1] == 1

    @property
    def cycles(self) -> float:
        """Of the layer, about."""
        rows, columns = self.axes
        channels, inputs = self.form.channels, self.form.input_channels
        strips = -(-rows.output // self.strip)
        copied = strips * min(self.height, rows.size)
        computing = strips * (self.channel_cycles + self.loop.record) + rows.output * self.loop.row_cycles
        copying = copied * (self.row_cycles + self.element_cycles * columns.size)
        return self.form.image_shape[0] * (inputs * copying + channels * computing)

    @property
    def kernel(self) -> str:
        """Its name, with all that it is made for."""
        rows, columns = self.axes
        sizes = (
            rows.kernel, columns.kernel, rows.stride, columns.stride, rows.dilation, columns.dilation, self.pitch,
            columns.output, *self.output_steps,
        )  # fmt: skip
        return "_".join(["narrow_plane", self.end.lower(), *map(str, sizes)])

    def taps(self, columns: np.ndarray) -> np.ndarray:
        """Weights [taps, channels] as [rows of the kernel, columns, channels] of the plane."""
        windows = self.form.windows
        weights = columns.reshape(windows.height.kernel, windows.width.kernel, -1).astype(np.int8)
        return weights.swapaxes(0, 1) if self.transposed else weights

    def fields(self, has_shift: bool = True) -> np.ndarray:
        """[channels, words]: what a record begins with, with or without a word for the shift."""
        folded = self.folded
        found = [folded.start]
        found += [folded.shift] if has_shift and self.end != "SUM" else []
        found += [folded.multiplier, folded.fold] if self.end in ("MULTIPLY", "STOCK") else []
        return np.stack([field.astype(np.int32) for field in found], 1)

    def statement(self, records: np.ndarray, **own: object) -> str:
        """The narrow_plane_layer.

        Args:
          records: [channels, words].
          own: the fields of the core.
        """
        rows, columns = self.axes
        form, windows = self.form, self.form.windows
        row, column = self._steps(self.given, windows.width.size)
        output_row, output_column = self._steps(self.made, windows.width.output)
        fields = {
            "kernel": self.kernel, "second": 0, "wide": 0, "records": "records", "record": records.shape[1], "taps": 0,
            "lane": 0, "packed": 0, "line": 0,
            "images": form.image_shape[0], "channels": form.input_channels,
            "multiplier": form.channels // form.input_channels, "padding": form.input_zero_point,
            "rows": rows.size, "columns": columns.size, "row": row, "column": column, "channel": self.given.channel,
            "image": self.given.image, "height": self.height, "pitch": self.pitch, "top": rows.before,
            "left": columns.before, "stride": rows.stride, "strip": self.strip, "output_rows": rows.output,
            "output_columns": columns.output, "output_row": output_row, "output_column": output_column,
            "output_channel": self.made.channel, "output_image": self.made.image, "end": self.folded.sums_end,
            "rescale": 0 if self.folded.in_assembly else "&rescale",
        }  # fmt: skip
        return f"const narrow_plane_layer layer = {initializer(fields | own)};"

    def _steps(self, layout: Layout, width: int) -> tuple[int, int]:
        """Bytes from row to row and from column to column of the plane, in an image of this layout and width."""
        across = (layout.pixel * width, layout.pixel)
        return across[::-1] if self.transposed else across


def strip_kernel(macro: str, name: str, end: str, sizes: Iterable[int], assembly: Iterable[str]) -> str:
    """The lines of C that make a kernel of a name, from the macro's arguments and its instructions.

    Instructions are text; those that begin with NARROW_ are macros.
    """
    lines = (line if line.startswith("NARROW_") else f'"{line}\\n"' for line in assembly)
    head = f"{macro}({name}, {end}, {', '.join(map(str, sizes))},"
    return "\n".join([head, *(f"  {line}" for line in lines)]) + ")"


def reach(axis: Axis) -> int:
    """Elements from the first to the last tap of a window, both of them counted."""
    return (axis.kernel - 1) * axis.dilation + 1
