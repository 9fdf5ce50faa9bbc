# SPDX-License-Identifier: Apache-2.0
"""Steps of C on the host, on their own: one library of any number of them, with the sanitizer and guarded memory."""

from collections.abc import Sequence

import numpy as np

from tests.helpers import memory, native
from tests.helpers.memory import Memory
from tflm_export import kernels
from tflm_export.c.step import CStep
from tflm_export.program.program import Origin, Step

_ORIGIN = Origin(0, 0, "OPERATOR", "y", "operator 0 OPERATOR (y)")
_TYPES = {"float32": "float"}
_FILLINGS = ((True, 0x5A), (False, 0xA5))


def step_of(form) -> Step:
    """A form as a step."""
    return Step(_ORIGIN, form)


class CompiledSteps:
    """Steps as functions of one library, compiled once.

    Args:
      steps: any number of them.
      flags: for the compiler, behind those of `native.library`.
      cpp: whether they are C++17 instead of C99.
    """

    def __init__(self, steps: Sequence[CStep], *flags: str, cpp: bool = False):
        self.steps = tuple(steps)
        names = sorted({"narrow_kernels.h", *(name for step in steps for name in step.kernels)})
        files = {f"steps.{'cc' if cpp else 'c'}": source(steps).encode()} | kernels.sources(names)
        self.library = native.library(files, "-Wsign-conversion", *flags)

    def run(self, index: int, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of a step, called twice in memory that nobody may touch the surroundings of.

        Args:
          index: which step.
          inputs: an array for each input that is not constant, in its type, of its shape.

        Returns:
          An array for each output, in its type, of its shape.

        Raises:
          AssertionError: undefined behaviour, a byte touched that is not the step's, or outputs that depend on bytes
            that nobody wrote.
        """
        first, second = (self._run(index, inputs, *way) for way in _FILLINGS)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b, "depends on what its memory holds before, or where it is")
        return first

    def _run(self, index: int, inputs: Sequence[np.ndarray], behind: bool, filling: int) -> list[np.ndarray]:
        step = self.steps[index]
        read = [value for value in step.inputs if is_read(value)]
        memories = {}
        for i, (value, array) in enumerate(zip(read, inputs, strict=True)):
            assert (array.dtype, array.shape) == (value.dtype, value.shape), value
            memories[f"input {i}"] = Memory.of(array, behind, filling)
        outputs = [Memory(v.size * v.dtype.itemsize, behind, filling, v.dtype.itemsize) for v in step.outputs]
        memories |= {f"output {i}": output for i, output in enumerate(outputs)}
        if step.scratch:
            memories["scratch"] = Memory(step.scratch, behind, filling, 8)
        memory.call(getattr(self.library, f"step_{index}"), [m.address for m in memories.values()], memories)
        return [
            output.data.view(value.dtype).reshape(value.shape).copy()
            for output, value in zip(outputs, step.outputs, strict=True)
        ]


def is_read(value) -> bool:
    """Whether an input comes from outside, and is not a constant array of the step."""
    return value.data is None or value.is_variable


def source(steps: Sequence[CStep]) -> str:
    """One C file with a function `step_0`, `step_1`, ... for each step."""
    headers = dict.fromkeys(["narrow_kernels.h", *(k for step in steps for k in step.kernels if k.endswith(".h"))])
    made = dict.fromkeys(definition for step in steps for definition in step.definitions)
    functions = (_function(f"step_{i}", step) for i, step in enumerate(steps))
    extern = '#ifdef __cplusplus\nextern "C" {\n#endif'
    end = "#ifdef __cplusplus\n}\n#endif"
    return "\n".join([*(f'#include "{h}"' for h in headers), *made, extern, *functions, end, ""])


def _function(name: str, step: CStep) -> str:
    parameters = [f"const {_type(x.dtype)} *x{i}" for i, x in enumerate(step.inputs) if is_read(x)]
    parameters += [f"{_type(y.dtype)} *y{i or ''}" for i, y in enumerate(step.outputs)]
    parameters += ["int8_t *scratch"] if step.scratch else []
    own = {f"x{i}": x.data for i, x in enumerate(step.inputs) if not is_read(x)}
    arrays = (f"  static const {_array(key, values)}" for key, values in (step.constants | own).items())
    head = f"void {name}({', '.join(parameters)});\nvoid {name}({', '.join(parameters)}) {{"
    return "\n".join([head, *arrays, *(f"  {statement}" for statement in step.statements), "}"])


def _type(dtype) -> str:
    return _TYPES.get(np.dtype(dtype).name, f"{np.dtype(dtype).name}_t")


def _array(name: str, values: np.ndarray) -> str:
    numbers = [_number(value) for value in np.asarray(values).reshape(-1).tolist()]
    return f"{_type(values.dtype)} {name}[{max(1, len(numbers))}] = {{{', '.join(numbers or ['0'])}}};"


def _number(value) -> str:
    if isinstance(value, float):
        return f"{value!r}f"
    suffix = "LL" if abs(value) >= 1 << 31 else ""
    return f"({value + 1}LL - 1)" if value == -(1 << 63) else f"{value}{suffix}"
