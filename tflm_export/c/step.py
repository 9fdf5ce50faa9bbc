# SPDX-License-Identifier: Apache-2.0
"""What a form becomes: C statements on named buffers, constants, and the kernels they call."""

import dataclasses
from collections.abc import Collection, Hashable, Sequence

import numpy as np

from tflm_export.c.cost import Work
from tflm_export.errors import ModelError
from tflm_export.program.program import Origin
from tflm_export.program.value import Value

_SHOWN = 5  # problems, in a message


class UnsupportedError(Exception):
    """The form cannot be expressed with the kernels; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why there is no C for an operator.

    Attributes:
      op: "CONV_2D", ...
      label: how messages name it.
      reason: for people.
    """

    op: str
    label: str
    reason: str

    def __str__(self) -> str:
        return f"{self.label}: {self.reason}"


class UnwritableError(ModelError):
    """Some operators of a model cannot be written as C; the message has the first ones, and the fix.

    Attributes:
      problems: all of them.
    """

    def __init__(self, problems: Sequence[Problem], fix: str = ""):
        shown = [*map(str, problems[:_SHOWN])]
        shown += [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        super().__init__(f"the model cannot be written as C: {'; '.join(shown)}{fix}")
        self.problems = tuple(problems)


def channels_first(inputs: Sequence[Value], outputs: Sequence[Value], keys: Collection[Hashable]) -> tuple[str, ...]:
    """Which of `x0` and `y` are among the values that are kept channel by channel."""
    held = [("x0", value) for value in inputs[:1]] + [("y", value) for value in outputs[:1]]
    return tuple(name for name, value in held if value.key in keys)


@dataclasses.dataclass(frozen=True, eq=False)
class CStep:
    """One form as the body of a C function.

    Attributes:
      origin: the operator it comes from.
      inputs: the values it reads, constant ones included: `x0`, `x1`, ... in the statements, of their types in C.
      outputs: the values it writes: `y`, `y1`, `y2`, ...; none of them lies where an input does.
      statements: C statements and declarations; they may use `scratch` and the constants by name.
      constants: arrays by name, of integers or float32.
      scratch: bytes of working memory, aligned to 8.
      kernels: the source files it calls, and headers it needs.
      definitions: of C functions that the statements call, made by a macro of one of the headers. Steps may share them.
      channels_first: which of `x0` and `y` are kept as [batches, channels, height, width].
      is_general: whether its kernels serve all types, and may want any alignment up to 8.
      multiplications: see Form.
      note: what a reader wants to know of it, e.g. the width of its arithmetic.
      work: what its kernel does, for kernels whose cost is known; None for others.
    """

    origin: Origin
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    statements: tuple[str, ...]
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    scratch: int = 0
    kernels: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    note: str = ""
    channels_first: tuple[str, ...] = ()
    is_general: bool = False
    multiplications: int = 0
    work: Work | None = None

    @property
    def output(self) -> Value:
        """Its first output."""
        return self.outputs[0]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All constants, its constant inputs among them."""
        return self.constants | {f"x{i}": x.data for i, x in enumerate(self.inputs) if x.is_constant}

    @property
    def constant_bytes(self) -> int:
        """Flash that its constants take."""
        return sum(values.nbytes for values in self.arrays.values())
