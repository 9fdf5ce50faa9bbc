# SPDX-License-Identifier: Apache-2.0
"""Runs of `benchmarks.device` for people and for other programs: tables, TFLM's profiler CSV, a chart of layers."""

import csv
import io

from rich.console import Group
from rich.table import Table

from benchmarks import command, plots
from benchmarks.device_runs import STOCK, Run, why_no_cycles

_HEAD = (
    "model", "cpu", "cycles of", "compiler", "rescale", "loops", "outputs", "top-1", "modelled cycles", "range",
    "waited for flash", "ms", "cycles an output", "saved cycles", "instructions", "flash bytes", "arena bytes",
    "stack bytes",
)  # fmt: skip
_TEXTS = 7  # the first columns are texts, the others numbers
_HELD = ("waited", "instruction_misses", "data_misses", "unaligned")  # of a layer: what holds the core up


def table(runs: list[Run]) -> Group:
    """Runs side by side; why there are no cycles, where there are none."""
    rows = [_row(run, runs) for run in runs]
    kept = [i for i in range(len(_HEAD)) if any(row[i] for row in rows)]
    reasons = dict.fromkeys(why_no_cycles(run) for run in runs if run.total("cycles") is None)
    texts = [tuple(row[i] for i in kept) for row in rows]
    made = command.table(tuple(_HEAD[i] for i in kept), texts, _TEXTS, box=None, pad_edge=False)
    return Group(made, *(f"no modelled cycles: {reason}" for reason in reasons))


def _row(run: Run, runs: list[Run]) -> tuple[str, ...]:
    spent = run.total("cycles")
    instructions = f"{run.total('instructions'):,.0f}{f' ± {run.resolution}' if run.resolution else ''}"
    return (
        run.model,
        run.cpu,
        run.timing,
        run.toolchain,
        run.label,
        "in RAM" if run.loops_in_ram else "",
        _outputs(run),
        "" if run.accuracy is None else f"{run.accuracy:.2%}",
        "" if spent is None else f"{spent:,.0f}",
        _range(run),
        f"{run.total('waited'):,.0f}" if run.part.flash.wait_states and spent is not None else "",
        "" if spent is None or not run.part.mhz else f"{run.part.milliseconds(spent):.2f}",
        "" if run.per_output is None else f"{run.per_output:.1f}",
        _saved(run, runs),
        instructions,
        f"{run.flash:,}",
        "" if run.arena is None else f"{run.arena:,}",
        "" if run.stack is None else f"{run.stack:,}",
    )


def _core(run: Run) -> str:
    return f"{run.cpu} ({run.timing})" if run.timing else run.cpu


def _range(run: Run) -> str:
    least, most = run.total("least"), run.total("most")
    return "" if least == most else f"{least:,.0f}..{most:,.0f}"


def _outputs(run: Run) -> str:
    if run.brought:
        return "= stock" if run.equal else "not stock's"
    return "= simulator" if run.equal else "DIFFER"


def _saved(run: Run, runs: list[Run]) -> str:
    """Against the stock rescale in the same kernels, by the same compiler."""
    key = (run.model, run.cpu, run.timing, run.toolchain, STOCK)
    base = next((r for r in runs if (r.model, r.cpu, r.timing, r.toolchain, r.rescale) == key), None)
    if base in (None, run) or base.total("cycles") is None:
        return ""
    saved = base.total("cycles") - run.total("cycles")
    return f"{saved / base.total('cycles'):.1%}, {saved / max(1, run.rescaled):.1f} per output"


def layers_table(run: Run) -> Table | None:
    """Layers one below the other, with what holds each of them up; None where there are no cycles."""
    if run.total("cycles") is None:
        return None
    limit = run.layers[0].limit
    head = (
        "", "layer", "modelled cycles", "multiplications", f"a cycle, of {limit:.2g}", "waited for flash",
        "lines of code missed", "of constants", "unaligned",
    )  # fmt: skip
    used = [True] * 5 + [any(getattr(layer, what) for layer in run.layers) for what in _HELD]
    rows = [
        (
            f"{layer.index}",
            layer.op.lower(),
            f"{layer.cycles:,.0f}",
            f"{layer.multiplications:,}" if layer.multiplications else "",
            "" if layer.speed is None else f"{layer.speed:.2f}",
            *(f"{getattr(layer, what):,.0f}" for what in _HELD),
        )
        for layer in run.layers
    ]
    kept = [i for i, is_used in enumerate(used) if is_used]
    texts = [tuple(row[i] for i in kept) for row in rows]
    title = f"{run.model}, {_core(run)}, {run.toolchain}, {run.label}"
    looks = {"box": None, "pad_edge": False, "title": title, "title_justify": "left"}
    return command.table(tuple(head[i] for i in kept), texts, 2, **looks)


def profiler_csv(run: Run) -> str:
    """Layers in the layout of TFLM's MicroProfiler::LogCsv, with modelled cycles or, without a table, instructions.

    Columns that TFLM does not have follow behind.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    further = ("multiplications", "limit", *_HELD)
    text.write(",".join(f'"{name}"' for name in ("Event", "Tag", "Ticks", *(n.capitalize() for n in further))) + "\n")
    for event, layer in enumerate(run.layers):
        ticks = round(layer.instructions if layer.cycles is None else layer.cycles)
        writer.writerow([event, layer.op, ticks, *(f"{getattr(layer, name) or 0:g}" for name in further)])
    return text.getvalue()


def chart(runs: list[Run]) -> plots.Chart:
    """Columns by layer of runs of one model on one core, one colour a rescale.

    Waiting for flash is the pale end of a column; a line is what the multiplications alone would take.
    """
    first = runs[0]
    what = "instructions" if first.total("cycles") is None else "cycles"
    least = [layer.multiplications / layer.limit / 1e6 if layer.limit else 0.0 for layer in first.layers]
    part = f", {first.part.title}" if first.part.title else ""
    return plots.columns_chart(
        f"{first.model}, {_core(first)}{part}, {first.toolchain}",
        f"{'modelled ' if what == 'cycles' else ''}{what}, millions",
        [f"{layer.index} {layer.op.lower()}" for layer in first.layers],
        {run.label: [getattr(layer, what) / 1e6 for layer in run.layers] for run in runs},
        {run.label: [layer.waited / 1e6 if what == "cycles" else 0.0 for layer in run.layers] for run in runs},
        least if what == "cycles" else [],
    )
