# SPDX-License-Identifier: Apache-2.0
"""Emitted C on the host, layer by layer."""

import numpy as np

from tests.helpers import native
from tests.helpers.c_internals import CProgram, translate
from tests.helpers.internals import simulate


def random_inputs(program, rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (rows, *program.input.shape)).astype(np.int8)


class Compiled:
    """A program on the host. Its layers are visible, so that each one can be called."""

    def __init__(self, program: CProgram):
        self.program = program
        self.library = native.library(program.files(), "-DNARROW_LAYER=", "-Wno-missing-prototypes")

    def invoke(self, x: np.ndarray) -> np.ndarray:
        return self._call(f"{self.program.name}_invoke", [x], self.program.output)

    def layer(self, step, inputs: list[np.ndarray]) -> np.ndarray:
        return self._call(self.program.layer(step), inputs, step.output, step.scratch or None)

    def _call(self, function: str, inputs, output, scratch_size=None) -> np.ndarray:
        sizes = {"output_size": output.size, "scratch_size": scratch_size}
        return native.call(function, *inputs, **sizes, library=self.library).reshape(output.shape)


def assert_equals_simulator(data: bytes, bits: int, rounding: str, rows: int = 2, core: str = "portable") -> None:
    """Every layer on the simulator's own inputs, then the whole model."""
    compiled = Compiled(translate(data, "model", bits, rounding, core))
    program = compiled.program
    for x in random_inputs(program, rows):
        trace = simulate(data, x, rounding, bits if rounding == "narrow" else None)
        for step in program.steps:
            inputs = [trace[value] for value in step.inputs if value.data is None]
            if "x0" in step.channels_first:
                inputs[0] = np.moveaxis(inputs[0], 3, 1)
            output = compiled.layer(step, inputs)
            expected = trace[step.output]
            expected = np.moveaxis(expected, 3, 1) if "y" in step.channels_first else expected
            np.testing.assert_array_equal(
                output.reshape(-1), np.ascontiguousarray(expected).reshape(-1), step.origin.label
            )
        np.testing.assert_array_equal(compiled.invoke(x), trace.outputs[0].reshape(program.output.shape))
