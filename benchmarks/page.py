# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page out of the runs in a folder.

Reads what `benchmarks.accuracy`, `benchmarks.demo`, `benchmarks.device`, `benchmarks.hardware` and
`benchmarks.training` wrote anywhere below the folder, and shows accuracy and agreement against multiplier width, the
multipliers layer by layer, modelled cycles and flash, area and energy in silicon, and what a training step costs. The
page, report.html, needs no network and no other file.

usage: python -m benchmarks.page DIR [--output=DIR]
"""

import dataclasses
import json
import pathlib
import sys

import jinja2

from benchmarks import command, goals, plots, training, widths
from benchmarks.cells import CONTROL, TRAINED
from benchmarks.hardware import charts, report
from benchmarks.plots import Bar, Chart
from benchmarks.summary import CONTROL_MODEL, FLOAT_MODEL, Results, Row, share
from tflm_export import METHODS, UsageError, files

_COMMAND = command.Command("page", __doc__, output=None)

TEMPLATE = "page.html.j2"
NAME = "report.html"
RESULTS = ("accuracy.json", "report.json", "training.json", "hardware.json")
STOCK = "stock"  # device_runs.STOCK; that module needs an emulator
MINUS = "\N{MINUS SIGN}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A cell of the overview: accuracy, a note below it, and whether it is what was hoped for."""

    share: str
    note: str = ""
    holds: bool | None = None


@dataclasses.dataclass(frozen=True)
class AccuracyView:
    """A run of the accuracy suite.

    Attributes:
      source: the file it is from.
      results: what is in it.
      overview: figures by title of a task, for OVERVIEW.
      charts: by what they show, those of the tasks that have it.
      multipliers: charts by title of a task, with what the task is in a line.
    """

    source: str
    results: Results
    overview: dict[str, list[Figure]]
    charts: dict[str, list[Chart]]
    multipliers: dict[str, tuple[str, list[Chart]]]


@dataclasses.dataclass(frozen=True)
class View:
    """A run of one of the other benchmarks: the file it is from, what is in it, and its charts."""

    source: str
    stored: dict
    charts: list[Chart]


OVERVIEW = ("float", f"{CONTROL}, 31 bits", *(goal.model for goal in goals.GOALS))


def collect(folder: pathlib.Path) -> dict[str, list]:
    """Everything reportable below a folder, as views by kind.

    Raises:
      UsageError: there is no such folder, nothing in it, or a damaged file.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    runs: dict[str, list] = {kind: [] for kind in VIEWS}
    for path in sorted(path for name in RESULTS for path in folder.rglob(name)):
        try:
            stored = json.loads(path.read_text())
            kind = stored.get("kind") if isinstance(stored, dict) else None
            if kind in VIEWS:  # JSON files of other programs are left alone
                runs[kind].append(VIEWS[kind](stored, str(path.relative_to(folder))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is damaged or of another version: {error!r}") from error
    if not any(runs.values()):
        raise UsageError(f"no run in {folder}: none of {', '.join(RESULTS)} of a benchmark")
    return runs


def accuracy_view(stored: dict, source: str) -> AccuracyView:
    """Figures of an accuracy run, as stored by benchmarks.summary."""
    results = Results.from_dict(stored)
    charts = {value: [plots.accuracy_chart(results, task, value) for task in results.tasks] for value in plots.REACH}
    titles = {task: about["title"] for task, about in results.tasks.items()}
    return AccuracyView(
        source,
        results,
        {title: overview(results.of(task)) for task, title in titles.items() if results.of(task)[CONTROL_MODEL].seeds},
        {value: [chart for chart in found if chart is not None] for value, found in charts.items()},
        {
            titles[task]: (_notes(results.tasks[task]), _multipliers(found))
            for task, found in results.multipliers.items()
        },
    )


def overview(rows: dict[tuple, Row]) -> list[Figure]:
    """The figures of OVERVIEW, from the rows of a task."""
    plain = [rows.get(FLOAT_MODEL), rows[CONTROL_MODEL]]
    judged = [(verdict.row, verdict.holds, len(verdict.goal.methods) > 1) for verdict in goals.judge(rows.values())]
    return [_figure(row, holds, named) for row, holds, named in (*((row, None, False) for row in plain), *judged)]


def _figure(row: Row | None, holds: bool | None, with_method: bool) -> Figure:
    if row is None or row.accuracy is None:
        return Figure("not run")
    difference = ""
    if row.difference is not None:
        difference = f"{signed(100 * row.difference)} ± {100 * row.difference_error:.2f} points"
    return Figure(share(row), ", ".join(filter(None, (row.method if with_method else "", difference))), holds)


def signed(value: float) -> str:
    """A difference for people."""
    return f"{value:+.2f}".replace("-", MINUS)


def _notes(about: dict) -> str:
    """What a task is, in a line."""
    return (
        f"{about['parameters'] or 0:,} parameters, {about['train_rows']:,} training rows, "
        f"{about['measured_rows']:,} rows measured, {about['float_epochs']} float and {about['tuning_epochs']} "
        "fine-tuning epochs"
    )


def _multipliers(factors: dict[str, dict]) -> list[Chart]:
    """The control's multipliers and those of the narrowest trained models."""
    titles = {CONTROL.lower(): f"{CONTROL}, 31 bits"}
    for method in METHODS:
        start = f"{TRAINED.lower()}_{method}_"
        found = (widths.from_stem(name.removeprefix(start)) for name in factors if name.startswith(start))
        for narrowest in widths.ordered(found)[-1:]:
            titles[start + widths.stem(narrowest)] = f"{TRAINED}, {method}, {widths.title(narrowest)}"
    chosen = {title: factors[name] for name, title in titles.items() if name in factors}
    values = [round(value) for layers in chosen.values() for layer in layers.values() for value in layer]
    exponents = range(min(values, default=0), max(values, default=0) + 1)
    return [
        plots.multipliers_chart(title, {name.replace("_", " ").lower(): row for name, row in layers.items()}, exponents)
        for title, layers in chosen.items()
    ]


def training_view(stored: dict, source: str) -> View:
    """Figures of a run of the training benchmark."""
    return View(source, stored, training.charts([training.StepCost(**cost) for cost in stored["results"]]))


@dataclasses.dataclass(frozen=True)
class HardwareView(View):
    """A run of the hardware benchmark, with its tables."""

    tables: list[report.Part]


def hardware_view(stored: dict, source: str) -> HardwareView:
    """Figures and tables of the hardware benchmark's run."""
    return HardwareView(source, stored, charts.every(stored), report.parts(stored))


def device_view(stored: dict, source: str) -> View:
    """Figures of the device harness's runs."""
    runs = stored["runs"]
    for run in runs:
        if missing := {"model", "cpu", "label"} - run.keys():
            raise KeyError(*missing)
    drawn = []
    for cpu in dict.fromkeys(run["cpu"] for run in runs):
        of_cpu = [run for run in runs if run["cpu"] == cpu]
        for what, unit, value, form in (
            ("modelled cycles an inference", "cycles", "total_cycles", lambda cycles: f"{cycles / 1e6:.3g} M"),
            ("flash", "flash", "flash", lambda size: f"{size / 1000:.4g} kB"),
        ):
            if groups := _groups(of_cpu, value, form):
                drawn.append(plots.ratio_chart(f"{cpu}: {what}", f"of the stock rescale's {unit}", groups))
    return View(source, stored, drawn)


def _groups(runs: list[dict], value: str, form) -> dict[str, list[Bar]]:
    """Bars by model and toolchain, the stock rescale first; groups without a stock run are left out."""
    groups: dict[str, list] = {}
    variants = [[run.get(key) for run in runs] for key in ("engine", "toolchain", "multiplier")]
    for index, run in enumerate(runs):
        if run.get(value) is not None:
            named = [str(parts[index]) for parts in variants if len(set(parts)) > 1]
            bar = Bar(run["label"], run[value], form(run[value]))
            groups.setdefault(", ".join([run["model"], *named]), []).append(bar)
    ordered = {name: sorted(bars, key=lambda bar: bar.label != STOCK) for name, bars in groups.items()}
    return {name: bars for name, bars in ordered.items() if bars[0].label == STOCK and bars[0].value > 0}


VIEWS = {"accuracy": accuracy_view, "device": device_view, "hardware": hardware_view, "training": training_view}


def render(folder: pathlib.Path) -> str:
    """The page for the runs below a folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.2f}"
    environment.filters["signed"] = lambda share: "" if share is None else signed(100 * share)
    environment.filters["p"] = lambda p: "" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"
    environment.filters["svg"] = plots.svg
    template = environment.get_template(TEMPLATE)
    return template.render(**collect(folder), goals=goals.GOALS, head=OVERVIEW, folder=folder.resolve().name)


def _main(name: str = "") -> int:
    if not name:
        raise UsageError("name the folder of the runs; see --help")
    page = render(pathlib.Path(name))
    output = pathlib.Path(_COMMAND.output.value or name)
    command.make_folder(output)
    files.write({str(output / NAME): page.encode()})
    print(f"{output / NAME}: {len(page) / 1000:.0f} kB, open it in any browser")
    return command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    return _COMMAND.run(argv, _main, arguments=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
