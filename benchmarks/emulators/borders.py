# SPDX-License-Identifier: Apache-2.0
"""The inputs and the outputs of any model as one array of bytes each, for programs that are the same for every model.

The values stand one behind the other, each from a multiple of `ALIGNMENT` on.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflm_export.c import CProgram
from tflm_export.c.literals import c_type
from tflm_export.program.value import Value

ALIGNMENT = 8  # of the widest type


@dataclasses.dataclass(frozen=True)
class Borders:
    """The borders of a model.

    Attributes:
      name: prefix of its C functions.
      inputs, outputs: of an inference.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @classmethod
    def of(cls, program: CProgram) -> "Borders":
        """Those of a model's C."""
        return cls(program.name, program.inputs, program.outputs)

    @property
    def function(self) -> str:
        """The C function of (const int8_t *input, int8_t *output)."""
        return f"{self.name}_run"

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of both arrays."""
        return _places(self.inputs)[1], _places(self.outputs)[1]

    @property
    def starts(self) -> tuple[list[int], list[int]]:
        """Where each input and each output begins in its array."""
        return _places(self.inputs)[0], _places(self.outputs)[0]

    @property
    def file(self) -> str:
        """The header's name."""
        return f"{self.name}_borders.h"

    def header(self) -> bytes:
        """C of an inference from bytes to bytes."""
        inputs = [f"({c_type(x.dtype)} const *)(const void *)(input + {at})" for x, at in _with_places(self.inputs)]
        outputs = [f"({c_type(y.dtype)} *)(void *)(output + {at})" for y, at in _with_places(self.outputs)]
        if len(inputs) == len(outputs) == 1:
            body = f"  {self.name}_invoke({inputs[0]}, {outputs[0]});\n"
        else:
            body = f"""  const {self.name}_inputs inputs = {{{", ".join(inputs) or 0}}};
  const {self.name}_outputs outputs = {{{", ".join(outputs) or 0}}};
  {self.name}_invoke(&inputs, &outputs);
"""
        unused = [f"  (void){name};\n" for name, held in (("input", inputs), ("output", outputs)) if not held]
        return f"""/* SPDX-License-Identifier: Apache-2.0 */
#include "{self.name}.h"

static void {self.function}(const int8_t *input, int8_t *output) {{
{"".join(unused)}{body}}}
""".encode()

    def pack(self, inputs: Sequence[np.ndarray], rows: int) -> np.ndarray:
        """Inputs of inferences as int8 [rows, bytes].

        Args:
          inputs: an array for each input, [rows * first dimension, other dimensions].
          rows: how many inferences.
        """
        packed = np.zeros((rows, self.sizes[0]), np.uint8)
        for array, (value, at) in zip(inputs, _with_places(self.inputs), strict=True):
            assert array.dtype == value.dtype
            content = np.ascontiguousarray(array).reshape(rows, -1).view(np.uint8)
            packed[:, at : at + content.shape[1]] = content
        return packed.view(np.int8)

    def unpack(self, outputs: np.ndarray) -> list[np.ndarray]:
        """An array [rows, elements] for each output, of int8 [rows, bytes]."""
        found = []
        for value, at in _with_places(self.outputs):
            part = np.ascontiguousarray(outputs[:, at : at + _bytes(value)])
            found.append(part.view(value.dtype).reshape(len(outputs), -1))
        return found


def _bytes(value: Value) -> int:
    return value.size * value.dtype.itemsize


def _places(values: Sequence[Value]) -> tuple[list[int], int]:
    """Where values begin, and the bytes of them all; an array in C has one at least."""
    starts, end = [], 0
    for value in values:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        starts.append(start)
        end = start + _bytes(value)
    return starts, max(end, 1)


def _with_places(values: Sequence[Value]) -> list[tuple[Value, int]]:
    return list(zip(values, _places(values)[0], strict=True))
