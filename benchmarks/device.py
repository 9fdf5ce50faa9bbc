# SPDX-License-Identifier: Apache-2.0
"""A model on an emulated Cortex-M or RISC-V board: accuracy, modelled cycles, instructions, stack, arena and flash.

Narrows the model, writes it as C, builds a bare-metal program, runs it in an emulator and holds its outputs against the
simulator bit for bit. Without --bits, the same kernels run with the stock 31-bit rescale and with k = 8, 4 and 1, so
that what is saved is the rescale alone. Cycles are modelled (benchmarks/cycles.py): published instruction tables, and
flash as fast as the core unless --part or --flash_wait_states say otherwise; never a measurement on silicon.

usage: python -m benchmarks.device --model M.tflite --cpu cortex-m0plus [--bits K] [--data NAME|FILE.npz] [--samples N]
       python -m benchmarks.device --suite mlperf_tiny --cpu cortex-m4 --toolchain zig --toolchain gcc
       python -m benchmarks.device --model M.tflite --cpu cortex-m4 --compare tflm.elf
       python -m benchmarks.device --model M.tflite --cpu rv32imc --timing ibex --timing hazard3
       python -m benchmarks.device --model M.tflite --part stm32l4plus
       python -m benchmarks.device --model M.tflite --cpu cortex-m4 --flash_wait_states 5 --flash_line_bytes 16 \
           --cache_bytes 1024 --data_cache_bytes 256
       python -m benchmarks.device --rescale_only --cpu cortex-m0plus --cpu cortex-m4
"""

import dataclasses
import math
import pathlib
import sys

import numpy as np
from absl import flags

from benchmarks import (
    command,
    cycles,
    datasets,
    device_report,
    natural_inputs,
    parts,
    plots,
    rescale_cost,
    riscv_cycles,
    silicon,
)
from benchmarks.device_report import profiler_csv, table
from benchmarks.device_runs import AUTO, ENGINES, STOCK, Run, measure, measure_elf, misfit
from benchmarks.emulators import firmware, flash
from benchmarks.emulators.execution import EngineError
from tflm_export import UsageError, cores, files, verify
from tflm_export.flatbuffer.model import parse

__all__ = ["STOCK", "Run", "inputs_for", "load_data", "main", "measure", "measure_elf", "profiler_csv", "table"]

WIDTH = 200  # of the table, where it is not for a terminal
COMPARED = (STOCK, 8, 4, 1)
SUITES = {
    "mlperf_tiny": {
        "AD": "models/tiny__ad01_int8.tflite",
        "KWS": "models/tiny__kws_ref_model.tflite",
        "ResNet8": "models/tiny__pretrainedResnet_quant.tflite",
        "VWW": "models/tiny__vww_96_int8.tflite",
    }
}

_COMMAND = command.Command("device", __doc__, errors=(firmware.BuildError, EngineError))
_FLAGS = _COMMAND.flags
_MODEL = flags.DEFINE_string("model", None, "A .tflite file.", flag_values=_FLAGS)
_SUITE = flags.DEFINE_enum("suite", None, sorted(SUITES), "Models of the data folder instead.", flag_values=_FLAGS)
_CPU = flags.DEFINE_multi_enum("cpu", ["cortex-m0plus"], firmware.CPUS, "Core, repeatable.", flag_values=_FLAGS)
_BITS = flags.DEFINE_integer("bits", None, "Only this multiplier width, beside the stock rescale.", flag_values=_FLAGS)
_ENGINE = flags.DEFINE_enum(
    "engine", "unicorn", list(ENGINES), "Emulator; only unicorn tells layers and cycles.", flag_values=_FLAGS
)
_TOOLCHAIN = flags.DEFINE_multi_enum(
    "toolchain", [firmware.TOOLCHAINS[0]], firmware.TOOLCHAINS, "Compiler, repeatable.", flag_values=_FLAGS
)
_KERNELS = flags.DEFINE_enum(
    "kernels", AUTO, [AUTO, *cores.NAMES], "Whose kernels; auto: those of the core.", flag_values=_FLAGS
)
_MULTIPLIER = flags.DEFINE_enum(
    "multiplier_cycles", "1", ["1", "32"], "Cycles of MULS on an M0 or M0+, an option of the chip.", flag_values=_FLAGS
)
_TIMING = flags.DEFINE_multi_enum(
    "timing", [], sorted(riscv_cycles.TIMINGS), "Whose cycles a RISC-V core is modelled with, repeatable.",
    flag_values=_FLAGS,
)  # fmt: skip
_PART = flags.DEFINE_enum(
    "part", None, sorted(parts.PARTS), "Microcontroller: core, clock and flash; the next seven flags replace its own.",
    flag_values=_FLAGS,
)  # fmt: skip
_WAITS = {
    "wait_states": flags.DEFINE_integer(
        "flash_wait_states", None, "Cycles that a read of flash takes beyond its first.", 0, flag_values=_FLAGS
    ),
    "line_bytes": flags.DEFINE_integer(
        "flash_line_bytes", None, "Bytes of a read of flash, a power of two.", 0, flag_values=_FLAGS
    ),
    "cache_bytes": flags.DEFINE_integer(
        "cache_bytes", None, "Bytes of the cache of instructions.", 0, flag_values=_FLAGS
    ),
    "data_cache_bytes": flags.DEFINE_integer(
        "data_cache_bytes", None, "Bytes of the cache of constants.", 0, flag_values=_FLAGS
    ),
    "ways": flags.DEFINE_integer(
        "cache_ways", None, "Lines of which an address has the choice, 0 for all.", 0, flag_values=_FLAGS
    ),
    "is_shared": flags.DEFINE_bool(
        "shared_cache", None, "Keep constants in the cache of instructions.", flag_values=_FLAGS
    ),
    "prefetch": flags.DEFINE_bool(
        "prefetch", None, "Read the next line of instructions ahead of its use.", flag_values=_FLAGS
    ),
}
_LOOPS_IN_RAM = flags.DEFINE_bool(
    "loops_in_ram", False, "Run kernels and layers from RAM, which does not wait.", flag_values=_FLAGS
)
_COMPARE = flags.DEFINE_multi_string(
    "compare",
    [],
    "An ELF file to run on the same inputs, repeatable; docs/device.md says what symbols it must have.",
    flag_values=_FLAGS,
)
_RESCALE_ONLY = flags.DEFINE_bool(
    "rescale_only", False, "No model: what one rescale and clamp takes.", flag_values=_FLAGS
)
_SAMPLES = flags.DEFINE_integer("samples", 1, "Inferences to run.", lower_bound=1, flag_values=_FLAGS)
_DATA = flags.DEFINE_string(
    "data", None, "digits, an archive of the data folder, or a file.npz with x_test and y_test.", flag_values=_FLAGS
)
_DIVISOR = flags.DEFINE_float("divisor", 1.0, "Real inputs are the data over this.", flag_values=_FLAGS)


def load_data(name: str, divisor: float) -> tuple[np.ndarray, np.ndarray]:
    """Test rows and labels.

    Raises:
      UsageError: there is no such data.
    """
    if name == "digits":
        rows = datasets.digits()
        return rows.x_test / divisor, rows.y_test
    path, folder = pathlib.Path(name), datasets.data_folder()
    if not path.is_file() and folder is not None:
        path = folder / "data" / f"{name}.npz"
    if not path.is_file():
        known = sorted(p.stem for p in (folder / "data").glob("*.npz")) if folder else []
        raise UsageError(f"no data {name!r}; give a file.npz, or one of {', '.join(['digits', *known])}")
    with np.load(path) as arrays:
        for x, y in (("x_test", "y_test"), ("images", "labels"), ("x", "y")):
            if x in arrays and y in arrays:
                return arrays[x].astype(np.float32) / divisor, arrays[y].astype(np.int64)
    raise UsageError(f"{path} has neither x_test and y_test nor images and labels")


def inputs_for(
    data: bytes, samples: int, name: str | None, divisor: float
) -> tuple[np.ndarray | list[np.ndarray], np.ndarray | None]:
    """Inputs of a model as `simulate` takes them, and their labels; random ones without a data set.

    Raises:
      UsageError: there is no such data, or it does not fit the model.
    """
    model = parse(data)
    tensors = model.subgraphs[0].inputs
    if name is None:
        if [tensor.type for tensor in tensors] != ["INT8"]:
            return verify.random_inputs(model, samples), None
        shape = (samples * (tensors[0].shape or (1,))[0], *tensors[0].shape[1:])
        return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8), None
    if len(tensors) != 1:
        raise UsageError(f"the model has {len(tensors)} inputs; leave out --data, and it gets random ones")
    x, labels = load_data(name, divisor)
    row = tensors[0].shape[1:]
    if math.prod(x.shape[1:]) != math.prod(row):
        raise UsageError(f"rows of {name} have shape {list(x.shape[1:])}, the model takes {list(row)}")
    x, labels = x[:samples].reshape(-1, *row), labels[:samples]
    return natural_inputs.quantised(tensors[0], x), labels


def _part() -> parts.Part:
    """--part, with what other flags say of its flash."""
    part = parts.PARTS.get(_PART.value, parts.IDEAL)
    if part.cpu and _CPU.present and _CPU.value != [part.cpu]:
        raise UsageError(f"--part {part.name} has a {part.cpu}; leave out --cpu {' '.join(_CPU.value)}")
    given = {field: flag.value for field, flag in _WAITS.items() if flag.value is not None}
    if not given.get("wait_states", part.flash.wait_states) and given.keys() == {"wait_states"}:
        return dataclasses.replace(part, flash=flash.NO_WAIT)
    return dataclasses.replace(part, flash=dataclasses.replace(part.flash, **given))


def _cpus() -> list[str]:
    part = _part()
    return [part.cpu] if part.cpu else _CPU.value


def _models() -> dict[str, bytes]:
    if (_MODEL.value is None) == (_SUITE.value is None):
        raise UsageError("give either --model or --suite")
    if _MODEL.value is not None:
        return {pathlib.Path(_MODEL.value).stem: files.read(_MODEL.value)}
    folder = datasets.data_folder()
    if folder is None:
        raise UsageError(f"--suite needs the data folder; set ${datasets.DATA_VARIABLE}")
    return {name: files.read(str(folder / path)) for name, path in SUITES[_SUITE.value].items()}


def _brought(models: dict[str, bytes]) -> dict[tuple[str, str], list[pathlib.Path]]:
    """The ELF files of --compare by model and core: those built for the core, with input and output of its sizes."""
    placed: dict[tuple[str, str], list[pathlib.Path]] = {}
    for path in map(pathlib.Path, _COMPARE.value):
        cores = firmware.cores(path)
        cpus = [cpu for cpu in _cpus() if cpu in cores or not cores]
        if not cpus:
            raise UsageError(f"{path} was built for {' or '.join(cores)}; add that as --cpu, or leave it out")
        problems = {name: misfit(firmware.load(path, cpus[0]), data) for name, data in models.items()}
        names = [name for name, problem in problems.items() if not problem]
        if not names:
            reasons = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
            raise UsageError(f"{path} holds none of these models: {reasons}")
        for name in names:
            for cpu in cpus:
                placed.setdefault((name, cpu), []).append(path)
    return placed


def _main() -> int:
    output, console = _COMMAND.folder, command.console(WIDTH)
    if _RESCALE_ONLY.value:
        return _rescale_only(output, console)
    if _part().flash.wait_states and _ENGINE.value != "unicorn":
        raise UsageError(f"--engine {_ENGINE.value} does not tell what waits for flash; --engine unicorn does")
    models = _models()
    brought = _brought(models)
    every = []
    for name, data in models.items():
        inputs, labels = inputs_for(data, _SAMPLES.value, _DATA.value, _DIVISOR.value)
        for cpu, timing in _timed(_cpus()):
            runs = []
            for toolchain in _TOOLCHAIN.value:
                runs += _rescales(data, name, cpu, toolchain, inputs, labels, output, timing)
            for path in brought.get((name, cpu), []):
                runs.append(
                    measure_elf(
                        path, data, name, cpu, inputs, labels, _ENGINE.value, int(_MULTIPLIER.value), _part(),
                        timing=timing,
                    )
                )  # fmt: skip
            every += runs
            console.print(table(runs))
            _print_details(runs, console)
    stored = {"kind": "device", **_COMMAND.provenance(), "runs": [run.to_dict() for run in every]}
    files.write({str(output / "report.json"): command.to_json(stored)})
    print(f"{output}: C source, ELF files, layers.csv, report.json and charts; cycles are modelled, {_conditions()}")
    return command.EXIT_OK if all(run.equal or run.brought for run in every) else command.EXIT_MODEL


def _print_details(runs: list[Run], console) -> None:
    """Layers of the narrowest of one's own runs, and what others measured on silicon."""
    own = [run for run in runs if not run.brought]
    for made in (device_report.layers_table(own[-1]), silicon.table(own[-1].network, own[-1].cpu)):
        if made is not None:
            console.print()
            console.print(made)
    console.print()


def _timed(cpus: list[str]) -> list[tuple[str, str]]:
    """Each core with each timing that it has: "" but of a RISC-V core."""
    if _TIMING.value and not any(cores.find(cpu).isa == "riscv" for cpu in cpus):
        raise UsageError(f"--timing is of RISC-V cores; --cpu is {' '.join(cpus)}")
    return [
        (cpu, timing)
        for cpu in cpus
        for timing in (_TIMING.value or [cycles.timing_name(cpu)] if cores.find(cpu).isa == "riscv" else [""])
    ]


def _rescales(
    data: bytes, name: str, cpu: str, toolchain: str, inputs, labels, output: pathlib.Path, timing: str
) -> list[Run]:  # fmt: skip
    """All rescales by one compiler, with their files."""
    runs, core = [], f"{cpu}_{timing}" if timing else cpu
    for rescale in COMPARED if _BITS.value is None else (STOCK, _BITS.value):
        folder = output / f"{name}_{core}_{toolchain}_{rescale if rescale == STOCK else f'k{rescale}'}"
        runs.append(
            measure(
                data, name, cpu, rescale, inputs, labels, folder, toolchain, _KERNELS.value, _ENGINE.value,
                int(_MULTIPLIER.value), _part(), _LOOPS_IN_RAM.value, timing,
            )
        )  # fmt: skip
        if runs[-1].layers:
            (folder / "layers.csv").write_text(profiler_csv(runs[-1]))
    if runs[0].layers:
        (output / f"{name}_{core}_{toolchain}.png").write_bytes(plots.png([device_report.chart(runs)]))
    return runs


def _conditions() -> str:
    small = {cycles.multiplier_cycles(cpu, int(_MULTIPLIER.value)) for cpu in _cpus()} - {None}
    return describe(_part()) + (f", MULS {' or '.join(map(str, sorted(small)))} cycle(s)" if small else "")


def describe(part: parts.Part) -> str:
    """A part's flash, for people."""
    memory = part.flash
    if not memory.wait_states:
        return "zero wait states"
    shared = " of instructions and constants" if memory.is_shared else ""
    cached = [
        f"{memory.cache_bytes} bytes of cache{shared}" if memory.cache_bytes else "",
        f"{memory.data_cache_bytes} of data cache" if memory.data_cache_bytes else "",
        "prefetch" if memory.prefetch else "",
    ]
    text = ", ".join([f"{memory.wait_states} wait states a line of {memory.line_bytes} bytes", *filter(None, cached)])
    return f"{part.title}: {text}" if part.title else text


def _rescale_only(output: pathlib.Path, console) -> int:
    costs = [
        cost
        for cpu in _cpus()
        for toolchain in _TOOLCHAIN.value
        for cost in rescale_cost.measure(cpu, toolchain, int(_MULTIPLIER.value))
    ]
    console.print(rescale_cost.table(costs))
    files.write({str(output / "rescale.json"): command.to_json([dataclasses.asdict(cost) for cost in costs])})
    print(f"{output}/rescale.json; cycles are modelled, {_conditions()}")
    return command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where outputs differ from the simulator's."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
