"""Depthwise convolution plane by plane: what the cores with a kernel for it share (narrow_planes.h)."""

import dataclasses
import math

from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.kernels.folding import Folded
from tflm_export.kernels.portable import Portable, rescale_statement, window_statement
from tflm_export.kernels.step import Step, UnsupportedError
from tflm_export.kernels.tiles import Layout, Tiles
from tflm_export.ops.windows import Axis, Windows

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
    folded: Folded | None

    @property
    def is_whole(self) -> bool:
        """Whether the plane kernel ends the layer itself, instead of leaving sums to the caller."""
        return self.folded.in_assembly

    def definition(self, macro: str, pitch: int, *more: int) -> tuple[str, str]:
        """The name of the plane kernel, and the line of C that makes it with this pitch and more of its own."""
        end = self.folded.end.value if self.is_whole else "sum"
        pixel = self.channels if self.is_whole else _SUM_BYTES
        sizes = (pitch, self.stride, self.output_width // 4, self.output_width % 4, pixel, *more)
        name = "_".join(["narrow_plane", end, *map(str, sizes)])
        return name, f"{macro}({name}, {end.upper()}, {', '.join(map(str, sizes))})"

    @property
    def end_argument(self) -> str:
        """What the layer calls for sums."""
        return "0" if self.is_whole else f"narrow_end_{self.folded.end.value}"

    @property
    def sums(self) -> int:
        """Bytes of scratch memory for sums that the caller ends."""
        return 0 if self.is_whole else _SUM_BYTES * self.output_width


class PlanarPortable(Portable):
    """Base of cores whose convolutions go tile by tile and can write planes for the depthwise layers behind them."""

    def tiling(self, operator: Operator):
        """How a CONV_2D goes tile by tile, None where it does not."""
        raise NotImplementedError

    def _tiles(self, operator, folded: Folded, rows, view: Windows, activation) -> Step | None:
        """A CONV_2D tile by tile, None where its shape does not allow it."""
        raise NotImplementedError

    def _depthwise(self, operator, folded: Folded, columns, view: Windows, activation, patch: int) -> Step | None:
        """A DEPTHWISE_CONV_2D with a kernel of the core, None where it has none."""
        raise NotImplementedError

    def _packed(self, operator, folded: Folded, weights, rows: int, activation) -> Step | None:
        """A dense layer with a kernel of the core, None where it has none."""
        raise NotImplementedError

    def _windowed(self, operator, folded, weights, view, activation, patch):
        if operator.name == "CONV_2D":
            step = self._tiles(operator, folded, weights, view, activation)
        else:
            step = self._depthwise(operator, folded, weights, view, activation, patch)
        return step or super()._windowed(operator, folded, weights, view, activation, patch)

    def _dense(self, operator, folded, weights, rows, activation):
        step = None
        if operator.name == "CONV_2D":
            step = self._tiles(operator, folded, weights, self.view(operator), activation)
        step = step or self._packed(operator, folded, weights, rows, activation)
        return step or super()._dense(operator, folded, weights, rows, activation)

    def tile_step(self, operator, view: Windows, activation, tiles: Tiles, name, sizes, weights, call, scratch) -> Step:
        """A CONV_2D whose tile kernel the macro NAME of the header of that name makes.

        Args:
          operator, view, activation: the layer.
          tiles: its end.
          name: of the macro, in lower case.
          sizes: its arguments before pixel and channel.
          weights: as the kernel reads them.
          call: the statement that walks over the tiles.
          scratch: bytes that it needs, without sums.
        """
        x, y = operator.inputs[0], operator.outputs[0]
        folded, layout = tiles.folded, tiles.layout
        places = (layout.pixel, layout.channel) if tiles.is_whole else (0, 0)
        kernel, definition = tiles.definition(name.upper(), *sizes, *places)
        constants = {"weights": weights, "records": tiles.records()} | ({} if tiles.is_whole else folded.constants())
        rescaling = () if tiles.is_whole else (rescale_statement(folded),)
        statements = (window_statement(view, x, y), *rescaling, tiles.statement(kernel), call)
        return self.with_activation(
            operator, (x,), statements, constants, activation, scratch + tiles.sums, f"{name}.h", folded, [definition]
        )

    def gives_planes(self, operator):
        y = operator.outputs[0]
        if operator.name != "CONV_2D" or self._problem(operator) or math.prod(y.shape[1:3]) > LARGEST_PLANE:
            return False
        return self.tiling(operator) is not None

    def takes_planes(self, operator):
        if operator.name != "DEPTHWISE_CONV_2D" or self._problem(operator):
            return False
        return planes(operator, self.depthwise_view(operator)) is not None

    def _problem(self, operator) -> bool:
        """Whether the operator cannot be lowered at all."""
        try:
            Portable(self.bits, self.rounding).lower(operator)
        except UnsupportedError:
            return True
        return False

    def layout(self, tensor: Tensor) -> Layout:
        """Where the elements of an image are."""
        _, height, width, channels = tensor.shape
        steps = (1, height * width) if tensor.key in self.planar else (channels, 1)
        return Layout(*steps, height * width * channels)


def planes(operator: Operator, view: Windows, folded: Folded | None = None) -> Planes | None:
    """The sizes of a depthwise layer, None where it is not a 3x3 one that goes plane by plane."""
    x, y = operator.inputs[0], operator.outputs[0]
    axes = (view.height, view.width)
    if x.shape[3] != y.shape[3] or any(a.kernel != 3 or a.dilation != 1 for a in axes):
        return None
    if view.height.stride != view.width.stride or view.height.stride > 2 or 4 * y.shape[3] > LARGEST_OFFSET:
        return None
    height, pitch = _padded(view.height), _padded(view.width)
    if 2 * pitch + 6 > LARGEST_OFFSET // 2:
        return None
    return Planes(height, pitch, view.height.stride, view.width.output, y.shape[3], folded)


def _padded(axis: Axis) -> int:
    return max(axis.before + axis.size, (axis.output - 1) * axis.stride + axis.kernel)
