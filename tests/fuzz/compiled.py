# SPDX-License-Identifier: Apache-2.0
"""C of damaged models, built with gcc's undefined-behaviour sanitizer and held against the simulator."""

import shutil
from collections.abc import Sequence

import numpy as np

from tests.helpers.programs import Compiled
from tflm_export.c import CProgram

MOST_BYTES = 1 << 20  # of constants, which a compiler reads as text
MOST_ARENA = 1 << 26
MOST_MULTIPLICATIONS = 1 << 28


def is_quick(program: CProgram) -> bool:
    """Whether there is a compiler, and the program is built and run in moderate time."""
    work = sum(step.multiplications for step in program.steps)
    sizes = (program.constant_bytes, program.placement.bytes, work)
    limits = (MOST_BYTES, MOST_ARENA, MOST_MULTIPLICATIONS)
    return shutil.which("gcc") is not None and all(n <= most for n, most in zip(sizes, limits, strict=True))


def hold(program: CProgram, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """One inference beside guard pages.

    Raises:
      AssertionError: a warning of the compiler, undefined behaviour, a byte touched that is not the model's, or outputs
        that differ from the simulator's.
    """
    outputs = Compiled(program).start().invoke(*inputs)
    for value, found, wanted in zip(program.outputs, outputs, expected, strict=True):
        np.testing.assert_array_equal(found.reshape(-1), wanted.reshape(-1), value.label)
