"""From the cells of the accuracy suite to tables and figures: accuracy, agreement, significance, and the goals."""

import csv
import dataclasses
import io
import itertools
import json
import pathlib
import textwrap

import numpy as np
from rich.table import Table

from benchmarks import cells, provenance, significance, tasks
from benchmarks.cells import CONTROL, FLOAT, POST_TRAINING, TRAINED, Cell, Settings
from tflm_export import METHODS, files
from tflm_export.rescale import MAX_BITS

COLUMNS = (
    "task", "model", "method", "bits", "seeds", "rows", "accuracy", "standard_error", "difference", "difference_error",
    "p_rows", "p_seeds", "agreement", "squared_error",
)  # fmt: skip
GOAL_KEEP_POINTS = 1.0


@dataclasses.dataclass(frozen=True)
class Row:
    """A model over all its seeds. Shares are 0 to 1.

    Attributes:
      task, model, method, bits: as of a Cell.
      seeds: how many were run; the fields below are None where that is 0.
      rows: measured ones.
      accuracy, standard_error: top-1 share; for reconstructions, of rows still recognised.
      difference, difference_error: to the control of the same seeds, and its standard error; None for the control.
      p_rows, p_seeds: two-sided p of the exact paired test over rows, and of the paired t-test over seeds.
      agreement: share of rows with the same decision as the control of the same seed.
      squared_error: of reconstructions; None for classifiers.
    """

    task: str
    model: str
    method: str
    bits: int | None
    seeds: int = 0
    rows: int = 0
    accuracy: float | None = None
    standard_error: float | None = None
    difference: float | None = None
    difference_error: float | None = None
    p_rows: float | None = None
    p_seeds: float | None = None
    agreement: float | None = None
    squared_error: float | None = None


@dataclasses.dataclass(frozen=True)
class Results:
    """A run of the suite.

    Attributes:
      command, rows: how it was made, and on which rows it was measured.
      weight_bits: of the quantised models.
      versions: by package.
      seeds: starting points.
      tasks: title, rows and epochs by task.
      table: a row for each model.
      single: a dict for each cell, for the CSV file of single cells.
      multipliers: by task and cell name, log2 of the rescale factors by operator; of the first seed's control and
        narrowest trained models.
    """

    command: str
    rows: str
    weight_bits: int
    versions: dict[str, str]
    seeds: list[int]
    tasks: dict[str, dict]
    table: list[Row]
    single: list[dict]
    multipliers: dict[str, dict[str, dict[str, list[float]]]]


def summarise(planned: list[Cell], folder: pathlib.Path, settings: Settings, command: str) -> Results:
    """Results of the cells that are there; models of which none is there get a row without figures."""
    found = {cell: cells.read(cell, folder) for cell in planned}
    seeds = sorted({cell.seed for cell in planned})
    names = list(dict.fromkeys(cell.task for cell in planned))
    widths = sorted({cell.bits for cell in planned if cell.method}, reverse=True)
    narrowed = [model for model in (POST_TRAINING, TRAINED) if any(cell.model == model for cell in planned)]
    table, single, multipliers = [], [], {}
    for name in names:
        models = [(FLOAT, "", None), (CONTROL, "", MAX_BITS)]
        models += [(model, method, k) for model in narrowed for method in METHODS for k in widths]
        for model in models:
            pairs = [
                (found.get(Cell(name, seed, *model)), found.get(Cell(name, seed, CONTROL, "", MAX_BITS)))
                for seed in seeds
            ]
            pairs = [(result, control) for result, control in pairs if result is not None and control is not None]
            table.append(_row(name, model, pairs))
            single += [_single(result, control) for result, control in pairs]
            if (
                pairs
                and pairs[0][0].multipliers
                and model[0] in (CONTROL, TRAINED)
                and model[2] in (MAX_BITS, widths[-1])
            ):
                multipliers.setdefault(name, {})[pairs[0][0].cell.name] = pairs[0][0].multipliers
    described = {name: _describe(tasks.available()[name], settings, folder, seeds) for name in names}
    versions = provenance.versions()
    return Results(command, settings.rows, settings.weight_bits, versions, seeds, described, table, single, multipliers)


def _row(task: str, model: tuple, pairs: list) -> Row:
    if not pairs:
        return Row(task, *model)
    right = np.stack([result.right for result, _ in pairs])
    control = np.stack([control.right for _, control in pairs])
    accuracy = significance.estimate(right)
    errors = [result.squared_error for result, _ in pairs]
    row = Row(
        task, *model, len(pairs), right.shape[1], accuracy.mean, accuracy.error,
        squared_error=None if None in errors else float(np.mean(errors)),
    )  # fmt: skip
    if model[0] == CONTROL:
        return row
    difference = significance.estimate(right.astype(int) - control.astype(int))
    agreement = np.mean([np.mean(result.decisions == control.decisions) for result, control in pairs])
    return dataclasses.replace(
        row,
        difference=difference.mean,
        difference_error=difference.error,
        p_rows=significance.mcnemar(right, control),
        p_seeds=significance.across_seeds(right.mean(1), control.mean(1)),
        agreement=float(agreement),
    )


def _single(result: cells.Result, control: cells.Result) -> dict:
    return {
        **dataclasses.asdict(result.cell),
        "accuracy": float(result.right.mean()),
        "agreement": float(np.mean(result.decisions == control.decisions)),
        "only_this_right": int(np.sum(result.right & ~control.right)),
        "only_control_right": int(np.sum(~result.right & control.right)),
        "mcnemar_p": significance.mcnemar(result.right, control.right),
        "squared_error": result.squared_error,
        "widest_multiplier_bits": result.width,
        "cpu_seconds": result.seconds,
    }


def _describe(task: tasks.Task, settings: Settings, folder: pathlib.Path, seeds: list[int]) -> dict:
    split = tasks.split(task)
    return {
        "title": task.title,
        "reconstructs": task.reconstructs,
        "train_rows": len(split.train),
        "measured_rows": len(getattr(split, settings.rows)),
        "float_epochs": settings.epochs(task.epochs),
        "tuning_epochs": settings.epochs(task.tuning_epochs),
        "batch": task.batch,
        "parameters": next(filter(None, (cells.parameters(task.name, seed, folder) for seed in seeds)), None),
    }


def control_of(results: Results, task: str) -> Row:
    """The control's row of a task."""
    return next(row for row in results.table if (row.task, row.model) == (task, CONTROL))


def verdicts(results: Results) -> list[str]:
    """The suite's two goals, task by task, as lines of text."""
    lines = []
    for task in results.tasks:
        trained = {
            (row.method, row.bits): row
            for row in results.table
            if row.task == task and row.model == TRAINED and row.difference is not None
        }
        shifts = [row for (_, k), row in trained.items() if k == 1]
        if shifts:
            best = max(shifts, key=lambda row: row.difference)
            held = best.difference >= -2 * best.difference_error
            lines.append(
                f"{task}: RAT at k = 1 ({best.method}) {_points(best)} against QAT at 31 bits: "
                f"{'not below it' if held else 'BELOW it'} within two standard errors"
            )
        if ("keep", 1) in trained:
            lines.append(f"{task}: RAT on keep at k = 1 {_points(trained['keep', 1])} (no goal)")
        kept = trained.get(("keep", 2))
        if kept is not None:
            held = 100 * kept.difference >= -GOAL_KEEP_POINTS
            lines.append(
                f"{task}: RAT on keep at k = 2 {_points(kept)}: {'within' if held else 'NOT within'} "
                f"{GOAL_KEEP_POINTS:g} point of QAT at 31 bits"
            )
    return lines


def _points(row: Row) -> str:
    return f"{100 * row.difference:+.2f} ± {100 * row.difference_error:.2f} points"


def table(results: Results) -> Table:
    """Accuracy by task and model, for people."""
    widths = sorted({row.bits for row in results.table if row.method}, reverse=True)
    made = Table(
        title=f"Accuracy on LiteRT with {results.weight_bits}-bit weights, % of {results.rows} rows ± standard error, "
        f"{len(results.seeds)} seeds",
        caption="Autoencoders: share of reconstructions nearest to a training image of the right class.",
    )
    for column in ("task", "model", *(f"k = {k}" for k in widths)):
        made.add_column(column, justify="left" if column in ("task", "model") else "right")
    for line in _lines(results, widths):
        made.add_row(*line)
    return made


def _lines(results: Results, widths: list[int]) -> list[list[str]]:
    """Rows of text: task, model, then a figure for each width."""
    lines = []
    for task, about in results.tasks.items():
        rows = {(row.model, row.method, row.bits): row for row in results.table if row.task == task}
        seeds = len(results.seeds)
        for name, row in (("float", rows[FLOAT, "", None]), ("QAT, 31 bits", rows[CONTROL, "", MAX_BITS])):
            lines.append([about["title"] if name == "float" else "", f"{name} {_share(row, seeds)}"])
            lines[-1] += [""] * len(widths)
        for model, method in dict.fromkeys((row.model, row.method) for row in rows.values() if row.method):
            lines.append(["", f"{model}, {method}", *(_share(rows[model, method, k], seeds) for k in widths)])
    return lines


def _share(row: Row, seeds: int) -> str:
    if row.accuracy is None:
        return "not run"
    fewer = "" if row.seeds == seeds else f" ({row.seeds} of {seeds} seeds)"
    return f"{100 * row.accuracy:.2f} ± {100 * row.standard_error:.2f}{fewer}"


def write(results: Results, folder: pathlib.Path) -> None:
    """Writes accuracy.csv, accuracy_cells.csv, accuracy.json, accuracy.md and accuracy.png."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.asdict(row) for row in results.table]
    contents = {
        "accuracy.csv": _csv(COLUMNS, rows),
        "accuracy_cells.csv": _csv(tuple(results.single[0]) if results.single else COLUMNS[:4], results.single),
        "accuracy.json": _for_report(results),
        "accuracy.md": markdown(results),
        "accuracy.png": plot(results),
    }
    encoded = {name: text if isinstance(text, bytes) else text.encode() for name, text in contents.items()}
    files.write({str(folder / name): data for name, data in encoded.items()})


def _for_report(results: Results) -> str:
    """JSON for benchmarks.report, a line for each field."""
    described = {"kind": "accuracy", **dataclasses.asdict(results)}
    del described["single"]
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in described.items()) + "\n}\n"


def _csv(columns: tuple[str, ...], rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue()


ABOUT = """
Accuracy in % of the {rows} rows, of the converted `.tflite` on LiteRT (XNNPACK), mean over seeds ± standard error (of
the rows drawn and of the seeds). Quantised weights have {weight_bits} bits. QAT is the control: plain
quantisation-aware training, 31-bit multipliers. Post-training is the control's file narrowed without data. RAT starts
from the same float weights as the control and is trained for the same epochs at the same learning rate, batch
normalisations frozen in both. An autoencoder's figure is the share of reconstructions that are nearest to a training
image of the right class. `accuracy.csv` has differences to the control with their standard errors, exact paired tests
over rows (McNemar), paired t-tests over seeds and the agreement; `accuracy_cells.csv` has every seed.
"""


def markdown(results: Results) -> str:
    """The results as Markdown, with how they were made."""
    widths = sorted({row.bits for row in results.table if row.method}, reverse=True)
    text = [
        "# Accuracy against multiplier width",
        "",
        f"Made by `{results.command}`; seeds {', '.join(map(str, results.seeds))}; "
        + ", ".join(f"{package} {version}" for package, version in results.versions.items())
        + ".",
        "",
        *textwrap.wrap(ABOUT.strip().format(rows=results.rows, weight_bits=results.weight_bits), 119),
        "",
        "| task | model | " + " | ".join(f"k = {k}" for k in widths) + " |",
        "|---|---|" + "--:|" * len(widths),
    ]
    text += ["| " + " | ".join(line) + " |" for line in _lines(results, widths)]
    text += ["", "## Goals", "", *(f"- {line}" for line in verdicts(results)), "", "## Tasks", ""]
    text += [
        "| task | parameters | training rows | rows measured | float epochs | tuning epochs |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for about in results.tasks.values():
        numbers = ("parameters", "train_rows", "measured_rows", "float_epochs", "tuning_epochs")
        text.append("| " + " | ".join([about["title"], *(f"{about[number] or 0:,}" for number in numbers)]) + " |")
    return "\n".join(text) + "\n"


COLORS = {"requantize": "#1767ad", "keep": "#b4540a"}
STYLES = {POST_TRAINING: {"linestyle": ":", "markerfacecolor": "white"}, TRAINED: {"linestyle": "-"}}
SHOWN_POINTS = 12  # how far below the control a panel reaches, in points of accuracy


def plot(results: Results) -> bytes:
    """Accuracy against width, a panel for each task, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(results.tasks))
    lines = -(-len(results.tasks) // columns)
    figure, panels = pyplot.subplots(
        lines, columns, figsize=(3.4 * columns, 2.9 * lines + 0.6), layout="constrained", squeeze=False
    )
    for axes, task in zip(panels.flat, results.tasks, strict=False):
        _panel(axes, results, task)
    for axes in panels.flat[len(results.tasks) :]:
        axes.axis("off")
    for axes in panels[:, 0]:
        axes.set_ylabel(f"top-1, % of {results.rows} rows")
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    pyplot.close(figure)
    return buffer.getvalue()


def _panel(axes, results: Results, task: str) -> None:
    control = control_of(results, task)
    axes.set_title(results.tasks[task]["title"], fontsize=10)
    axes.set_xscale("log", base=2)
    if control.accuracy is None:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    middle, error = 100 * control.accuracy, 100 * control.standard_error
    axes.axhspan(middle - error, middle + error, color="0.9", zorder=0)
    axes.axhline(middle, color="0.5", linestyle="--", label="QAT, 31 bits (± standard error)")
    floor = middle - SHOWN_POINTS
    for offset, (model, method) in enumerate(itertools.product(STYLES, METHODS)):
        lines = [row for row in results.table if (row.task, row.model, row.method) == (task, model, method)]
        rows = [row for row in lines if row.seeds == control.seeds]  # of fewer, a mean would stand beside another one's
        if not rows:
            continue
        shift, color = 1 + 0.02 * (offset - 1.5), COLORS[method]
        x, y, e = np.array([(r.bits * shift, 100 * r.accuracy, 100 * r.standard_error) for r in rows]).T
        look = {"color": color, "marker": "o", "markersize": 4.5, "linewidth": 1.2, "capsize": 2}
        axes.errorbar(x, y, e, **look, **STYLES[model], label=f"{model}, {method}")
        for at, value in zip(x, y, strict=True):
            if value < floor:
                axes.annotate(
                    f"{value:.0f} ↓", (at, floor), (2, 2), textcoords="offset points", color=color, fontsize=8
                )
    axes.set_ylim(floor, None)
    ticks = sorted({row.bits for row in results.table if row.method})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0.87 * min(ticks), 1.15 * max(ticks))
    axes.set_xlabel("rescale multiplier, bits")
    axes.grid(alpha=0.3)
