# SPDX-License-Identifier: Apache-2.0
"""Emitted C on the host, layer by layer."""

import ctypes

import numpy as np

from tests.helpers import memory, native
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

    def start(self) -> "Context":
        """A context of the model in memory of its own."""
        return Context(self)

    def _call(self, function: str, inputs, output, scratch_size=None) -> np.ndarray:
        sizes = {"output_size": output.size, "scratch_size": scratch_size}
        return native.call(function, *inputs, **sizes, library=self.library).reshape(output.shape)


class _Structure(ctypes.Structure):
    """NAME_context."""

    _fields_ = [("arena", ctypes.c_void_p), ("is_started", ctypes.c_int32)]


class Context:
    """A model that keeps its variables from one inference to the next, beside pages that nobody may touch."""

    def __init__(self, compiled: Compiled, behind: bool = True, filling: int = 0x5A):
        self.program, self.library, self.behind, self.filling = compiled.program, compiled.library, behind, filling
        size, alignment = self.program.interface.arena_bytes, self.program.interface.alignment
        self.arena = memory.Memory(size, behind, filling, alignment)
        self.structure = _Structure()
        given = self._function("context_init")(
            ctypes.byref(self.structure), ctypes.c_void_p(self.arena.address), ctypes.c_size_t(size)
        )
        assert given == 0

    def _function(self, name: str):
        return getattr(self.library, f"{self.program.name}_{name}")

    def invoke(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """One inference: the outputs in their types and shapes."""
        values = self.program.inputs
        for x, value in zip(inputs, values, strict=True):
            assert (x.dtype, x.size) == (value.dtype, value.size)
        given = [memory.Memory.of(x, self.behind, self.filling) for x in inputs]
        outputs = self.program.outputs
        made = [memory.Memory(y.size * y.dtype.itemsize, self.behind, self.filling, y.dtype.itemsize) for y in outputs]
        structs = [(ctypes.c_void_p * max(1, len(group)))(*(m.address for m in group)) for group in (given, made)]
        memories = {"arena": self.arena} | {f"input {i}": m for i, m in enumerate(given)}
        memories |= {f"output {i}": m for i, m in enumerate(made)}
        addresses = [ctypes.addressof(self.structure), *map(ctypes.addressof, structs)]
        memory.call(self._function("context_invoke"), addresses, memories)
        return [m.data.view(y.dtype).reshape(y.shape).copy() for m, y in zip(made, outputs, strict=True)]

    def reset(self) -> None:
        """Back to the start."""
        memory.call(self._function("context_reset"), [ctypes.addressof(self.structure)], {"arena": self.arena})


def held(trace, value) -> np.ndarray:
    """What a value holds: the channels that are left of a tensor of the model."""
    selection = value.selection
    return trace[value] if selection is None else trace.tensors[selection.key][..., selection.indices]


def assert_equals_simulator(data: bytes, bits: int, rounding: str, rows: int = 2, core: str = "portable") -> None:
    """Every layer on the simulator's own inputs, then the whole model."""
    compiled = Compiled(translate(data, "model", bits, rounding, core))
    program = compiled.program
    for x in random_inputs(program, rows):
        trace = simulate(data, x, rounding, bits if rounding == "narrow" else None)
        for step in program.steps:
            inputs = [held(trace, value) for value in step.inputs if not value.is_constant]
            if "x0" in step.channels_first:
                inputs[0] = np.moveaxis(inputs[0], 3, 1)
            output = compiled.layer(step, inputs)
            expected = held(trace, step.output)
            expected = np.moveaxis(expected, 3, 1) if "y" in step.channels_first else expected
            np.testing.assert_array_equal(
                output.reshape(-1), np.ascontiguousarray(expected).reshape(-1), step.origin.label
            )
        np.testing.assert_array_equal(compiled.invoke(x), trace.outputs[0].reshape(program.output.shape))
