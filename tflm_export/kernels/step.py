"""What an operator becomes: C statements on named buffers, constants, and the kernels they call."""

import dataclasses

import numpy as np

from tflm_export.flatbuffer.model import Operator, Tensor


class UnsupportedError(Exception):
    """The operator cannot be expressed with the kernels; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One operator as C.

    Attributes:
      operator: the operator.
      inputs: the activations it reads, constant ones included: `x0`, `x1`, ... in the statements.
      statements: C statements and declarations; they write `y`, and may use `scratch` and the constants by name.
      constants: integer arrays by name, of dtype int8, uint8 or int32.
      scratch: bytes of working memory.
      kernels: the source files it calls, and headers it needs.
      definitions: of C functions that the statements call, made by a macro of one of the headers. Steps may share them.
      planes: which of `x0` and `y` are channel by channel, [batches, channels, height, width].
      note: what a reader wants to know of it, e.g. the width of its arithmetic.
    """

    operator: Operator
    inputs: tuple[Tensor, ...]
    statements: tuple[str, ...]
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    scratch: int = 0
    kernels: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    note: str = ""
    planes: tuple[str, ...] = ()

    @property
    def output(self) -> Tensor:
        return self.operator.outputs[0]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All constants, its constant inputs among them."""
        return self.constants | {f"x{i}": tensor.data for i, tensor in enumerate(self.inputs) if tensor.is_constant}

    @property
    def constant_bytes(self) -> int:
        """Flash that its constants take."""
        return sum(values.nbytes for values in self.arrays.values())
