"""What operators need to run: whose integers, the state of the model, and the steps they all end in."""

import dataclasses
import enum
from collections.abc import Callable, Hashable

import numpy as np

from tflm_export import rescale
from tflm_export.errors import ModelError
from tflm_export.flatbuffer import options
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.reader import UINT8

_DTYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT32": np.float32,
}
_WIDE_BITS = 15  # with accumulators of 47 bits and a sign
INTEGER_TYPES = ("INT8", "UINT8", "INT16", "INT32", "INT64")


class Rounding(str, enum.Enum):
    """Whose rescales a simulation computes.

    Attributes:
      NARROW: this package's kernels: the multipliers that the file's scales hold, k bits wide where it was narrowed
        (`rescale.recover_held`), one rounding, halves up.
      TFLM: TensorFlow Lite Micro: 31-bit multipliers, two roundings.
      TFLITE: LiteRT's reference kernels (OpResolverType.BUILTIN_REF): 31-bit multipliers, rounded as each kernel does.
    """

    NARROW = "narrow"
    TFLM = "tflm"
    TFLITE = "tflite"


@dataclasses.dataclass
class Context:
    """One run of a model.

    Attributes:
      rounding: whose integers.
      bits: width k that the model was narrowed to, for `Rounding.NARROW`.
      rows: how many rows stand in place of a first dimension of 1; None where shapes are as in the file.
      variables: contents of resource variables (by name) and of variable tensors (by key), kept from run to run.
      call: runs another subgraph by its index.
    """

    rounding: Rounding
    bits: int
    rows: int | None
    variables: dict[Hashable, np.ndarray]
    call: Callable[[int], None]

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of a computed tensor in this run."""
        return tensor.shape if self.rows is None else (self.rows, *tensor.shape[1:])

    def requantize(self, accumulator: np.ndarray, factor, wide: bool = False, real: bool = False) -> np.ndarray:
        """Rescales accumulators with the runtime's multipliers and rounding.

        Args:
          accumulator: integers that broadcast against the factors.
          factor: real factors, float64.
          wide: whether the accumulator has 64 bits, for which the stock runtimes have another multiplier.
          real: whether LiteRT's reference kernel multiplies in float64 instead of integers.

        Returns:
          int64 array.

        Raises:
          ModelError: a model narrowed to more than 15 bits has wide accumulators: the product would leave 64 bits.
            (Factors that a narrower model left as they were have 15 bits here, as in the stock runtimes.)
        """
        if self.rounding is Rounding.NARROW:
            if wide and self.bits > _WIDE_BITS:
                raise ModelError(f"int16 activations are simulated with narrow multipliers of up to {_WIDE_BITS} bits")
            return self.narrow_factors(factor, _WIDE_BITS if wide else rescale.MAX_BITS).apply(accumulator)
        if real and self.rounding is Rounding.TFLITE:
            return rescale.multiply_by_real(accumulator, factor)
        return self.rescale_stock(accumulator, rescale.quantize_multiplier(factor), wide)

    def narrow_factors(self, factor, widest: int = rescale.MAX_BITS) -> rescale.Rescale:
        """The multipliers of `Rounding.NARROW` for real factors, of at most `widest` bits."""
        return rescale.recover_held(factor, self.bits, widest)

    def rescale_stock(self, accumulator: np.ndarray, stock: rescale.Rescale, wide: bool = False) -> np.ndarray:
        """Rescales accumulators with 31-bit multipliers, as the stock runtimes do; see `requantize`."""
        if wide:
            return rescale.multiply_by_quantized_multiplier_wide(accumulator, stock)
        return rescale.multiply_by_quantized_multiplier_double(accumulator, stock)


def dtype_of(tensor: Tensor) -> type:
    """The numpy type of a tensor's elements.

    Raises:
      ModelError: the type is none this package computes with.
    """
    if tensor.type not in _DTYPES:
        raise ModelError(f"{tensor.label} is {tensor.type}, which is not simulated")
    return _DTYPES[tensor.type]


def centred(tensor: Tensor, values: np.ndarray, dtype=np.int64) -> np.ndarray:
    """Integers of a tensor with its zero point subtracted."""
    return np.subtract(values, tensor.zero_point, dtype=dtype)


def saturate(tensor: Tensor, integers: np.ndarray, low: int | None = None, high: int | None = None) -> np.ndarray:
    """Integers in a tensor's own type, clamped to its range and to `low` and `high`."""
    limits = np.iinfo(dtype_of(tensor))
    low = limits.min if low is None else max(limits.min, low)
    high = limits.max if high is None else min(limits.max, high)
    return np.clip(integers, low, high).astype(limits.dtype)


def quantized(tensor: Tensor, real: float) -> int:
    """The integer that stands for a real number: float32 division, halves away from zero, not saturated."""
    quotient = float(np.float32(real) / np.float32(tensor.scale))
    return tensor.zero_point + int(np.copysign(np.floor(abs(quotient) + 0.5), quotient))


def activation_range(tensor: Tensor, activation: str) -> tuple[int | None, int | None]:
    """The integers between which a fused activation clamps an output; None for no bound of its own.

    Raises:
      ModelError: the activation is not one of the ReLU family.

    Source: CalculateActivationRangeQuantized in tensorflow/lite/kernels/kernel_util.cc.
    """
    ranges = {"NONE": (None, None), "RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
    if activation not in ranges:
        raise ModelError(f"the fused activation {activation} of {tensor.name} is not simulated")
    low, high = (None if bound is None else quantized(tensor, bound) for bound in ranges[activation])
    return low, high


def fused_activation(operator: Operator, field: enum.IntEnum) -> str:
    """The fused activation that stands in an option field."""
    code = operator.option(field, UINT8)
    return options.ACTIVATIONS[code] if code < len(options.ACTIVATIONS) else f"UNKNOWN_{code}"


def emit(tensor: Tensor, integers: np.ndarray, activation: str = "NONE") -> np.ndarray:
    """Ends an operator: adds the zero point, clamps to the activation's range and to the type."""
    return saturate(tensor, integers + tensor.zero_point, *activation_range(tensor, activation))


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a @ b` for integers, through floating-point matrix multiplication of a precision that holds every partial sum.

    Args:
      a: [..., rows, taps], integers.
      b: [..., taps, columns], integers.

    Returns:
      int64 array.
    """
    limits = np.iinfo(a.dtype)
    reach = max(-int(limits.min), int(limits.max)) if a.dtype.itemsize < 4 else int(np.abs(a).max(initial=0))
    bound = reach * int(np.abs(b.astype(np.int64)).sum(-2).max(initial=0))
    if bound >= 1 << 53:
        return a.astype(np.int64) @ b.astype(np.int64)
    precision = np.float32 if bound < 1 << 24 else np.float64
    return (a.astype(precision) @ b.astype(precision)).astype(np.int64)
