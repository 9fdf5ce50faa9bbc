"""A model on an emulated Cortex-M board: accuracy, modelled cycles, instructions, stack, arena and flash.

Narrows the model, writes it as C, builds a bare-metal program, runs it in an emulator and holds its outputs against the
simulator bit for bit. Without --bits, the same kernels run with the stock 31-bit rescale and with k = 8, 4 and 1, so
that what is saved is the rescale alone. Cycles are modelled (benchmarks/cycles.py): published instruction tables, zero
wait states, never a measurement on silicon.

usage: python -m benchmarks.device --model M.tflite --cpu cortex-m0plus [--bits K] [--data NAME|FILE.npz] [--samples N]
       python -m benchmarks.device --suite mlperf_tiny --cpu cortex-m4
"""

import csv
import dataclasses
import io
import json
import math
import pathlib
import sys
import tempfile

import numpy as np
from absl import flags

from benchmarks import cycles, datasets
from benchmarks.emulators import firmware
from benchmarks.emulators.unicorn_engine import Machine
from tflm_export import ModelError, UsageError, c_source, narrow
from tflm_export.cc_array import identifier
from tflm_export.files import read
from tflm_export.flatbuffer.model import parse
from tflm_export.ops.context import Rounding
from tflm_export.simulator import simulate

STOCK = "stock"  # the 31-bit rescale with two roundings
COMPARED = (STOCK, 8, 4, 1)
SUITES = {
    "mlperf_tiny": {
        "AD": "models/tiny__ad01_int8.tflite",
        "KWS": "models/tiny__kws_ref_model.tflite",
        "ResNet8": "models/tiny__pretrainedResnet_quant.tflite",
        "VWW": "models/tiny__vww_96_int8.tflite",
    }
}
RESCALED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN", "QUANTIZE")
ENGINES = ("unicorn",)
AUTO = "auto"
# The kernels that suit a core; the others get the portable ones.
KERNELS = {"cortex-m0": "cortex-m0plus", "cortex-m0plus": "cortex-m0plus"} | dict.fromkeys(
    ("cortex-m4", "cortex-m7", "cortex-m33"), "cortex-m4"
)

_FLAGS = flags.FlagValues()
_MODEL = flags.DEFINE_string("model", None, "An int8 .tflite file.", flag_values=_FLAGS)
_SUITE = flags.DEFINE_enum("suite", None, sorted(SUITES), "Models of the data folder instead.", flag_values=_FLAGS)
_CPU = flags.DEFINE_multi_enum("cpu", ["cortex-m0plus"], firmware.CPUS, "Core, repeatable.", flag_values=_FLAGS)
_BITS = flags.DEFINE_integer("bits", None, "Only this multiplier width, beside the stock rescale.", flag_values=_FLAGS)
_ENGINE = flags.DEFINE_enum("engine", ENGINES[0], ENGINES, "Emulator.", flag_values=_FLAGS)
_TOOLCHAIN = flags.DEFINE_enum(
    "toolchain", firmware.TOOLCHAINS[0], firmware.TOOLCHAINS, "Compiler.", flag_values=_FLAGS
)
_KERNELS = flags.DEFINE_enum(
    "kernels", AUTO, [AUTO, *c_source.CORES], "Whose kernels; auto: those of the core.", flag_values=_FLAGS
)
_SAMPLES = flags.DEFINE_integer("samples", 1, "Inferences to run.", lower_bound=1, flag_values=_FLAGS)
_DATA = flags.DEFINE_string(
    "data", None, "digits, an archive of the data folder, or a file.npz with x_test and y_test.", flag_values=_FLAGS
)
_DIVISOR = flags.DEFINE_float("divisor", 1.0, "Real inputs are the data over this.", flag_values=_FLAGS)
_OUTPUT = flags.DEFINE_string("output", "build/device", "Folder for the results.", flag_values=_FLAGS)


@dataclasses.dataclass(frozen=True)
class Layer:
    """What one operator took in one inference.

    Attributes:
      index, op, output: which operator.
      instructions: executed, mean over inferences.
      cycles, least, most: modelled, with the tables' ranges at their middle and ends; None where there is no table.
    """

    index: int
    op: str
    output: str
    instructions: float
    cycles: float | None
    least: float | None
    most: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A model with one rescale on one core.

    Attributes:
      model, cpu, rescale: what ran; the rescale is "stock" or a width k.
      equal: whether every output equals the simulator's.
      samples: inferences.
      accuracy: top-1 share on labelled data, None without labels.
      flash, ram: bytes of code and constants; of static data, the arena among them.
      arena, arena_bound, stack: bytes; of the plan, what no plan can do without, and the deepest stack.
      rescaled: output elements that end in a rescale.
      layers: in execution order.
    """

    model: str
    cpu: str
    rescale: str | int
    equal: bool
    samples: int
    accuracy: float | None
    flash: int
    ram: int
    arena: int
    arena_bound: int
    stack: int
    rescaled: int
    layers: tuple[Layer, ...]

    def total(self, what: str) -> float | None:
        """Sum over layers of "instructions", "cycles", "least" or "most"."""
        values = [getattr(layer, what) for layer in self.layers]
        return None if None in values else sum(values)

    def to_dict(self) -> dict:
        totals = {f"total_{what}": self.total(what) for what in ("instructions", "cycles", "least", "most")}
        return dataclasses.asdict(self) | totals


def measure(
    data: bytes, name: str, cpu: str, rescale: str | int, inputs: np.ndarray, labels: np.ndarray | None = None,
    folder: pathlib.Path | None = None, toolchain: str = "zig", kernels: str = AUTO,
) -> Run:  # fmt: skip
    """Builds and runs a model.

    Args:
      data: a stock int8 .tflite file.
      name: what to call it.
      cpu: one of firmware.CPUS.
      rescale: "stock" or the width k to narrow to.
      inputs: int8 [rows, ...], in the model's integers.
      labels: class indices [rows], or None.
      folder: where C source and ELF file go; None for nowhere.
      toolchain: one of firmware.TOOLCHAINS.
      kernels: one of c_source.CORES, or "auto" for those that suit the core.
    """
    stock = rescale == STOCK
    bits = 31 if stock else rescale
    rounding = Rounding.TFLM if stock else Rounding.NARROW
    data = data if stock else narrow(data, bits)[0]
    program = c_source.lower(data, name, bits, rounding, KERNELS.get(cpu, "portable") if kernels == AUTO else kernels)
    with tempfile.TemporaryDirectory() as scratch:
        built = firmware.build(program, cpu, folder or pathlib.Path(scratch), toolchain)
        machine = Machine(built, [program.layer(step) for step in program.steps])
        size = math.prod(program.output.shape)
        outputs = np.stack([machine.infer(row, size) for row in inputs])
    expected = simulate(data, inputs, rounding, None if stock else bits).outputs[0].reshape(outputs.shape)
    accuracy = None if labels is None else float(np.mean(outputs.argmax(1) == labels))
    rescaled = sum(math.prod(s.output.shape) for s in program.steps if s.operator.name in RESCALED)
    return Run(
        name, cpu, rescale, bool((outputs == expected).all()), len(inputs), accuracy, built.flash, built.ram,
        program.plan.size, program.plan.lower_bound, machine.stack, rescaled,
        tuple(_layers(program, machine.blocks(), cpu, len(inputs))),
    )  # fmt: skip


def _layers(program: c_source.Program, blocks, cpu: str, samples: int):
    tables = (cycles.TYPICAL, cycles.LEAST, cycles.MOST) if cpu in cycles.CORES else ()
    totals = np.zeros((len(program.steps) + 1, 1 + len(tables)))
    for block in blocks:
        elsewhere = block.entries - block.continued
        totals[block.layer, 0] += block.entries * cycles.count(block.code, block.address)
        for column, assumptions in enumerate(tables, 1):
            cost = cycles.block_cost(block.code, block.address, cpu, assumptions)
            totals[block.layer, column] += block.entries * cost.cycles + elsewhere * cost.taken
    totals[1] += totals[0]  # what runs before the first layer
    for step, row in zip(program.steps, (totals[1:] / samples).tolist(), strict=True):
        modelled = row[1:] or [None] * 3
        yield Layer(step.operator.index, step.operator.name, step.output.name, row[0], *modelled)


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


def inputs_for(data: bytes, samples: int, name: str | None, divisor: float) -> tuple[np.ndarray, np.ndarray | None]:
    """Integer inputs [rows, ...] of a model and their labels; random ones without a data set."""
    tensor = parse(data).subgraphs[0].inputs[0]
    row = tensor.shape[1:]
    if name is None:
        return np.random.default_rng(0).integers(-128, 128, (samples, *row)).astype(np.int8), None
    x, labels = load_data(name, divisor)
    if math.prod(x.shape[1:]) != math.prod(row):
        raise UsageError(f"rows of {name} have shape {list(x.shape[1:])}, the model takes {list(row)}")
    integers = np.rint(x[:samples].reshape(-1, *row) / np.float64(tensor.scale)) + tensor.zero_point
    return np.clip(integers, -128, 127).astype(np.int8), labels[:samples]


def table(runs: list[Run]) -> str:
    """Runs side by side."""
    head = (
        "model",
        "cpu",
        "rescale",
        "top-1",
        "modelled cycles",
        "range",
        "saved",
        "instructions",
        "flash",
        "arena",
        "stack",
    )
    lines = [head]
    for run in runs:
        base = next((r for r in runs if (r.model, r.cpu, r.rescale) == (run.model, run.cpu, STOCK)), None)
        spent = run.total("cycles")
        saved = ""
        if base is not None and base is not run and spent is not None:
            per_output = (base.total("cycles") - spent) / max(1, run.rescaled)
            saved = f"{1 - spent / base.total('cycles'):.1%}, {per_output:.1f} per output"
        lines.append((
            run.model,
            run.cpu,
            run.rescale if run.rescale == STOCK else f"k = {run.rescale}",
            "" if run.accuracy is None else f"{run.accuracy:.2%}",
            "no table" if spent is None else f"{spent / 1e6:.3f} M",
            "" if spent is None else f"{run.total('least') / 1e6:.2f}..{run.total('most') / 1e6:.2f} M",
            saved,
            f"{run.total('instructions') / 1e6:.3f} M",
            str(run.flash),
            str(run.arena),
            f"{run.stack}{'' if run.equal else '  OUTPUTS DIFFER'}",
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def profiler_csv(run: Run) -> str:
    """Modelled cycles by layer in the layout of TFLM's MicroProfiler::LogCsv; instructions where there is no table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    text.write('"Event","Tag","Ticks"\n')
    for event, layer in enumerate(run.layers):
        writer.writerow([event, layer.op, round(layer.instructions if layer.cycles is None else layer.cycles)])
    return text.getvalue()


def chart(runs: list[Run], path: pathlib.Path) -> None:
    """Bars by layer, one colour a rescale."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(max(6, 0.6 * len(runs[0].layers)), 4), layout="constrained")
    width = 0.8 / len(runs)
    what = "instructions" if runs[0].total("cycles") is None else "cycles"
    for i, run in enumerate(runs):
        label = "stock rescale" if run.rescale == STOCK else f"k = {run.rescale}"
        heights = [getattr(layer, what) / 1e6 for layer in run.layers]
        axes.bar(np.arange(len(heights)) + i * width, heights, width, label=label)
    axes.set_xticks(np.arange(len(runs[0].layers)) + 0.4 - width / 2)
    axes.set_xticklabels([f"{layer.index} {layer.op.lower()}" for layer in runs[0].layers], rotation=60, ha="right")
    axes.set_ylabel(f"{'modelled ' if what == 'cycles' else ''}{what}, millions")
    axes.set_title(f"{runs[0].model}, {runs[0].cpu}")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _models() -> dict[str, bytes]:
    if (_MODEL.value is None) == (_SUITE.value is None):
        raise UsageError("give either --model or --suite")
    if _MODEL.value is not None:
        return {identifier(_MODEL.value): read(_MODEL.value)}
    folder = datasets.data_folder()
    if folder is None:
        raise UsageError(f"--suite needs the data folder; set ${datasets.DATA_VARIABLE}")
    return {name: read(str(folder / path)) for name, path in SUITES[_SUITE.value].items()}


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where outputs differ from the simulator's."""
    positional = _FLAGS(argv)[1:]
    if positional:
        raise UsageError(f"unexpected arguments: {' '.join(positional)}")
    output = pathlib.Path(_OUTPUT.value)
    rescales = COMPARED if _BITS.value is None else (STOCK, _BITS.value)
    every = []
    for name, data in _models().items():
        inputs, labels = inputs_for(data, _SAMPLES.value, _DATA.value, _DIVISOR.value)
        for cpu in _CPU.value:
            runs = []
            for rescale in rescales:
                folder = output / f"{name}_{cpu}_{rescale if rescale == STOCK else f'k{rescale}'}"
                runs.append(measure(data, name, cpu, rescale, inputs, labels, folder, _TOOLCHAIN.value, _KERNELS.value))
                (folder / "layers.csv").write_text(profiler_csv(runs[-1]))
            chart(runs, output / f"{name}_{cpu}.png")
            every += runs
            print(table(runs), flush=True)
    (output / "report.json").write_text(json.dumps([run.to_dict() for run in every], indent=1) + "\n")
    print(f"{output}: C source, ELF files, layers.csv, report.json and charts; cycles are modelled, zero wait states")
    return 0 if all(run.equal for run in every) else 1


def run() -> None:
    try:
        sys.exit(main(sys.argv))
    except (UsageError, ModelError, flags.Error, firmware.BuildError) as error:
        print(f"device: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
