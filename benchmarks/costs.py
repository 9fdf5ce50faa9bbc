# SPDX-License-Identifier: Apache-2.0
"""Measures what the parts of the kernels take, for the cost model of the exporter (tflm_export/c/cost.py).

Layers of random sizes are computed in every way there are kernels for, on emulated cores, and the counts of each
kernel's loops are fitted to its modelled cycles (least squares of relative errors, no part below 0). Other layers,
drawn apart, say how far off the model is, and what its choices cost. `--write` puts the table beside the model.

usage: python -m benchmarks.costs [--cpu cortex-m4] [--seed N] [--write]
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from absl import flags
from rich.table import Table
from scipy import optimize

from benchmarks import command
from benchmarks.cost_samples import Sample, samples
from benchmarks.emulators import firmware
from tflm_export import files
from tflm_export.c import cost

CPUS = ("cortex-m4", "cortex-m0plus")
FITTED, HELD_OUT = 14, 6  # layers of each kind and end
_TABLE = pathlib.Path(cost.__file__).with_name("cost_table.json")

_COMMAND = command.Command("costs", __doc__, errors=(firmware.BuildError,))
_CPU = flags.DEFINE_multi_enum("cpu", CPUS, CPUS, "Core, repeatable.", flag_values=_COMMAND.flags)
_WRITE = flags.DEFINE_bool(
    "write", False, "Writes the table of the exporter; of all cores.", flag_values=_COMMAND.flags
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the layers.", flag_values=_COMMAND.flags)


def fit(found: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Cycles and bytes of each part of a kernel: least squares of relative errors, none below 0.

    What ends in 64 bits takes as long as its numbers have it, on cores that multiply in 32; such layers tell what their
    ends take, but nothing of other parts.
    """
    exact, wide = ([s for s in found if is_wide(s.work) == flag] for flag in (False, True))
    parts = _solved([s.work.counts for s in exact], [s.cycles for s in exact], {})
    parts |= _solved([s.work.counts for s in wide], [s.cycles for s in wide], parts)
    own = {cost.LAYER: round(float(np.mean([s.own for s in found])))}
    shared = [{part: n for part, n in s.work.code.items() if part != cost.LAYER} for s in found]
    return {"cycles": parts, "bytes": own | _solved(shared, [s.shared for s in found], {})}


def is_wide(work: cost.Work) -> bool:
    """Whether its ends take 64 bits."""
    return any(not {"wide", "sums"}.isdisjoint(part.split()) for part in work.counts)


def _solved(counted: list[Mapping[str, float]], spent: list[float], known: dict[str, float]) -> dict[str, float]:
    """The parts that are not known yet, where the others are."""
    parts = list(dict.fromkeys(part for counts in counted for part in counts if part not in known))
    if not parts:
        return {}
    whole = np.array(spent, np.float64)
    rest = 1 - np.array([cost.total(counts, known) for counts in counted]) / whole
    rows = np.array([[counts.get(part, 0) for part in parts] for counts in counted], np.float64)
    solution, _ = optimize.nnls(rows / whole[:, None], rest, maxiter=100 * len(parts))
    return {part: round(float(value), 3) for part, value in zip(parts, solution, strict=True)}


def by_kernel(found: Sequence[Sample]) -> dict[str, list[Sample]]:
    grouped: dict[str, list[Sample]] = {}
    for sample in found:
        grouped.setdefault(sample.work.kernel, []).append(sample)
    return dict(sorted(grouped.items()))


def errors(found: Sequence[Sample], parts: dict[str, dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors of the modelled cycles and of the bytes, [samples] each."""
    cycles = [cost.total(sample.work.counts, parts["cycles"]) / sample.cycles for sample in found]
    code = [cost.total(sample.work.code, parts["bytes"]) / (sample.own + sample.shared) for sample in found]
    return np.array(cycles) - 1, np.array(code) - 1


def regret(found: Sequence[Sample], model: Mapping[str, dict]) -> tuple[int, int, float]:
    """What choosing by the model costs: layers with a choice, those whose way was not the fastest, and the share of
    cycles more than the fastest ways of these layers take."""
    choices: dict[int, list[Sample]] = {}
    for sample in found:
        choices.setdefault(sample.layer, []).append(sample)
    several = [ways for ways in choices.values() if len(ways) > 1]
    taken = [
        min(ways, key=lambda s: cost.total(s.work.counts, model[s.work.kernel]["cycles"])).cycles for ways in several
    ]
    best = [min(sample.cycles for sample in ways) for ways in several]
    worse = sum(t > b for t, b in zip(taken, best, strict=True))
    return len(several), worse, sum(taken) / max(1, sum(best)) - 1


def _main() -> int:
    console, folder = command.console(), _COMMAND.folder
    rows: dict[str, dict] = {}
    choices = {}
    for cpu in _CPU.value:
        fitted = by_kernel(samples(cpu, 2 * _SEED.value, FITTED))
        others = [s for s in samples(cpu, 2 * _SEED.value + 1, HELD_OUT) if s.work.kernel in fitted]
        apart = by_kernel(others)
        for kernel, found in fitted.items():
            rows[kernel] = {"core": cpu} | _row(found, apart.get(kernel, []))
        choices[cpu] = regret(others, rows)
    stored = _COMMAND.provenance() | {"compiler": "zig -O2", "kernels": rows, "choices": choices}
    text = command.to_json(stored)
    if _WRITE.value and set(_CPU.value) == set(CPUS):
        files.write({str(_TABLE): text})
    files.write({str(folder / "cost_table.json"): text})
    console.print(_table(rows))
    for cpu, (several, worse, more) in choices.items():
        console.print(
            f"{cpu}: of {several} layers with a choice, {worse} not in the fastest way; {100 * more:.2f}% more cycles"
        )
    return command.EXIT_OK


def _row(found: list[Sample], apart: list[Sample]) -> dict:
    """A kernel of the table, and how far it is off."""
    parts = fit(found)
    exact = [sample for sample in apart if not is_wide(sample.work)]
    off, size_off = (np.abs(e) for e in errors(exact or apart or found, parts))
    return parts | {
        "layers": len(found), "held_out": len(exact), "mean": round(float(off.mean()), 4),
        "worst": round(float(off.max()), 4), "worst_bytes": round(float(size_off.max()), 4),
    }  # fmt: skip


def _table(rows: dict[str, dict]) -> Table:
    """How far the model is off, the worst kernel first; ends in 64 bits aside."""
    heads = ("kernel", "layers", "others", "mean error %", "worst %", "of bytes %")
    table = Table(*heads, title="Cost model beside the emulator")
    for kernel, row in sorted(rows.items(), key=lambda item: -item[1]["worst"]):
        shares = (f"{100 * row[key]:.2f}" for key in ("mean", "worst", "worst_bytes"))
        table.add_row(kernel, str(row["layers"]), str(row["held_out"]), *shares)
    return table


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
