# SPDX-License-Identifier: Apache-2.0
"""Runs of `benchmarks.device` for people and for other programs: a table, TFLM's profiler CSV, a chart of layers."""

import csv
import io

from rich.console import Group

from benchmarks import command, plots
from benchmarks.device_runs import STOCK, Run, why_no_cycles

_HEAD = (
    "model", "cpu", "compiler", "rescale", "outputs", "top-1", "modelled cycles", "range", "cycles an output",
    "saved cycles", "instructions", "flash bytes", "arena bytes", "stack bytes",
)  # fmt: skip
_TEXTS = 5  # the first columns are texts, the others numbers


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
        run.toolchain,
        run.label,
        _outputs(run),
        "" if run.accuracy is None else f"{run.accuracy:.2%}",
        "" if spent is None else f"{spent:,.0f}",
        _range(run),
        "" if run.per_output is None else f"{run.per_output:.1f}",
        _saved(run, runs),
        instructions,
        f"{run.flash:,}",
        "" if run.arena is None else f"{run.arena:,}",
        "" if run.stack is None else f"{run.stack:,}",
    )


def _range(run: Run) -> str:
    least, most = run.total("least"), run.total("most")
    return "" if least == most else f"{least:,.0f}..{most:,.0f}"


def _outputs(run: Run) -> str:
    if run.brought:
        return "= stock" if run.equal else "not stock's"
    return "= simulator" if run.equal else "DIFFER"


def _saved(run: Run, runs: list[Run]) -> str:
    """Against the stock rescale in the same kernels, by the same compiler."""
    key = (run.model, run.cpu, run.toolchain, STOCK)
    base = next((r for r in runs if (r.model, r.cpu, r.toolchain, r.rescale) == key), None)
    if base in (None, run) or base.total("cycles") is None:
        return ""
    saved = base.total("cycles") - run.total("cycles")
    return f"{saved / base.total('cycles'):.1%}, {saved / max(1, run.rescaled):.1f} per output"


def profiler_csv(run: Run) -> str:
    """Modelled cycles by layer in the layout of TFLM's MicroProfiler::LogCsv; instructions where there is no table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    text.write('"Event","Tag","Ticks"\n')
    for event, layer in enumerate(run.layers):
        writer.writerow([event, layer.op, round(layer.instructions if layer.cycles is None else layer.cycles)])
    return text.getvalue()


def chart(runs: list[Run]) -> plots.Chart:
    """Columns by layer of runs of one model on one core, one colour a rescale."""
    what = "instructions" if runs[0].total("cycles") is None else "cycles"
    return plots.columns_chart(
        f"{runs[0].model}, {runs[0].cpu}, {runs[0].toolchain}",
        f"{'modelled ' if what == 'cycles' else ''}{what}, millions",
        [f"{layer.index} {layer.op.lower()}" for layer in runs[0].layers],
        {run.label: [getattr(layer, what) / 1e6 for layer in run.layers] for run in runs},
    )
