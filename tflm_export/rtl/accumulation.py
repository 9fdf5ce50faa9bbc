# SPDX-License-Identifier: Apache-2.0
"""What goes through a rescale of a form: which integers it can be, and which it is for given inputs."""

import dataclasses
import functools

import numpy as np

from tflm_export.grid import Grid
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.call import CallOnce
from tflm_export.program.convert import Dequantize, QuantizeReal
from tflm_export.program.form import Form
from tflm_export.program.gather import Gather, GatherNd, Update
from tflm_export.program.lookup import Lookup
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.move import Move
from tflm_export.program.normalization import Normalization
from tflm_export.program.passes.ranges import Range, sum_ranges
from tflm_export.program.pool import AveragePool
from tflm_export.program.product import Product
from tflm_export.program.recurrence import Lstm, Svdf
from tflm_export.program.reduction import Mean, Total
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.softmax import LogSoftmax, Softmax, SoftmaxInt16
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.rescale import IDENTITY, WIDE_BITS, Rescale, Rescaler, WideNarrowRescale
from tflm_export.rtl.coding import coding_of

_INT32 = 1 << 31
_EXACT = float(1 << 53)
_SIGNS = {"above zero": True, "below zero": False}
_COMPUTED = (
    WeightedSum, MatrixProduct, Product, Total, Requantize, Prelu, AlignedSum, Mean, AveragePool,
)  # fmt: skip
_RECURRENT = "the inner rescales of a recurrent layer have no block of their own"
_OWN = "it computes in its own fixed point"
_ABSENT = {  # whatever is not here, nor below, has no rescale
    Lookup: "a table of its outputs is all it takes",
    Lstm: _RECURRENT,
    Svdf: _RECURRENT,
    Softmax: _OWN,
    SoftmaxInt16: _OWN,
    LogSoftmax: _OWN,
    Normalization: _OWN,
    QuantizeReal: "it is a border to real numbers",
    Dequantize: "it is a border to real numbers",
}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Accumulation:
    """Integers on their way through one rescale of a form: y = zero point + rescale(accumulator), clamped.

    Attributes:
      rescaling: the place of the rescale among those of the form.
      part: "above zero" or "below zero" where a form has a rescale for each sign of its input; else "".
      low, high: int64 [channels]: the smallest and the largest accumulator over all inputs of the network.
      bias: int64 [channels]: which part of it is constant.
      rescale: of the accumulators, for all channels or for each.
      zero_point: of the output.
      clamp: smallest and largest output.
    """

    rescaling: int = 0
    part: str = ""
    low: np.ndarray
    high: np.ndarray
    bias: np.ndarray
    rescale: Rescale
    zero_point: int
    clamp: tuple[int, int]

    @property
    def channels(self) -> int:
        """How many output channels it tells apart."""
        return len(self.low)

    def chosen(self, form: Form, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | slice]:
        """What a form accumulates of some inputs.

        Args:
          form: the one it is of.
          inputs: as for `Form.evaluate`.

        Returns:
          Accumulators, int64 [elements]; their channels, int32 [elements]; and which elements of the form's flat output
          they are, a mask or all.
        """
        every = form.accumulators(*inputs)
        found = every[self.rescaling].reshape(-1)
        channels = np.resize(np.arange(self.channels, dtype=np.int32), found.size)
        if not self.part:
            return found, channels, slice(None)
        kept = (np.broadcast_to(every[0], every[self.rescaling].shape).reshape(-1) >= 0) == _SIGNS[self.part]
        return found[kept], channels[kept], kept


def absent(form: Form, grid: Grid) -> str:
    """Why no block computes the rescales of a form; empty where one does, or where there is nothing to compute.

    Args:
      form: of a program in the arithmetic `Narrow`, in int8 where it can be.
      grid: of the multipliers that there are.
    """
    if not isinstance(form, _COMPUTED):
        return _ABSENT.get(type(form), "it has no rescale")
    if form.output.dtype.name not in ("int8", "int16"):
        return f"its output is {form.output.dtype}, and blocks give int8 or int16"
    if any(value.is_variable for value in (*form.inputs, *form.outputs)):
        return "it reads or writes a variable"
    if isinstance(form, Requantize) and form.below is not None and form.below_sign < 0:
        return "it turns the sign of what it rescaled"
    if isinstance(form, Mean):  # which gets a multiplier of its own, whatever its factor is
        return ""
    rescales = [rescaling.rescale for rescaling in form.rescalings]
    if not all(isinstance(rescale, Rescale) for rescale in rescales):
        return "it rescales with float32"
    if not all(coding_of(grid).holds(rescale.multiplier).all() for rescale in rescales):
        return f"it was not narrowed to multipliers of {grid}"
    if grid.bits > WIDE_BITS and any(isinstance(rescale, WideNarrowRescale) for rescale in rescales):
        return f"wide accumulators take multipliers of up to {WIDE_BITS} bits; give --bits {WIDE_BITS}"
    return ""


def is_free(form: Form) -> bool:
    """Whether a form needs no arithmetic: it moves its input, or adds an offset."""
    return isinstance(form, Move | Gather | GatherNd | Update | CallOnce) or (
        isinstance(form, Requantize) and form.rescale is IDENTITY and form.below is None
    )


@functools.singledispatch
def accumulations(form: Form, *inputs: Range) -> tuple[Accumulation, ...]:
    """The rescales of a form that a rescaler computes.

    Args:
      form: one whose rescales are not `absent`.
      inputs: what its inputs can be.

    Raises:
      ValueError: accumulators leave their type, or are beyond what is computed here.
    """
    return ()


@accumulations.register
def _(form: WeightedSum, x: Range) -> tuple[Accumulation, ...]:
    low, high = sum_ranges(form, x)
    _require_no_wrapping(form, low, high)
    return (_of(form.rescale, low, high, form.zero_point, form.clamp, form.bias),)


@accumulations.register
def _(form: MatrixProduct, a: Range, b: Range) -> tuple[Accumulation, ...]:
    bound = form.rescalings[0].accumulator
    _require_no_wrapping(form, -bound, bound)
    return (_of(form.rescale, -bound, bound, form.zero_point, form.clamp, form.bias),)


@accumulations.register
def _(form: Product, a: Range, b: Range) -> tuple[Accumulation, ...]:
    ends = [_ends(x, zero) for x, zero in zip((a, b), form.zero_points, strict=True)]
    corners = np.multiply.outer(*ends)
    return (_of(form.rescale, corners.min(), corners.max(), form.zero_point, form.clamp),)


@accumulations.register
def _(form: Total, x: Range) -> tuple[Accumulation, ...]:
    low, high = _ends(x, form.input_zero_point) * form.count
    return (_of(form.rescale, low, high, form.zero_point, form.output.limits),)


@accumulations.register
def _(form: Requantize, x: Range) -> tuple[Accumulation, ...]:
    low, high = _ends(x, form.input_zero_point)
    if form.below is None:
        return (_of(form.rescale, low, high, form.zero_point, form.clamp),)
    above = _of(form.rescale, max(low, 0), max(high, 0), form.zero_point, form.clamp, part="above zero")
    below = _of(form.below, min(low, -1), min(high, -1), form.zero_point, form.clamp, part="below zero", rescaling=1)
    return above, below


@accumulations.register
def _(form: Prelu, x: Range, alpha: Range) -> tuple[Accumulation, ...]:
    low, high = _ends(x, form.zero_points[0])
    below = np.multiply.outer([min(low, -1), min(high, -1)], _ends(alpha, form.zero_points[1]))
    ended = form.zero_point, form.output.limits
    return (
        _of(form.above, max(low, 0), max(high, 0), *ended, part="above zero"),
        _of(form.below, below.min(), below.max(), *ended, part="below zero", rescaling=1),
    )


def _require_no_wrapping(form: WeightedSum | MatrixProduct, low: np.ndarray, high: np.ndarray) -> None:
    if not form.is_wide and (low.min() < -_INT32 or high.max() >= _INT32):
        raise ValueError(f"sums of its products reach {max(-low.min(), high.max()):.0f}, and wrap in 32 bits")


def _ends(x: Range, zero_point: int) -> np.ndarray:
    return np.array([x.low.min(), x.high.max()]) - zero_point


def _of(rescale: Rescaler, low, high, zero_point: int, clamp, bias=(0,), **part) -> Accumulation:
    """Raises ValueError where the ends are beyond what float64 tells apart."""
    low, high, bias = np.broadcast_arrays(*map(np.atleast_1d, (low, high, bias)))
    if max(float(np.abs(low).max()), float(np.abs(high).max())) >= _EXACT:
        raise ValueError(f"accumulators reach {float(np.abs([low, high]).max()):.3g}")
    ends = (low.astype(np.int64), high.astype(np.int64))
    return Accumulation(
        low=ends[0],
        high=ends[1],
        bias=bias.astype(np.int64),
        rescale=rescale,
        zero_point=zero_point,
        clamp=clamp,
        **part,
    )
