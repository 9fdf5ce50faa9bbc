# SPDX-License-Identifier: Apache-2.0
"""What a rescaler costs in silicon: area, delay and energy with k-bit multipliers, beside TFLM's stock one.

Synthesises the exporter's Verilog blocks by yosys (pip install 'keras-rat[hardware]'): the stock rescaler, of 31 bits
and two roundings, k-bit ones, one of two signed digits (csd2), and one of k = 1 with rounding and zero point in the
accumulator (folded). Without a library it counts LUTs and DSP blocks of iCE40, Xilinx 7 and ECP5, and CMOS transistors;
with a Liberty file also um2, NAND2 equivalents, ns, and pJ a rescale on the accumulators of a model, while the netlist
is held equal to the simulator bit for bit. All of it is before layout: no wires, no clock tree.

Products are made in several ways, and the best one counts, for the stock rescaler as for the others. Results are kept
in OUTPUT/kept, under a hash of all that they depend on: a run that was stopped goes on where it was.

usage: python -m benchmarks.hardware [--liberty FILE.lib] [--model M.tflite] [--quick] [--output DIR] [--jobs N]
       [--bits 16,8,6,4,3,csd2,2,1,folded] [--publish docs]
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import sys

from absl import flags
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import command, plots
from benchmarks.datasets import data_folder
from benchmarks.hardware import accuracy, charts, goals, liberty, measure, report
from benchmarks.hardware.designs import NAMES, QUICK
from benchmarks.hardware.measure import Plan, Task
from benchmarks.hardware.synthesis import Store
from benchmarks.hardware.workload import RANDOM
from tflm_export import UsageError, files

MODEL = "models/tiny__kws_ref_model.tflite"  # of the data folder
VECTORS, QUICK_VECTORS = 1 << 17, 1 << 12
KEPT = "kept"
PAGE = "hardware.md"

_COMMAND = command.Command("hardware", __doc__)
_FLAGS = _COMMAND.flags
_LIBERTY = flags.DEFINE_string(
    "liberty", None, "Standard cells, a .lib file; without it there are no um2, ns and pJ.", flag_values=_FLAGS
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "A .tflite file whose accumulators are rescaled; default: the data folder's keyword spotting, else random ones.",
    flag_values=_FLAGS,
)
_BITS = flags.DEFINE_list("bits", list(NAMES), "Rescalers beside the stock one.", flag_values=_FLAGS)
_QUICK = flags.DEFINE_bool(
    "quick", False, "k = 8, 4 and 1, 32 bits alone, no lanes, few rescales; in a folder of its own.", flag_values=_FLAGS
)
_JOBS = flags.DEFINE_integer("jobs", os.cpu_count(), "Syntheses at a time.", lower_bound=1, flag_values=_FLAGS)
_PUBLISH = flags.DEFINE_string(
    "publish",
    None,
    f"Also write the tables into {PAGE} here, figures and data to results/hardware.",
    flag_values=_FLAGS,
)


def _plan() -> Plan:
    """What the flags ask for.

    Raises:
      UsageError: there is no such rescaler.
    """
    if unknown := [name for name in _BITS.value if name not in NAMES]:
        raise UsageError(f"--bits can be {', '.join(NAMES)}, not {', '.join(unknown)}")
    names = tuple(name for name in NAMES if name in _BITS.value)
    if _QUICK.value:
        quick = names if _FLAGS["bits"].present else QUICK
        return Plan(quick, has_lanes=False, has_narrow=False)
    return Plan(names)


def _model() -> tuple[bytes | None, str]:
    """A model and its name; none where there is no such file to fall back on."""
    if _MODEL.value is not None:
        return files.read(_MODEL.value), pathlib.Path(_MODEL.value).stem
    folder = data_folder()
    if folder is None or not (folder / MODEL).is_file():
        return None, RANDOM
    return (folder / MODEL).read_bytes(), pathlib.Path(MODEL).stem


def _measured(plan: Plan, output: pathlib.Path, console) -> dict:
    """The run, as it is stored."""
    library = None if _LIBERTY.value is None else liberty.read(_LIBERTY.value)
    data, name = _model()
    load = measure.loader(data, name, QUICK_VECTORS if _QUICK.value else VECTORS)
    stock = load(plan.designs[0])
    wanted = measure.tasks(plan.designs, library, load)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("syntheses", total=len(wanted))

        def done(task: Task) -> None:
            progress.update(bar, advance=1, description=task.job.label)

        results = measure.run(wanted, library, Store(output / KEPT), _JOBS.value, done)
    rows = measure.rows(plan.designs, results, library, stock.factors)
    about = _COMMAND.provenance()
    others = {name: version for name, version in about["versions"].items() if name in ("numpy", "python")}
    about["versions"] = {"pyosys": importlib.metadata.version("pyosys"), **others}
    return {
        "kind": "hardware", **about, "model": name, "factors": stock.factors, "workload": stock.source,
        "library": library and library.about, "designs": rows, "goals": _goals(rows, library),
        "accuracy": accuracy.differences(),
    }  # fmt: skip


def _goals(rows: list[dict], library: liberty.Library | None) -> list[dict]:
    """The verdict on goals, which are for one library."""
    return goals.judge(rows) if library is not None and goals.LIBRARY in library.name else []


def _contents(stored: dict) -> dict[str, bytes]:
    """The files of a run by name."""
    return {
        "hardware.json": command.to_json(stored),
        "hardware.csv": report.to_csv(stored).encode(),
        "hardware.md": report.markdown(stored).encode(),
        "hardware.png": plots.png(charts.every(stored), 3),
        "rescaler.png": plots.png(charts.first(stored), 2),
    }


def _publish(contents: dict[str, bytes], folder: pathlib.Path) -> None:
    """Puts tables into the documentation's page, and the rest beside it."""
    place = folder / "results" / "hardware"
    command.make_folder(place)
    written = {str(place / name): content for name, content in contents.items() if name != PAGE}
    page = folder / PAGE
    if page.is_file():
        text = report.between_marks(page.read_text(encoding="utf-8"), contents[PAGE].decode())
        written[str(page)] = text.encode()
    files.write(written)


def _main() -> int:
    plan, console = _plan(), command.console()
    if importlib.util.find_spec("pyosys") is None:
        raise UsageError("synthesis needs pyosys: pip install 'keras-rat[hardware]', or pip install pyosys")
    own = "_quick" if _QUICK.value and not _FLAGS["output"].present else ""
    output = pathlib.Path(_COMMAND.output.value + own)
    stored = _measured(plan, output, console)
    contents = _contents(stored)
    command.make_folder(output)
    files.write({str(output / name): content for name, content in contents.items()})
    if _PUBLISH.value:
        _publish(contents, pathlib.Path(_PUBLISH.value))
    for part in report.parts(stored):
        console.print(report.table(part))
        console.print()
    print(f"{output}: {', '.join(contents)}; {report.PRE_LAYOUT}")
    return command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where a netlist differs from the simulator."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
