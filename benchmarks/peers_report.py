# SPDX-License-Identifier: Apache-2.0
"""Results of `benchmarks.peers` for people and for other programs: tables, CSV, a figure; the smallest gain first.

Results are those of its files: by model and core, `tflm` and `c` with `stock` and the width as text; figures of a side
are `cycles`, `flash`, `code`, `ram`, `stack`, `equal`, or there is a `reason` why there are none.
"""

import collections
import csv
import dataclasses
import io

import numpy as np
from rich.table import Table

from benchmarks import command, plots
from benchmarks.device_runs import STOCK
from tflm_export import cores

FORM = "as int8"  # behind the name of a model that had another type
UNCHANGED = "stock"  # behind the name of one in which there is nothing to narrow
NO_C = "there is no C"  # begins the reason of models that have none
NETWORK = 3  # layers from which on a model is counted as a network, not as the test of an operator
_WHY_NO_C = "there is no C of them; [the corpus](corpus.md) and [its C](c_corpus.md) say why"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A model on both sides on a core.

    Attributes:
      model: its name.
      tflm, stock, narrow: figures of TFLM, of the stock C and of the narrowed one; of a model with nothing to narrow,
        that is the stock one.
    """

    model: str
    tflm: dict
    stock: dict
    narrow: dict

    @property
    def ratio(self) -> float:
        """How many times the narrowed C's cycles TFLM takes."""
        return self.tflm["cycles"] / self.narrow["cycles"]

    @property
    def stock_ratio(self) -> float:
        """The same of the stock C, which computes what TFLM computes."""
        return self.tflm["cycles"] / self.stock["cycles"]

    @property
    def label(self) -> str:
        """The model, and how it ran."""
        notes = [FORM] if self.tflm.get("converted") else []
        notes += [UNCHANGED] if self.narrow is self.stock else []
        return ", ".join([self.model, *notes])


def pairs(results: dict[str, dict], cpu: str, bits: int) -> list[Pair]:
    """Models that ran on both sides, those that win least first."""
    found = []
    for name, result in results.items():
        cell = result.get(cpu, {})
        tflm, stock, narrow = (cell.get("tflm", {}), *(cell.get("c", {}).get(key, {}) for key in (STOCK, str(bits))))
        if "cycles" in tflm and "cycles" in stock:
            found.append(Pair(name, tflm, stock, narrow if "cycles" in narrow else stock))
    return sorted(found, key=lambda pair: (pair.ratio, pair.model))


def left_out(results: dict[str, dict], cpu: str, bits: int) -> dict[str, str]:
    """Why models are not among the pairs, by name."""
    there = {pair.model for pair in pairs(results, cpu, bits)}
    return {name: _reason(result, cpu) for name, result in sorted(results.items()) if name not in there}


def _reason(result: dict, cpu: str) -> str:
    cell = result.get(cpu, {})
    for side in (result, cell.get("tflm", {}), cell.get("c", {}).get(STOCK, {})):
        if "reason" in side:
            return side["reason"]
    return result.get("problem", "not measured")


def geometric_mean(values: list[float]) -> float:
    """Of ratios; 1 where there are none."""
    return float(np.exp(np.mean(np.log(values)))) if values else 1.0


def _head(bits: int, title: str) -> tuple[str, ...]:
    return (
        "model", f"{title}, M cycles", "stock C", f"k = {bits}", "stock, times fewer", f"k = {bits}, times fewer",
        "flash, kB: TFLM", "C", "RAM, kB: TFLM", "C", "TFLM = simulator",
    )  # fmt: skip


def _row(pair: Pair) -> tuple[str, ...]:
    sides = (pair.tflm, pair.narrow)
    flash = [f"{side['flash'] / 1e3:.1f}" for side in sides]
    ram = [f"{_ram(side) / 1e3:.1f}" for side in sides]
    cycles = [f"{side['cycles'] / 1e6:.3f}" for side in (pair.tflm, pair.stock, pair.narrow)]
    equal = "yes" if pair.tflm["equal"] else "no"
    return (
        pair.label, *cycles, f"{pair.stock_ratio:.2f}", f"{pair.ratio:.2f}", flash[0], flash[1], ram[0], ram[1], equal,
    )  # fmt: skip


def _ram(side: dict) -> int:
    return side["ram"] + (side["stack"] or 0)


def _title(results: dict[str, dict], cpu: str) -> str:
    titles = (result[cpu]["title"] for result in results.values() if "title" in result.get(cpu, {}))
    return next(titles, "TFLM")


def table(results: dict[str, dict], cpu: str, bits: int) -> Table:
    """The pairs of a core, for a terminal."""
    rows = [_row(pair) for pair in pairs(results, cpu, bits)]
    title = cores.find(cpu).title
    return command.table(_head(bits, _title(results, cpu)), rows, 1, title=title, box=None, pad_edge=False)


@dataclasses.dataclass(frozen=True)
class Made:
    """How results were made, for the page.

    Attributes:
      cpus: the cores, a table each.
      bits: width of the narrowed C.
      toolchain: its compiler.
      conditions: of the cycle model.
      command: the command line.
      about: what the library is that was brought; empty where nobody says.
    """

    cpus: tuple[str, ...]
    bits: int
    toolchain: str
    conditions: str
    command: str
    about: str = ""


def markdown(results: dict[str, dict], made: Made) -> str:
    """The page."""
    cpus, bits = made.cpus, made.bits
    text = [
        f"""# TFLM beside C

Made by `{made.command}`: each model in TensorFlow Lite Micro, and as the C that `--c_source` writes, stock and at
k = {bits}. The models with the smallest gain come first.

- **Cycles** are modelled by [the device harness](device.md), {made.conditions}; mean over the same inputs on both
  sides: photographs, test rows or speech where it is known what a model was made for, else random ones.
- **TFLM** is the library that `--tflm_dir` holds{f" ({made.about})" if made.about else ""}, in an
  [application of its own](tflm.md#beside-c) for each model.
- **C** is built by {made.toolchain} -O2. Both sides stand in the same firmware.
- **Flash** is code and constants, the model among them. **RAM** is static data, with an arena no larger than needed and
  the firmware's arrays for input and output, and the stack at its deepest.
- **TFLM = simulator**: whether every output is what `simulate(model, inputs, "tflm")` gives. C always gives what the
  simulator gives; where it did not, it would be said here.
- **{FORM}**: TFLM does not take the model as it is; on both sides it runs as `--to_int8` writes it. **{UNCHANGED}**:
  there is nothing to narrow in it.

![Times fewer cycles than TFLM](results/peers.png)
"""
    ]
    for cpu in cpus:
        text += _section(results, cpu, bits)
    return "\n".join(text) + "\n"


def _means(found: list[Pair]) -> str:
    """What models win in the geometric mean: narrowed, and stock."""
    ratios, stock = [pair.ratio for pair in found], [pair.stock_ratio for pair in found]
    return f"{geometric_mean(ratios):.2f} ({geometric_mean(stock):.2f} with the stock rescale)"


def _section(results: dict[str, dict], cpu: str, bits: int) -> list[str]:
    found, title = pairs(results, cpu, bits), _title(results, cpu)
    networks = [pair for pair in found if len(pair.stock["layers"]) >= NETWORK]
    slower = [f"{pair.label} ({pair.ratio:.2f})" for pair in found if pair.ratio < 1]
    larger = [pair.label for pair in found if pair.narrow["flash"] > pair.tflm["flash"]]
    more_ram = [pair.label for pair in found if _ram(pair.narrow) > _ram(pair.tflm)]
    wrong = [pair.label for pair in found if not (pair.stock["equal"] and pair.narrow["equal"])]
    text = [
        f"## {cores.find(cpu).title}",
        "",
        f"{len(found)} models run on both sides. Times fewer cycles than {title}, geometric mean: {_means(found)}; of "
        f"the {len(networks)} networks of {NETWORK} layers or more, {_means(networks)}. Slower: "
        f"{', '.join(slower) or 'none'}. More flash: {', '.join(larger) or 'none'}. More RAM: "
        f"{', '.join(more_ram) or 'none'}.",
        *([f"C that differs from the simulator: {', '.join(wrong)}."] if wrong else []),
        "",
        *_table(_head(bits, title), [_row(pair) for pair in found]),
        "",
    ]
    reasons = collections.defaultdict(list)
    for name, reason in left_out(results, cpu, bits).items():
        reasons[_WHY_NO_C if reason.startswith(NO_C) else reason].append(name)
    if reasons:
        rows = [(", ".join(names), reason) for reason, names in reasons.items()]
        text += ["Not compared:", "", *_table(("models", "why"), rows), ""]
    return text


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


_FIELDS = ("cycles", "least", "most", "instructions", "flash", "code", "ram", "stack", "arena", "equal", "reason")


def to_csv(results: dict[str, dict]) -> str:
    """A line for each model, core and side."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "cpu", "program", "converted", "inputs", *_FIELDS))
    for name, result in sorted(results.items()):
        for cpu, cell in result.items():
            if not isinstance(cell, dict):
                continue
            tflm = cell.get("tflm", {})
            for program, side in {"tflm": tflm, **cell.get("c", {})}.items():
                values = [side.get(field, "") for field in _FIELDS]
                writer.writerow((name, cpu, program, tflm.get("converted", False), tflm.get("rows", ""), *values))
    return text.getvalue()


def figure(results: dict[str, dict], cpus: list[str], bits: int) -> bytes | None:
    """Bars of how many times fewer cycles the C takes, a panel a core; None where nothing ran on both sides."""
    charts = []
    for cpu in cpus:
        found, title = pairs(results, cpu, bits), f"{cores.find(cpu).title}: cycles of {_title(results, cpu)}"
        series = {"stock": [pair.stock_ratio for pair in found], f"k = {bits}": [pair.ratio for pair in found]}
        if found:
            charts.append(plots.speedup_chart(title, "times those of C", [pair.label for pair in found], series))
    return plots.png(charts, len(charts)) if charts else None
