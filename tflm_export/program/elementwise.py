# SPDX-License-Identifier: Apache-2.0
"""Functions of the plain integers of two values, whatever they stand for."""

import dataclasses

import numpy as np

from tflm_export.program.form import Broadcasting, lined_up

FUNCTIONS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Broadcasting):
    """`y = function(a, b)` in the output's type, which wraps, clamped; shapes broadcast.

    Attributes:
      function: one of FUNCTIONS.
      clamp: smallest and largest output; None for those of the type.
    """

    function: str
    clamp: tuple[int, int] | None = None

    def evaluate(self, *inputs):
        a, b = (lined_up(x, len(self.output.shape)) for x in inputs)
        integers = FUNCTIONS[self.function](a, b).astype(self.output.dtype)
        return (integers if self.clamp is None else self.saturated(integers, self.clamp),)
