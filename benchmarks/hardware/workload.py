# SPDX-License-Identifier: Apache-2.0
"""What a rescaler is fed: the accumulators of a model's weighted layers with their factors, or random ones."""

import dataclasses
import hashlib

import numpy as np

from benchmarks import natural_inputs
from benchmarks.hardware.designs import CSD, FOLDED, Design
from tflm_export import ModelError, Rescale, narrow
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.lowering import lower
from tflm_export.program.form import wrapped
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.rescale import StockRescale, quantize_multiplier

# Channel by channel, and of a channel pixel by pixel, as in a lane whose weights stay; or pixel by pixel with all its
# channels one after another, where the factor changes with every rescale.
BY_CHANNEL, BY_PIXEL = "by channel", "by pixel"
RANDOM = "random accumulators"
RUN = 64  # random rescales with the same factor, and neighbours that stay neighbours where there are to be fewer
SEED = 14
_FACTORS = (-14.0, -4.0)  # log2 of random ones, about what layers have
_SPREAD = 60.0  # standard deviation of random outputs


@dataclasses.dataclass(frozen=True)
class Rescales:
    """Rescales one after another.

    Attributes:
      accumulators: int64 [rescales].
      rescale: their factors, [rescales].
      zero_point, low, high: int64 [rescales].
    """

    accumulators: np.ndarray
    rescale: Rescale
    zero_point: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self):
        return len(self.accumulators)

    @property
    def outputs(self) -> np.ndarray:
        """What the simulator makes of them; int64 [rescales]."""
        return np.clip(self.rescale.apply(self.accumulators) + self.zero_point, self.low, self.high)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All of it: accumulators, multipliers, shifts, zero points, lower and upper bounds."""
        ends = (self.zero_point, self.low, self.high)
        return (self.accumulators, self.rescale.multiplier, self.rescale.shift, *ends)

    @property
    def hash(self) -> str:
        """Of what is in it."""
        return hashlib.sha256(b"".join(np.ascontiguousarray(a, "<i8").tobytes() for a in self.arrays)).hexdigest()[:20]

    def at(self, places: np.ndarray) -> "Rescales":
        """Those at some places."""
        return _of(type(self.rescale), *(array[places] for array in self.arrays))

    def some(self, count: int) -> "Rescales":
        """At most so many, in runs of neighbours that are spread evenly."""
        if count >= len(self):
            return self
        starts = np.linspace(0, len(self) - RUN, max(1, count // RUN)).astype(int)
        return self.at((starts[:, None] + np.arange(RUN)).reshape(-1))


def _of(kind: type[Rescale], accumulators, multiplier, shift, zero_point, low, high) -> Rescales:
    return Rescales(accumulators, kind(multiplier, shift), zero_point, low, high)


@dataclasses.dataclass(frozen=True)
class Workload:
    """The rescales of a model at one width.

    Attributes:
      source: what the inputs were, for people.
      factors: how many the model has; 0 where there is no model.
      orders: the rescales, in each order.
      left_out: how many of the model's have an accumulator or a shift that a design does not take.
    """

    source: str
    factors: int
    orders: dict[str, Rescales]
    left_out: int = 0

    def __len__(self):
        return len(self.orders[BY_CHANNEL])

    def some(self, count: int) -> "Workload":
        """At most so many rescales."""
        return dataclasses.replace(self, orders={order: found.some(count) for order, found in self.orders.items()})

    def fitting(self, design: Design) -> "Workload":
        """Those that a design takes."""
        orders = {order: found.at(np.flatnonzero(_fits(design, found))) for order, found in self.orders.items()}
        return dataclasses.replace(self, orders=orders, left_out=len(self) - len(orders[BY_CHANNEL]))


def of_model(data: bytes, name: str, grid) -> Workload:
    """Every rescale of a model's weighted layers in one inference.

    Args:
      data: a stock .tflite file.
      name: of it, which may tell what inputs it is for.
      grid: to narrow to; None for the stock model and its two roundings.

    Raises:
      ModelError: there is no weighted layer of int8, or the model cannot be narrowed or run.
    """
    arithmetic = Tflm() if grid is None else Narrow(grid)
    model = parse(data if grid is None else narrow(data, grid)[0])
    inputs = natural_inputs.natural_inputs(name, model, 1) or natural_inputs.random_inputs(model, 1)
    tensors = model.subgraphs[0].inputs
    program = lower(model, arithmetic)
    values = program.run([a.reshape(inputs.count, *t.shape) for a, t in zip(inputs.arrays, tensors, strict=True)])
    forms = [
        step.form
        for step in program.main.steps
        if isinstance(step.form, WeightedSum) and not step.form.is_wide and step.form.output.dtype == np.int8
    ]
    if not forms:
        raise ModelError(f"{name} has no convolution or dense layer with int8 outputs: nothing to rescale")
    sums = [_sums(form, values) for form in forms]
    orders = {
        order: [_layer(form, found, order) for form, found in zip(forms, sums, strict=True)]
        for order in (BY_CHANNEL, BY_PIXEL)
    }
    joined = {
        order: _of(type(forms[0].rescale), *map(np.concatenate, zip(*(layer.arrays for layer in layers), strict=True)))
        for order, layers in orders.items()
    }
    return Workload(f"{name}, {inputs.source}", sum(np.size(form.rescale.shift) for form in forms), joined)


def _sums(form: WeightedSum, values: dict) -> np.ndarray:
    """The accumulators of a layer, int64 [pixels, channels]."""
    x = form.inputs[0].among(values)
    return wrapped(form.sums(x.reshape(-1, *form.image_shape[1:]))).reshape(-1, form.channels)


def _layer(form: WeightedSum, sums: np.ndarray, order: str) -> Rescales:
    """The rescales of a layer in an order, from its accumulators [pixels, channels]."""
    factors = (np.broadcast_to(np.ravel(part), sums.shape) for part in (form.rescale.multiplier, form.rescale.shift))
    ends = (np.full(sums.shape, value, np.int64) for value in (form.zero_point, *form.clamp))
    arrays = (array.T if order == BY_CHANNEL else array for array in (sums, *factors, *ends))
    return _of(type(form.rescale), *(array.reshape(-1) for array in arrays))


def random(grid, count: int) -> Workload:
    """Random accumulators of at most 21 bits, with random factors that bring most into the output's range.

    Args:
      grid: of the factors; None for those of 31 bits.
      count: of rescales.
    """
    rng = np.random.default_rng(SEED)
    factor = (2.0 ** rng.uniform(*_FACTORS, -(-count // RUN))).repeat(RUN)[:count]
    rescale = quantize_multiplier(factor) if grid is None else grid.recover(grid.snap(factor))
    most = (1 << 20) - 1
    accumulators = np.clip(rng.normal(0, _SPREAD, count) / factor, -most, most).astype(np.int64)
    ends = (np.full(count, value, np.int64) for value in (0, -128, 127))
    kind = StockRescale if grid is None else Rescale
    made = _of(kind, accumulators, rescale.multiplier, rescale.shift, *ends)
    mixed = made.at(np.argsort(np.arange(count) % RUN, kind="stable"))
    return Workload(RANDOM, 0, {BY_CHANNEL: made, BY_PIXEL: mixed})


def corners(design: Design, count: int) -> Rescales:
    """Random rescales from all over what a design takes, and its corners: to hold netlists equal, not to measure."""
    rng = np.random.default_rng(SEED)
    most = 1 << (design.accumulator.bits - 1)
    wide = rng.integers(-most, most, count)
    accumulators = np.where(rng.random(count) < 0.5, wide, wide >> rng.integers(0, design.accumulator.bits, count))
    accumulators[:5] = (-most, most - 1, -1, 0, 1)
    multiplier = rng.choice(_multipliers(design), count)
    shift = design.shift_min + rng.integers(0, 1 << design.accumulator.shift_bits, count)
    zero_point, low, high = (rng.integers(-128, 128, count) for _ in range(3))
    if design.name == FOLDED:  # whose accumulator has these in it, and is what is random
        accumulators = accumulators - _folded(zero_point, shift)
    kind = StockRescale if design.grid is None else Rescale
    return _of(kind, accumulators, multiplier, shift, zero_point, np.minimum(low, high), np.maximum(low, high))


def _multipliers(design: Design) -> np.ndarray:
    """Those that a design takes, or many of them, with the smallest and the largest."""
    if design.name == CSD:
        return np.unique(design.grid.recover(design.grid.snap(np.linspace(0.5, 1, 1000))).multiplier)
    least, most = 1 << (design.bits - 1), (1 << design.bits) - 1
    return np.unique(np.linspace(least, most, 4001).astype(np.int64) ^ np.arange(4001)).clip(least, most)


def _folded(zero_point: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Zero point and rounding as parts of an accumulator."""
    return (zero_point << shift) + (np.int64(1) << (shift - 1))


def _fits(design: Design, rescales: Rescales) -> np.ndarray:
    """Whether a design takes rescales; bool [rescales]."""
    vectors, most = _vectors(design, rescales), 1 << (design.accumulator.bits - 1)
    acc, shift = vectors["acc"], vectors["shift"]
    has_room = (acc >= -most) & (acc < most) & (shift >= 0) & (shift < 1 << design.accumulator.shift_bits)
    if design.name == CSD:  # which has a multiplier of 0
        return has_room
    is_lost = np.abs(rescales.accumulators) << design.bits < np.int64(1) << (design.shift_min + shift)
    return has_room & (is_lost | (rescales.rescale.multiplier != 0))


def ports(design: Design, rescales: Rescales) -> dict[str, np.ndarray]:
    """Rescales as vectors on the inputs of a design.

    Raises:
      ModelError: an accumulator or a shift has more bits than the design takes.
    """
    if not (fits := _fits(design, rescales)).all():
        first = np.flatnonzero(~fits)[0]
        what = f"accumulator {rescales.accumulators[first]} with shift {rescales.rescale.shift[first]}"
        raise ModelError(f"{design.label}, {design.accumulator}: no room for {what}, as for {(~fits).sum()} rescales")
    return _vectors(design, rescales)


def _vectors(design: Design, rescales: Rescales) -> dict[str, np.ndarray]:
    """By port; factors of 0 get the largest shift, which leaves nothing of small accumulators."""
    coding = design.coding
    held = coding.normalised(rescales.rescale)
    is_zero = held.multiplier == 0
    shift = np.where(is_zero, (1 << design.accumulator.shift_bits) - 1, held.shift - design.shift_min)
    multiplier = held.multiplier if design.name == CSD else np.where(is_zero, coding.power, held.multiplier)
    factor = {name: integers for name, _, integers in coding.fields(multiplier)}
    extra = _folded(rescales.zero_point, shift + design.shift_min) if design.name == FOLDED else 0
    ends = {"zero_point": rescales.zero_point, "low": rescales.low, "high": rescales.high}
    return {"acc": rescales.accumulators + extra, **factor, "shift": shift, **ends}
