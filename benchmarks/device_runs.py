# SPDX-License-Identifier: Apache-2.0
"""A model on one emulated core: builds it, runs it, and says what it took."""

import dataclasses
import functools
import math
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from benchmarks import cycles, riscv_cycles, silicon
from benchmarks.emulators import firmware, qemu_engine, renode_engine, unicorn_engine
from benchmarks.emulators.borders import Borders
from benchmarks.emulators.execution import Execution
from benchmarks.emulators.flash import Stalls
from benchmarks.parts import IDEAL, Part
from tflm_export import ModelError, c, narrow
from tflm_export.arithmetic import Arithmetic, Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.lowering import lower
from tflm_export.program.value import value_of
from tflm_export.simulator import simulate

STOCK = "stock"  # the 31-bit rescale with two roundings
RESCALED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN", "QUANTIZE")
ENGINES = {"unicorn": unicorn_engine.execute, "qemu": qemu_engine.execute, "renode": renode_engine.execute}
AUTO = "auto"
_TOTALS = (
    "instructions", "cycles", "least", "most", "multiplications", "waited", "unaligned", "instruction_misses",
    "data_misses",
)  # fmt: skip
Inputs = np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one operator took in one inference.

    Attributes:
      index, op, output: which operator.
      instructions: executed, mean over inferences.
      cycles, least, most: modelled, with the tables' ranges at their middle and ends; None where there is no table.
      multiplications: of inputs and weights; 0 where nobody knows.
      limit: of them, as many as the core can do in a cycle; None where there is no table.
      waited: which of the cycles are for flash.
      unaligned: which of the cycles are for words and halfwords that do not lie at a multiple of their size.
      instruction_misses, data_misses: lines read from flash.
    """

    index: int
    op: str
    output: str
    instructions: float
    cycles: float | None
    least: float | None
    most: float | None
    multiplications: int = 0
    limit: float | None = None
    waited: float = 0.0
    unaligned: float = 0.0
    instruction_misses: float = 0.0
    data_misses: float = 0.0

    @property
    def speed(self) -> float | None:
        """Multiplications in a cycle; None where they are not known."""
        return self.multiplications / self.cycles if self.cycles and self.multiplications else None


@dataclasses.dataclass(frozen=True)
class Run:
    """A model with one rescale on one core.

    Attributes:
      model, cpu, rescale: what ran; the rescale is "stock", a width k, or the name of an ELF file that is compared.
      engine, toolchain: the emulator and the compiler; the compiler of an ELF file is unknown, "".
      multiplier: cycles of MULS on an M0 or M0+.
      equal: whether every output equals the simulator's, of an ELF file: the simulator's with stock rescales.
      brought: whether it is such an ELF file, which may hold another model than the simulator's.
      samples: inferences.
      accuracy: top-1 share on labelled data, None without labels.
      flash, ram: bytes of code and constants; of static data, the arena among them.
      arena, arena_bound: bytes of the plan, and what no plan can do without; None for an ELF file.
      stack: bytes at its deepest; None where the engine does not tell.
      rescaled: output elements that end in a rescale.
      counted, resolution: instructions of an inference by the engine's clock, and by how much that may be off; None
        where basic blocks were counted, which are exact.
      layers: in execution order; empty where the engine does not tell.
      part: what the cycles are modelled for.
      timing: of a RISC-V core, whose cycles: a key of `riscv_cycles.TIMINGS`; empty for others.
      network: of MLPerf Tiny, by its name in `silicon`; empty for others.
      loops_in_ram: whether kernels and layers run from there.
    """

    model: str
    cpu: str
    rescale: str | int
    engine: str
    toolchain: str
    multiplier: int
    equal: bool
    brought: bool
    samples: int
    accuracy: float | None
    flash: int
    ram: int
    arena: int | None
    arena_bound: int | None
    stack: int | None
    rescaled: int
    counted: float | None
    resolution: int
    layers: tuple[LayerCost, ...]
    part: Part = IDEAL
    network: str = ""
    loops_in_ram: bool = False
    timing: str = ""

    def total(self, what: str) -> float | None:
        """Sum over layers of any of their numbers; None where it is not known."""
        if not self.layers:
            return self.counted if what == "instructions" else None
        values = [getattr(layer, what) for layer in self.layers]
        return None if None in values else sum(values)

    @property
    def label(self) -> str:
        """The rescale, for people."""
        return f"k = {self.rescale}" if isinstance(self.rescale, int) else self.rescale

    @property
    def per_output(self) -> float | None:
        """Modelled cycles of the whole inference per output element that ends in a rescale."""
        spent = self.total("cycles")
        return None if spent is None or not self.rescaled else spent / self.rescaled

    def to_dict(self) -> dict:
        totals = {f"total_{what}": self.total(what) for what in _TOTALS}
        model = {"wait_states": self.part.flash.wait_states, "multiplier_cycles": self.multiplier} | {
            f"{what}_{end}": getattr(values, what)
            for what in ("refill", "divide", "long_multiply", "long_accumulate")
            for end, values in (("least", cycles.LEAST), ("typical", cycles.TYPICAL), ("most", cycles.MOST))
        }
        table = {"no_cycles_because": why_no_cycles(self)} if self.total("cycles") is None else {"cycle_model": model}
        spent = self.total("cycles")
        derived = {
            "label": self.label,
            "cycles_per_rescaled_output": self.per_output,
            "milliseconds": None if spent is None else self.part.milliseconds(spent),
            "layers": [dataclasses.asdict(layer) | {"multiplications_per_cycle": layer.speed} for layer in self.layers],
        }
        return dataclasses.asdict(self) | totals | derived | table


def why_no_cycles(run: Run) -> str:
    """Why a run has no modelled cycles."""
    if run.cpu not in cycles.CORES:
        return f"{run.cpu}: {cycles.WITHOUT_TABLE}"
    return f"{run.engine} counts instructions, but does not tell which; --engine unicorn does"


def measure(
    data: bytes, name: str, cpu: str, rescale: str | int, inputs: Inputs, labels: np.ndarray | None = None,
    folder: pathlib.Path | None = None, toolchain: str = "zig", kernels: str = AUTO, engine: str = "unicorn",
    multiplier: int = 1, part: Part = IDEAL, loops_in_ram: bool = False, timing: str = "",
) -> Run:  # fmt: skip
    """Builds and runs a model.

    Args:
      data: a stock .tflite file.
      name: what to call it.
      cpu: one of firmware.CPUS.
      rescale: "stock" or the width k to narrow to.
      inputs: as `simulate` takes them; of a model that keeps state, one inference after the other.
      labels: class indices [rows] of the first output, or None.
      folder: where C source and ELF file go; None for nowhere.
      toolchain: one of firmware.TOOLCHAINS.
      kernels: those of a core in cores.CORES, or "auto" for those that suit the core.
      engine: one of ENGINES.
      multiplier: cycles of MULS on an M0 or M0+, 1 or 32, an option of the chip; none where the core is for one.
      part: whose flash makes the core wait; engines other than unicorn do not tell.
      loops_in_ram: whether kernels and layers are to run from there.
      timing: of a RISC-V core, a key of `riscv_cycles.TIMINGS`; empty for the first one of its row.

    Raises:
      BuildError: the compiler is missing or fails.
      EngineError: the emulator is missing or fails, or the program would fault on the core.
    """
    stock = rescale == STOCK
    data = data if stock else narrow(data, rescale)[0]
    arithmetic = Tflm() if stock else Narrow(Grid(rescale))
    program = c.translate(data, name, arithmetic, cpu if kernels == AUTO else kernels)
    with tempfile.TemporaryDirectory() as scratch:
        built = firmware.build(program, cpu, folder or pathlib.Path(scratch), toolchain, loops_in_ram=loops_in_ram)
        layers = [program.layer(step) for step in program.steps] or ["firmware_infer"]  # where it only copies
        timing = cycles.timing_name(cpu, timing)
        execution, outputs, expected = _run(
            built, layers, Borders.of(program), engine, data, inputs, arithmetic, part, timing
        )  # fmt: skip
    steps = [_Layer(s.origin.index, s.origin.name, s.output.name, s.multiplications) for s in program.steps]
    steps = steps or [_Layer(0, "INFERENCE", name, 0)]
    return Run(
        name, cpu, rescale, engine, toolchain, _multiplier(cpu, multiplier), _equal(outputs, expected), False,
        len(execution.outputs), _accuracy(outputs[0], labels), built.flash, built.ram, program.arena.size,
        program.arena.lower_bound, execution.stack, _rescaled(data), execution.instructions, execution.resolution,
        _layers(execution, steps, cpu, len(execution.outputs), multiplier, timing), part, silicon.network(data),
        loops_in_ram, timing,
    )  # fmt: skip


def measure_elf(
    path: pathlib.Path, data: bytes, name: str, cpu: str, inputs: Inputs, labels: np.ndarray | None = None,
    engine: str = "unicorn", multiplier: int = 1, part: Part = IDEAL, keeps_state: bool = False, timing: str = "",
) -> Run:  # fmt: skip
    """Runs an ELF file that the user brought, on the same inputs and under the same cycle model.

    Args:
      path: an ELF file for this core that holds to the contract in docs/device.md.
      data: the .tflite file that it is compared with.
      name, cpu, inputs, labels, engine, multiplier, part, timing: as for `measure`.
      keeps_state: whether to reset the program after the inference that is not counted. Only of one that sets itself up
        at reset: the set-up would be counted.

    Raises:
      ModelError: it is no such ELF file, or its input or output is of another size than the model's.
      EngineError: the emulator is missing or fails.
    """
    built = dataclasses.replace(firmware.load(path, cpu), keeps_state=keeps_state)
    problem = misfit(built, data)
    if problem:
        raise ModelError(f"{path}: {problem}")
    borders = borders_of(data)
    timing = cycles.timing_name(cpu, timing)
    execution, outputs, expected = _run(built, ["firmware_infer"], borders, engine, data, inputs, Tflm(), part, timing)
    step = _Layer(0, "INFERENCE", path.stem, multiplications(data))
    return Run(
        name, cpu, path.stem, engine, "", _multiplier(cpu, multiplier), _equal(outputs, expected), True,
        len(execution.outputs), _accuracy(outputs[0], labels), built.flash, built.ram, None, None, execution.stack,
        _rescaled(data), execution.instructions, execution.resolution,
        _layers(execution, [step], cpu, len(execution.outputs), multiplier, timing), part, silicon.network(data),
        timing=timing,
    )  # fmt: skip


def _run(
    built: firmware.Firmware, layers: list[str], borders: Borders, engine: str, data: bytes, inputs: Inputs,
    arithmetic: Arithmetic, part: Part, timing: str,
) -> tuple[Execution, list[np.ndarray], list[np.ndarray]]:  # fmt: skip
    """What an engine gives: also as outputs of the model [rows, elements], beside the simulator's."""
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    rows = len(arrays[0]) // (borders.inputs[0].shape or (1,))[0] if arrays else 1
    run = ENGINES[engine]
    if part.flash.wait_states:
        run = functools.partial(run, flash=part.flash)
    if timing and engine == "unicorn":
        run = functools.partial(run, timing=riscv_cycles.TIMINGS[timing].history)
    execution = run(built, layers, borders.pack(arrays, rows), borders.sizes[1])
    outputs = borders.unpack(execution.outputs)
    expected = [array.reshape(rows, -1) for array in simulate(data, arrays, arithmetic).outputs]
    return execution, outputs, expected


def _equal(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    """Whether arrays are the same bit for bit."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True))


def borders_of(data: bytes) -> Borders:
    """The borders of a .tflite file."""
    graph = parse(data).subgraphs[0]
    return Borders("model", tuple(map(value_of, graph.inputs)), tuple(map(value_of, graph.outputs)))


def misfit(built: firmware.Firmware, data: bytes) -> str:
    """Why an ELF file cannot hold this model: bytes of input and output; empty where it can."""
    for role, needs in zip(("input", "output"), borders_of(data).sizes, strict=True):
        has = built.sizes.get(f"firmware_{role}")
        if has != needs:
            return f"firmware_{role} has {has} bytes, the model's {role} {needs}"
    return ""


def _accuracy(outputs: np.ndarray, labels: np.ndarray | None) -> float | None:
    return None if labels is None else float(np.mean(outputs.argmax(1) == labels))


def _rescaled(data: bytes) -> int:
    operators = parse(data).subgraphs[0].operators
    return sum(math.prod(operator.outputs[0].shape) for operator in operators if operator.name in RESCALED)


@dataclasses.dataclass(frozen=True)
class _Layer:
    """What is known of a layer beforehand."""

    index: int
    op: str
    output: str
    multiplications: int


def multiplications(data: bytes) -> int:
    """Of inputs and weights in an inference of a .tflite file."""
    return sum(step.form.multiplications for step in lower(parse(data), Tflm()).main.steps)


def _multiplier(cpu: str, asked: int) -> int:
    return cycles.multiplier_cycles(cpu, asked) or asked


def _layers(
    execution: Execution, steps: list[_Layer], cpu: str, samples: int, multiplier: int, timing: str
) -> tuple[LayerCost, ...]:
    if execution.blocks is None:
        return ()
    tables = (cycles.TYPICAL, cycles.LEAST, cycles.MOST) if cpu in cycles.CORES else ()
    tables = [dataclasses.replace(assumptions, multiply=multiplier, timing=timing) for assumptions in tables]
    totals = np.zeros((len(steps) + 1, 1 + len(tables)))
    for block in execution.blocks:
        totals[block.layer] += (
            block.entries * cycles.count(block.code, block.address, cpu),
            *(cycles.executed(block, cpu, assumptions) for assumptions in tables),
        )
    held = np.array([dataclasses.astuple(stalls) for stalls in execution.stalls], float)
    for numbers in (totals, held):
        numbers[1] += numbers[0]  # what runs before the first layer
    limit = cycles.most_multiplications(cpu, multiplier, timing) if tables else None
    made = []
    for step, row, stalled in zip(steps, totals[1:] / samples, held[1:] / samples, strict=True):
        stalls = Stalls(*stalled.tolist())
        spent = (row[1:] + stalls.waited + stalls.unaligned + stalls.history).tolist() or [None] * 3
        made.append(
            LayerCost(
                step.index, step.op, step.output, float(row[0]), *spent, step.multiplications, limit, stalls.waited,
                stalls.unaligned, stalls.instruction_misses, stalls.data_misses,
            )
        )  # fmt: skip
    return tuple(made)
