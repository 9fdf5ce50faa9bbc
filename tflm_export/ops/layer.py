# SPDX-License-Identifier: Apache-2.0
"""One rescale by constant weights: factor `Sx * Sw[c] / Sy`, landed on the grid by the weight scales.

`requantize` rounds the factor up, writes the larger weight scale that makes it so and re-rounds weights and bias to it.
`keep` rounds the factor to nearest and writes a scale that says so; weights and bias keep their bytes. With data it
takes the factor and the bias that were chosen for the layer (`kept`); weights keep their bytes.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator

import numpy as np

from tflm_export import rescale, rounding, solver
from tflm_export.flatbuffer.model import Tensor
from tflm_export.flatbuffer.writer import Edits
from tflm_export.graph import Graph
from tflm_export.grid import Grid
from tflm_export.ops.base import SMALLEST_SCALE, Plan
from tflm_export.ops.constants import rounded_bias
from tflm_export.ops.reference import Reference
from tflm_export.ops.statistics import Statistics
from tflm_export.reason import Reason
from tflm_export.setting import KEEP

SHARED = "is shared with another operator or tensor"
_BLOCK = 1 << 14  # weights that are rounded at a time: keeps temporary memory small beside the file


@dataclasses.dataclass(frozen=True)
class Layer:
    """Weights, what they are multiplied with, and what their sums are rescaled to.

    Attributes:
      x: the input.
      w: the weights.
      bias: added to the sums; None where there is none.
      output: the solver's key of the scale that the sums are rescaled to.
      output_scale: that scale in the stock file.
      weight_types: the types of weights that the kernels take.
      bias_type: the type of biases that the kernels take.
      weight_rank: dimensions of the weight tensor.
      channel_axis: which of them are the output channels.
      summed_channels: how many consecutive channels go into one sum.
      float32_product: whether the runtimes multiply Sx and a per-tensor Sw in float32.
    """

    x: Tensor
    w: Tensor
    bias: Tensor | None
    output: Hashable
    output_scale: float
    weight_types: tuple[str, ...] = ("INT8",)
    bias_type: str = "INT32"
    weight_rank: int = 2
    channel_axis: int = 0
    summed_channels: int = 1
    float32_product: bool = False

    @property
    def node(self) -> solver.Weighted:
        """Its factor as a solver node."""
        scale = self.w.quantization.scale.values
        per_tensor = float(scale[0]) if scale.size == 1 and scale[0] > 0 else None
        return solver.Weighted(self.x.key, self.output, per_tensor)

    def problem(self, graph: Graph) -> Reason | str:
        """Why its weights and bias cannot be requantised, empty if they can."""
        obstacle = self._weight_obstacle(graph)
        if obstacle:
            return Reason.about(f"weight {self.w.label}", obstacle)
        obstacle = "" if self.bias is None else self._bias_obstacle(graph)
        return obstacle and Reason.about(f"bias {self.bias.label}", obstacle)

    def _weight_obstacle(self, graph: Graph) -> str:
        w = self.w
        if w.type not in self.weight_types or w.quantization is None:
            found = f"{w.type} beside {self.x.type}" if w.type == "INT4" else w.type
            without = "" if w.quantization is not None else " without scales"
            return f"is {found}{without}; {' or '.join(self.weight_types)} with scales is needed"
        if w.data is None:
            return "is computed at run time; a constant is needed"
        if len(w.shape) != self.weight_rank or not w.data.size:
            return f"has shape {list(w.shape)}; {self.weight_rank} dimensions are needed, none of them 0"
        channels = w.quantization.scale.values.size
        if w.type == "UINT8":
            if channels > 1 or not 0 <= w.zero_point <= 255:
                return f"has {channels} scales and zero point {w.zero_point}; 1 and 0 to 255 are needed"
        elif w.quantization.zero_point.any():
            return "has a zero point other than 0"
        if channels not in (1, w.shape[self.channel_axis]):
            return f"has {channels} scales for {w.shape[self.channel_axis]} output channels"
        if channels > 1 and w.quantization.dimension != self.channel_axis:
            return f"is quantised along dimension {w.quantization.dimension}; {self.channel_axis} is needed"
        if w.quantization.scale.values.max() > 1 / SMALLEST_SCALE:
            return f"has scale {w.quantization.scale.values.max():g}, over {1 / SMALLEST_SCALE:g}"
        return "" if graph.owns(w) else SHARED

    def _bias_obstacle(self, graph: Graph) -> str:
        bias, channels = self.bias, self.w.quantization.scale.values.size
        if bias.type != self.bias_type or bias.data is None:
            run_time = "" if bias.is_constant else " computed at run time"
            return f"is {bias.type}{run_time}; {self.bias_type} is needed"
        sums = self.w.shape[self.channel_axis] // self.summed_channels
        if bias.data.size != sums:
            return f"has {bias.data.size} elements for {sums} output channels"
        if bias.quantization is not None and bias.quantization.scale.values.size != channels:
            return f"has {bias.quantization.scale.values.size} scales, its weights have {channels}"
        return "" if graph.owns(bias) else SHARED

    @property
    def factors(self) -> np.ndarray:
        """The real factors of the file; float64 [1] or [channels]."""
        return self._factors(self.x.scale, self.w.quantization.scale.values, self.output_scale)

    def _factors(self, input_scale, weight_scale, output_scale) -> np.ndarray:
        product_first = self.float32_product and weight_scale.size == 1
        # The runtimes flush the smallest factors to 0; such a rescale has no multiplier to narrow.
        return rescale.flush(rescale.effective_scale(input_scale, weight_scale, output_scale, product_first))

    def edit(self, plan: Plan, edits: Edits, measure: Callable[[], Statistics | None] | None = None) -> None:
        """Writes the scales of weights and bias that put the factors on the grid, and the integers that follow.

        Args:
          plan: the solved scales.
          edits: takes the changes.
          measure: gives the moments of what the weights are multiplied with; None, or None from it, without data.
        """
        w, bias = self.w, self.bias
        measure = None if measure is None else functools.cache(measure)
        input_scale, output_scale = plan.scales[self.x.key], plan.scales[self.output]
        old = w.quantization.scale.values
        factor = self._factors(input_scale, old, output_scale)
        reference = plan.references.get(w.key) if plan.method != KEEP else None
        if plan.method == KEEP:
            target = self._kept_target(plan, factor)
            settled = np.isclose(target, factor, rtol=rescale.FLOAT32_TOLERANCE, atol=0)
        else:
            settled = plan.grid.contains(factor)
            target = plan.grid.snap(factor, "up")
            if reference is not None:
                target = self._best_target(reference, plan.grid, (input_scale, output_scale))
            elif w.type == "INT4" and not settled.all():
                target = self._of_less_change(plan.grid.snap(factor, "down"), target, factor, measure)
        new = np.where(settled, old, target * output_scale / input_scale).astype(np.float32)
        edits.set(w.quantization.scale.offset, old, new, f"scales of {w.name}")
        if bias is not None and bias.quantization is not None:
            new_bias_scale = (np.float64(input_scale) * new).astype(np.float32)
            old_bias_scale = bias.quantization.scale.values
            kept = settled & (input_scale == self.x.scale)
            new_bias_scale = np.where(kept, old_bias_scale, new_bias_scale)
            edits.set(bias.quantization.scale.offset, old_bias_scale, new_bias_scale, f"scales of {bias.name}")
        if plan.keeps_integers:
            return
        source = self.reference if reference is None else reference.where(~settled, self.reference)
        growth = np.divide(new.astype(np.float64), source.scale, out=np.ones(old.shape), where=source.scale > 0)
        shift = 0.0  # of the accumulators, in units of the source
        if (growth != 1).any() and plan.method != KEEP:
            statistics = measure() if measure is not None else None
            rows = self.rounded(source.rows, growth, _weighing(statistics), self._limits)
            integers = self.in_shape(rows + self._weight_zero if self._weight_zero else rows)
            edits.set(w.data_offset, w.stored, w.encoded(integers), f"weights {w.name}")
            if statistics is not None:
                shift = source.lost(rows, growth, statistics.mean)
        growth = growth * (input_scale / self.x.scale)
        if bias is not None and (plan.chosen is not None or (growth != 1).any() or np.any(shift)):
            values = (source.bias + shift) / growth if plan.chosen is None else plan.chosen.bias
            edits.set(bias.data_offset, bias.stored, rounded_bias(bias, values), f"bias {bias.name}")

    def _of_less_change(self, down: np.ndarray, up: np.ndarray, factor: np.ndarray, measure) -> np.ndarray:
        """The grid points below factors where outputs change less than with those above; float64 [scales].

        Weights then clip. Of 8 bits that costs more than the coarser steps above; of 4, a step is so large a part of a
        weight that clipping is no worse than rounding.
        """
        statistics = _weighing(measure() if measure is not None else None)
        changes = []
        for target in (down, up):
            growth = np.divide(target, factor, out=np.ones_like(factor), where=down > 0)
            change = self._output_change(growth, statistics)
            changes.append(change if growth.size > 1 else change.sum(keepdims=True))
        return np.where(changes[0] < changes[1], down, up)

    def _output_change(self, growth: np.ndarray, statistics: Statistics | None) -> np.ndarray:
        """Mean squares of what outputs change by with weights at scales that grew; float64 [channels]."""
        old = self._rows
        new = self.rounded(old, growth, statistics, self._limits)
        growth = np.broadcast_to(growth, len(old))
        change = np.empty(len(old))
        for block in self._blocks(np.arange(len(old)), statistics):
            error = new[block] * growth[block, None] - old[block]
            if statistics is None:
                taps = error.reshape(len(block), self._kernel[0] * self._kernel[1], -1)
                change[block] = rounding.assumed_output_change(taps, self._kernel, self._is_one_sided)
            else:
                change[block] = rounding.output_change(error, statistics.covariance_of(block))
        return change

    def _best_target(self, reference: Reference, grid: Grid, scales: tuple[float, float]) -> np.ndarray:
        """Factors for weights to be rounded from a reference, at the scales of input and output.

        The smallest on the grid that hold a channel, or those nearest to the file's where these round it better: there
        the integers of a reference may be nearly whole.
        """
        old = self.w.quantization.scale.values
        least = reference.least_scale(old, self._limits[1])
        smallest = grid.snap(self._factors(scales[0], least, scales[1]), "up")
        stock = self._factors(scales[0], old, scales[1])
        nearest = grid.snap(stock, "nearest")
        near = np.where(nearest >= smallest, nearest, grid.snap(stock, "up"))
        errors = [reference.rounding_error(target * scales[1] / scales[0]) for target in (smallest, near)]
        return np.where(errors[1] < errors[0], near, smallest)

    @property
    def reference(self) -> Reference:
        """The weights and the bias of the file."""
        bias = None if self.bias is None or self.bias.data is None else self.bias.data.reshape(-1)
        return Reference(self._rows, self.w.quantization.scale.values, bias)

    def _kept_target(self, plan: Plan, factor: np.ndarray) -> np.ndarray:
        """The factors on the grid of a layer that keeps its weights."""
        if plan.chosen is not None:
            return plan.chosen.factors
        return plan.grid.snap(self.factors if plan.keeps_integers else factor, "nearest")

    @property
    def _weight_zero(self) -> int:
        return int(self.w.quantization.zero_point[0])

    @property
    def _rows(self) -> np.ndarray:
        """The centred weights as [channels, elements]."""
        w = self.w
        rows = np.moveaxis(w.data, self.channel_axis, 0).reshape(w.shape[self.channel_axis], -1)
        return np.subtract(rows, self._weight_zero, dtype=np.int16) if self._weight_zero else rows

    def in_shape(self, rows: np.ndarray) -> np.ndarray:
        """Values of [channels, elements] in the shape of the weights."""
        shape = self.w.shape
        channels_first = [shape[self.channel_axis], *np.delete(shape, self.channel_axis)]
        return np.moveaxis(rows.reshape(channels_first), 0, self.channel_axis)

    @property
    def _limits(self) -> tuple[int, int]:
        """The smallest and largest centred weight; signed types are used symmetrically, but for a -8 that is there."""
        low, high = self.w.limits
        if low < 0 and not (self.w.type == "INT4" and (self._rows == low).any()):
            low = -high
        return low - self._weight_zero, high - self._weight_zero

    def rounded(
        self, old: np.ndarray, growth: np.ndarray, statistics: Statistics | None, limits: tuple[int, int]
    ) -> np.ndarray:
        """Centred weights at scales that grew, [channels, elements]; where a scale did not, they stay.

        Args:
          old: the weights in units of their old scales.
          growth: new scales over old ones, [1] or [channels].
          statistics: of what they are multiplied with; None without data.
          limits: the smallest and the largest integer there may be.
        """
        new = old.copy()
        growth = np.broadcast_to(growth, len(old))
        for block in self._blocks(np.flatnonzero(growth != 1), statistics):
            target = old[block] / growth[block, None]
            if statistics is None:
                taps = target.reshape(len(block), self._kernel[0] * self._kernel[1], -1)
                rounded = rounding.round_weights(taps, self._kernel, self._is_one_sided, limits)
            else:
                rounded = rounding.error_feedback(target, statistics.covariance_of(block), limits)
            new[block] = rounded.reshape(len(block), -1)
        return new

    def _blocks(self, channels: np.ndarray, statistics: Statistics | None) -> Iterator[np.ndarray]:
        """Channels in blocks to work on at a time."""
        elements = self.w.data.size // self.w.shape[self.channel_axis]
        step = max(1, _BLOCK // elements) if statistics is None else max(1, len(channels))
        return (channels[i : i + step] for i in range(0, len(channels), step))

    @property
    def _kernel(self) -> tuple[int, int]:
        """Height and width."""
        return self.w.shape[1:3] if len(self.w.shape) == 4 else (1, 1)

    @property
    def _is_one_sided(self) -> bool:
        """Whether inputs are never negative."""
        return self.x.type != "INT16" and self.x.zero_point == np.iinfo(self.x.type.lower()).min

    def weight_error(self, after: "Layer") -> float:
        """Largest relative RMS change of the real weights of a channel."""
        old_scale, new_scale = (layer.w.quantization.scale.values.astype(np.float64) for layer in (self, after))
        a, b = self._rows, after._rows
        # Sums of products of integers are exact; only they are combined in float64.
        power, cross, new_power = (_row_products(*pair) for pair in ((a, a), (a, b), (b, b)))
        power = power * old_scale**2
        error = power - 2 * old_scale * new_scale * cross + new_scale**2 * new_power
        relative = np.divide(error, power, out=np.zeros_like(power), where=power > 0)
        return float(np.sqrt(relative.max(initial=0.0)))


def _weighing(statistics: Statistics | None) -> Statistics | None:
    """Statistics that say how much an error of each weight matters; None where they are means alone."""
    return None if statistics is None or statistics.covariance is None else statistics


def _row_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum over each row of a * b, exact in float64 [rows]; int8 or int16 [rows, n]."""
    return np.einsum("ij,ij->i", a, b, dtype=np.int64, casting="unsafe").astype(np.float64)
