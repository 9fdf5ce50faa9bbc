"""One self-contained HTML page out of the runs in a folder.

Reads what `benchmarks.accuracy`, `benchmarks.demo`, `benchmarks.device` and `benchmarks.training` wrote anywhere below
the folder, and draws accuracy and agreement against multiplier width, the multipliers layer by layer, modelled cycles
and flash, and what a training step costs. The page needs no network and no other file.

usage: python -m benchmarks.report DIR [--output=DIR/report.html]
"""

import dataclasses
import json
import math
import pathlib
import sys

import jinja2
from absl import flags

from benchmarks import charts
from tflm_export import METHODS, UsageError, command_line, files

_FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string("output", None, "The page; default: report.html in DIR.", flag_values=_FLAGS)
_HELP = command_line.define_help(_FLAGS)

TEMPLATE = "report.html.j2"
MODELS = [(model, method) for model in ("post-training", "RAT") for method in METHODS]
CONTROL = "QAT"
STOCK = "stock"
RESULTS = ("accuracy.json", "report.json", "training.json")
KEEP_POINTS = 1  # how far RAT on keep at k = 2 may lie below the control
POINTS = 6  # of accuracy below the control, in the figures of differences
REACH = 15  # points of accuracy below the control, and of agreement below 100 %


class ReportError(UsageError):
    """A folder that cannot be reported on."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A cell of the overview: a share in %, its difference to the control, and whether that is what was hoped for."""

    share: str
    note: str = ""
    holds: bool | None = None


@dataclasses.dataclass(frozen=True)
class TaskView:
    """The figures of a task."""

    name: str
    title: str
    notes: str
    accuracy: charts.LineChart | list
    difference: charts.LineChart | list
    agreement: charts.LineChart | list
    multipliers: list[charts.HeatMap]


@dataclasses.dataclass(frozen=True)
class AccuracyView:
    """A run of the accuracy suite or of the demo."""

    source: str
    command: str
    versions: dict[str, str]
    seeds: list[int]
    rows: str
    weight_bits: int
    overview: dict[str, list[Figure]]
    tasks: list[TaskView]
    table: list[dict]


@dataclasses.dataclass(frozen=True)
class DeviceView:
    """Runs of the device harness."""

    source: str
    command: str
    charts: list[charts.BarChart]
    table: list[dict]


@dataclasses.dataclass(frozen=True)
class TrainingView:
    """A run of the training benchmark."""

    source: str
    command: str
    versions: dict[str, str]
    batch: int
    bits: int
    rounds: int
    charts: list[charts.BarChart]
    table: list[dict]


@dataclasses.dataclass(frozen=True)
class Runs:
    """All runs below a folder."""

    accuracy: list[AccuracyView] = dataclasses.field(default_factory=list)
    device: list[DeviceView] = dataclasses.field(default_factory=list)
    training: list[TrainingView] = dataclasses.field(default_factory=list)


def collect(folder: pathlib.Path) -> Runs:
    """Everything reportable below a folder.

    Raises:
      ReportError: there is no such folder, nothing in it, or a damaged file.
    """
    if not folder.is_dir():
        raise ReportError(f"there is no folder {folder}")
    runs = Runs()
    for path in sorted(path for name in RESULTS for path in folder.rglob(name)):
        try:
            _add(runs, json.loads(path.read_text()), str(path.relative_to(folder)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReportError(f"{path} is damaged or of another version: {error!r}") from error
    if not any((runs.accuracy, runs.device, runs.training)):
        raise ReportError(f"no run in {folder}: none of {', '.join(RESULTS)} of a benchmark")
    return runs


def _add(runs: Runs, stored, source: str) -> None:
    """Adds a file's runs; JSON files of other programs are left alone."""
    if not isinstance(stored, dict):
        return
    kind = stored.get("kind")
    if kind == "accuracy":
        runs.accuracy.append(accuracy_view(stored, source))
    elif kind == "device":
        runs.device.append(device_view(stored["runs"], source, stored["command"]))
    elif kind == "training":
        runs.training.append(training_view(stored, source))
    elif kind == "demo":
        runs.accuracy.append(accuracy_view(_from_demo(stored), source))
        if stored.get("device"):
            runs.device.append(device_view(stored["device"], source, stored["command"]))


def _from_demo(stored: dict) -> dict:
    """The demo's report in the form of the suite's; its errors are binomial, its control is the QAT model."""
    rows = stored["data"]["test_rows"]
    control = next(r["accuracy"]["LiteRT"] for r in stored["results"] if r["model"] == CONTROL)
    table = []
    for result in stored["results"]:
        accuracy = result["accuracy"]["LiteRT"]
        table.append({
            "task": "demo", "model": result["model"], "method": result["method"], "bits": result["bits"], "seeds": 1,
            "rows": rows, "accuracy": accuracy, "standard_error": math.sqrt(accuracy * (1 - accuracy) / rows),
            "difference": None if result["model"] == CONTROL else accuracy - control, "difference_error": None,
            "p_rows": None, "p_seeds": None, "agreement": result["agreement"], "squared_error": None,
        })  # fmt: skip
    return {
        "command": stored["command"],
        "rows": "test",
        "weight_bits": 8,
        "versions": stored["versions"],
        "seeds": [stored["seed"]],
        "tasks": {"demo": {"title": "Digits", "measured_rows": rows}},
        "table": table,
        "multipliers": {},
    }


def accuracy_view(stored: dict, source: str) -> AccuracyView:
    """Figures and tables of an accuracy run, as stored by benchmarks.summary."""
    by_task = {name: [row for row in stored["table"] if row["task"] == name] for name in stored["tasks"]}
    views, overview = [], {}
    for name, about in stored["tasks"].items():
        rows = {(row["model"], row["method"], row["bits"]): row for row in by_task[name] if row["accuracy"] is not None}
        control = next((row for row in rows.values() if row["model"] == CONTROL), None)
        views.append(_task_view(name, about, rows, control, stored))
        if control is not None:
            overview[about["title"]] = _overview(rows, control)
    titled = [row | {"title": stored["tasks"][row["task"]]["title"]} for row in stored["table"]]
    return AccuracyView(
        source, stored["command"], stored["versions"], stored["seeds"], stored["rows"], stored["weight_bits"],
        overview, views, titled,
    )  # fmt: skip


def _task_view(name: str, about: dict, rows: dict, control: dict | None, stored: dict) -> TaskView:
    # Of fewer seeds than the control, a mean would stand beside another one's.
    whole = {key: row for key, row in rows.items() if control is None or row["seeds"] == control["seeds"]}
    accuracy = _series(whole, "accuracy", "standard_error")
    difference = _series(whole, "difference", "difference_error")
    agreement = _series(whole, "agreement", None)
    reference = None
    if control is not None:
        reference = (100 * control["accuracy"], 100 * (control["standard_error"] or 0.0), "QAT, 31 bits")
    bits = "rescale multiplier, bits"
    title = about["title"]
    label, zero = f"accuracy, % of {stored['rows']} rows", (0.0, 0.0, "QAT, 31 bits")
    return TaskView(
        name,
        title,
        _notes(about),
        accuracy and charts.line_chart(title, bits, label, accuracy, reference, REACH),
        difference and charts.line_chart(title, bits, "difference to QAT, points", difference, zero, POINTS),
        agreement and charts.line_chart(title, bits, "same answer as QAT, %", agreement, None, REACH),
        _heat_maps(stored["multipliers"].get(name, {})),
    )


def _notes(about: dict) -> str:
    """What a task is, in a line."""
    notes = []
    if about.get("parameters"):
        notes.append(f"{about['parameters']:,} parameters")
    if "train_rows" in about:
        notes.append(f"{about['train_rows']:,} training rows")
    notes.append(f"{about['measured_rows']:,} rows measured")
    if "tuning_epochs" in about:
        notes.append(f"{about['float_epochs']} float and {about['tuning_epochs']} fine-tuning epochs")
    return ", ".join(notes)


def _series(rows: dict, value: str, error: str | None) -> list[charts.Series]:
    found = []
    for model, method in MODELS:
        points = []
        for row in rows.values():
            if (row["model"], row["method"]) == (model, method) and row[value] is not None:
                share = 100 * row[value]
                spread = 100 * row[error] if error and row[error] is not None else None
                unit = "points" if value == "difference" else "%"
                text = f"{model}, {method}, k = {row['bits']}: {share:.2f}"
                text += f" {unit}" if spread is None else f" ± {spread:.2f} {unit}"
                points.append((row["bits"], share, spread, text))
        if points:
            style = f"{'ptq' if model == 'post-training' else 'rat'} {method}"
            found.append(charts.Series(f"{model}, {method}", style, points))
    return found


def _heat_maps(factors: dict) -> list[charts.HeatMap]:
    """The control's multipliers and those of the narrowest trained models."""
    widths = [int(name.rpartition("_k")[2]) for name in factors if name.startswith("rat_")]
    titles = {"qat": "QAT, 31 bits"}
    if widths:
        titles |= {f"rat_{method}_k{min(widths)}": f"RAT, {method}, k = {min(widths)}" for method in METHODS}
    chosen = {name: title for name, title in titles.items() if name in factors}
    values = [round(value) for name in chosen for layer in factors[name].values() for value in layer]
    if not values:
        return []
    exponents = range(min(values), max(values) + 1)
    return [
        charts.heat_map(title, {_layer_name(layer): found for layer, found in factors[name].items()}, exponents)
        for name, title in chosen.items()
    ]


def _layer_name(layer: str) -> str:
    """An operator as its index and a short name: "3 DEPTHWISE_CONV_2D" becomes "3 depthwise conv 2d"."""
    return layer.replace("_", " ").lower()


def _overview(rows: dict, control: dict) -> list[Figure]:
    """Float, control, the better of both grids at k = 1, keep at k = 2 and keep at k = 1."""
    shifts = [row for (model, _, bits), row in rows.items() if model == "RAT" and bits == 1]
    best = max(shifts, key=lambda row: row["difference"], default=None)
    keep = rows.get(("RAT", "keep", 2))
    return [
        _figure(rows.get(("float", "", None))),
        _figure(control),
        _figure(best, best and best["method"], best and _holds(best)),
        _figure(keep, "", keep and 100 * keep["difference"] >= -KEEP_POINTS),
        _figure(rows.get(("RAT", "keep", 1))),
    ]


def _figure(row: dict | None, method: str | None = "", holds: bool | None = None) -> Figure:
    if row is None:
        return Figure("not run")
    return Figure(_share(row), ", ".join(filter(None, (method, _points(row)))), holds)


def _holds(row: dict) -> bool:
    error = row["difference_error"]
    return row["difference"] >= -2 * (row["standard_error"] if error is None else error)


def _share(row: dict) -> str:
    return f"{100 * row['accuracy']:.2f} ± {100 * (row['standard_error'] or 0):.2f}"


def _points(row: dict) -> str:
    if row["difference"] is None:
        return ""
    error = row["difference_error"]
    return _signed(100 * row["difference"]) + ("" if error is None else f" ± {100 * error:.2f}") + " points"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def training_view(stored: dict, source: str) -> TrainingView:
    """Figures and table of a run of the training benchmark."""
    drawn = []
    for title, value, unit in (("time of a training step", "milliseconds", "ms"), ("memory", "megabytes", "MB")):
        groups: dict[str, list[tuple[str, float, str]]] = {}
        for cost in stored["results"]:
            if cost[value] is not None:
                label = cost["kind"].removeprefix("RAT ")
                groups.setdefault(cost["network"], []).append((label, cost[value], f"{cost[value]:.3g} {unit}"))
        if groups:
            drawn.append(charts.bar_chart(title, "of tfmot QAT's", groups))
    about = (stored[name] for name in ("command", "versions", "batch", "bits", "rounds"))
    return TrainingView(source, *about, drawn, stored["results"])


def device_view(runs: list[dict], source: str, command: str) -> DeviceView:
    """Figures and table of the device harness's runs."""
    for run in runs:
        if missing := {"model", "cpu", "rescale"} - run.keys():
            raise KeyError(*missing)
    drawn = []
    for cpu in dict.fromkeys(run["cpu"] for run in runs):
        of_cpu = [run for run in runs if run["cpu"] == cpu]
        for title, unit, value, text in (
            ("modelled cycles an inference", "of the stock rescale's cycles", "total_cycles", _millions),
            ("flash", "of the stock rescale's flash", "flash", _kilobytes),
        ):
            groups = _groups(of_cpu, value, text)
            if groups:
                drawn.append(charts.bar_chart(f"{cpu}: {title}", unit, groups))
    return DeviceView(source, command, drawn, runs)


def _groups(runs: list[dict], value: str, text) -> dict[str, list[tuple[str, float, str]]]:
    """Bars by model and toolchain, the stock rescale first; groups without a stock run are left out."""
    groups: dict[str, list] = {}
    variants = {(run.get("engine"), run.get("toolchain"), run.get("multiplier")) for run in runs}
    for run in runs:
        if run.get(value) is None:
            continue
        extra = [run.get("engine"), run.get("toolchain"), run.get("multiplier")]
        named = [
            str(part) for part, parts in zip(extra, zip(*variants, strict=True), strict=True) if len(set(parts)) > 1
        ]
        rescale = run["rescale"] if isinstance(run["rescale"], str) else f"k = {run['rescale']}"
        groups.setdefault(", ".join([run["model"], *named]), []).append((rescale, run[value], text(run[value])))
    ordered = {name: sorted(bars, key=lambda bar: bar[0] != STOCK) for name, bars in groups.items()}
    return {name: bars for name, bars in ordered.items() if bars[0][0] == STOCK and bars[0][1] > 0}


def _millions(cycles: float) -> str:
    return f"{cycles / 1e6:.3g} M"


def _kilobytes(size: float) -> str:
    return f"{size / 1000:.4g} kB"


def render(folder: pathlib.Path) -> str:
    """The page for the runs below a folder."""
    runs = collect(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.2f}"
    environment.filters["signed"] = lambda share: "" if share is None else _signed(100 * share)
    environment.filters["p"] = lambda p: "" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"
    return environment.get_template(TEMPLATE).render(**vars(runs), folder=folder.resolve().name)


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    try:
        positional = _FLAGS(argv)[1:]
        if _HELP.value:
            print(command_line.help_text(__doc__, _FLAGS))
            return 0
        if len(positional) != 1:
            raise ReportError("usage: python -m benchmarks.report DIR [--output=PAGE.html]")
        folder = pathlib.Path(positional[0])
        page = render(folder)
        output = _OUTPUT.value or str(folder / "report.html")
        files.write({output: page.encode()})
    except (UsageError, flags.Error) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"{output}: {len(page) / 1000:.0f} kB, open it in any browser")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
