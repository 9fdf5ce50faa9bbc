# SPDX-License-Identifier: Apache-2.0
"""From the cells of the accuracy suite to tables and figures: accuracy, agreement, significance, and the goals."""

import csv
import dataclasses
import io
import json
import pathlib
import textwrap

import numpy as np
from rich.table import Table

from benchmarks import cells, command, goals, plots, significance, tasks, widths
from benchmarks.cells import CONTROL, FLOAT, TRAINED, Cell, Settings
from benchmarks.widths import Width
from tflm_export import MAX_BITS, files

FLOAT_MODEL, CONTROL_MODEL = (FLOAT, "", None), (CONTROL, "", MAX_BITS)


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
      tflm_accuracy: as accuracy, on TFLM; None where it did not run.
    """

    task: str
    model: str
    method: str
    bits: Width | None
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
    tflm_accuracy: float | None = None

    @property
    def key(self) -> tuple[str, str, Width | None]:
        """Which model of its task."""
        return self.model, self.method, self.bits


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

    @staticmethod
    def from_dict(stored: dict) -> "Results":
        """What `write` put into accuracy.json, without the single cells.

        Raises:
          KeyError, TypeError: it is of another form.
        """
        names = [field.name for field in dataclasses.fields(Results) if field.name not in ("table", "single")]
        rows = [Row(**row) for row in stored["table"]]
        return Results(**{name: stored[name] for name in names}, table=rows, single=[])

    @property
    def widths(self) -> list[Width]:
        """Of the narrowed models, finest first."""
        return widths.ordered(row.bits for row in self.table if row.method)

    def of(self, task: str) -> dict[tuple, Row]:
        """The rows of a task by `Row.key`."""
        return {row.key: row for row in self.table if row.task == task}


def summarise(planned: list[Cell], folder: pathlib.Path, settings: Settings, provenance: dict) -> Results:
    """Results of the cells that are there; models of which none is there get a row without figures.

    Args:
      provenance: "command" and "versions".
    """
    found = {cell: cells.read(cell, folder) for cell in planned}
    seeds = sorted({cell.seed for cell in planned})
    models = dict.fromkeys((cell.task, cell.model, cell.method, cell.bits) for cell in planned)
    narrowest = min((cell.bits for cell in planned if cell.model == TRAINED), key=widths.place, default=None)
    table, single, multipliers = [], [], {}
    for task, *model in models:
        pairs = [(found.get(Cell(task, seed, *model)), found.get(Cell(task, seed, *CONTROL_MODEL))) for seed in seeds]
        pairs = [(result, control) for result, control in pairs if result is not None and control is not None]
        table.append(_row(task, tuple(model), pairs))
        single += [_single(result, control) for result, control in pairs]
        if pairs and (model[0] == CONTROL or (model[0] == TRAINED and model[2] == narrowest)):
            multipliers.setdefault(task, {})[pairs[0][0].cell.name] = pairs[0][0].multipliers
    described = {}
    for name in dict.fromkeys(cell.task for cell in planned):
        networks = (found[Cell(name, seed, *FLOAT_MODEL)] for seed in seeds)
        parameters = next((network.parameters for network in networks if network is not None), None)
        described[name] = _describe(tasks.available()[name], settings) | {"parameters": parameters}
    return Results(
        rows=settings.rows, weight_bits=settings.weight_bits, seeds=seeds, tasks=described, table=table,
        single=single, multipliers=multipliers, **provenance,
    )  # fmt: skip


def _row(task: str, model: tuple, pairs: list) -> Row:
    if not pairs:
        return Row(task, *model)
    right = np.stack([result.right for result, _ in pairs])
    control = np.stack([control.right for _, control in pairs])
    accuracy = significance.estimate(right)
    row = Row(
        task, *model, len(pairs), right.shape[1], accuracy.mean, accuracy.error,
        squared_error=_mean([result.squared_error for result, _ in pairs]),
        tflm_accuracy=_mean([result.tflm_accuracy for result, _ in pairs]),
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


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else float(np.mean(values))


def _single(result: cells.Result, control: cells.Result) -> dict:
    return {
        **dataclasses.asdict(result.cell),
        "accuracy": float(result.right.mean()),
        "agreement": float(np.mean(result.decisions == control.decisions)),
        "only_this_right": int(np.sum(result.right & ~control.right)),
        "only_control_right": int(np.sum(~result.right & control.right)),
        "mcnemar_p": significance.mcnemar(result.right, control.right),
        "squared_error": result.squared_error,
        "tflm_accuracy": result.tflm_accuracy,
        "widest_multiplier_bits": result.width,
        "cpu_seconds": result.seconds,
    }


def _describe(task: tasks.Task, settings: Settings) -> dict:
    split = tasks.split(task)
    return {
        "title": task.title,
        "reconstructs": task.reconstructs,
        "train_rows": len(split.train),
        "measured_rows": len(getattr(split, settings.rows)),
        "float_epochs": settings.epochs(task.epochs),
        "tuning_epochs": settings.epochs(task.tuning_epochs),
        "batch": task.batch,
    }


def verdicts(results: Results) -> list[str]:
    """What became of the goals, task by task, as lines of text."""
    lines = []
    for task in results.tasks:
        for verdict in goals.judge(results.of(task).values()):
            if verdict.row is not None:
                goal = f"{verdict.goal.rule}: {'yes' if verdict.holds else 'NO'}"
                lines.append(f"{task}: {verdict.model} {points(verdict.row)}; {goal}")
    return lines


def share(row: Row) -> str:
    """Accuracy and its standard error in %, for people."""
    return f"{100 * row.accuracy:.2f} ± {100 * row.standard_error:.2f}"


def points(row: Row) -> str:
    """The difference to the control and its standard error, for people."""
    return f"{100 * row.difference:+.2f} ± {100 * row.difference_error:.2f} points"


def by_width(results: Results) -> Table:
    """Accuracy by task and model, a column for each width, for people."""
    head = ("task", "model", *map(widths.title, results.widths))
    return command.table(
        head, _lines(results), 2,
        title=f"Accuracy on LiteRT with {results.weight_bits}-bit weights, % of {results.rows} rows ± standard error, "
        f"{len(results.seeds)} seeds",
        caption="Autoencoders: share of reconstructions nearest to a training image of the right class.",
    )  # fmt: skip


def by_model(results: Results) -> Table:
    """Accuracy on both runtimes, a line for each model at the widths that were trained, for people."""
    head = ("task", "model", "method", "bits", "LiteRT", "TFLM", "agreement")
    trained = {row.bits for row in results.table if row.model == TRAINED}
    shown = [row for row in results.table if not row.method or row.bits in trained]
    lines = [
        (
            f"{results.tasks[row.task]['title']}, {row.rows} rows" if row.model == FLOAT else "",
            row.model, row.method, "" if row.bits is None else str(row.bits),
            *("" if value is None else f"{value:.2%}" for value in (row.accuracy, row.tflm_accuracy, row.agreement)),
        )
        for row in shown
    ]  # fmt: skip
    return command.table(
        head, lines, 3, title=f"Top-1 accuracy on {results.rows} rows",
        caption=f"agreement: same answer as {CONTROL} on LiteRT. Other widths are in accuracy.csv.",
    )  # fmt: skip


def _lines(results: Results) -> list[list[str]]:
    """Rows of text: task, model, then a figure for each width."""
    lines = []
    for task, about in results.tasks.items():
        rows, seeds = results.of(task), len(results.seeds)
        for title, name, key in ((about["title"], FLOAT, FLOAT_MODEL), ("", f"{CONTROL}, 31 bits", CONTROL_MODEL)):
            lines.append([title, f"{name} {_run(rows[key], seeds)}", *[""] * len(results.widths)])
        for model, method in dict.fromkeys((row.model, row.method) for row in rows.values() if row.method):
            found = [rows.get((model, method, k)) for k in results.widths]
            lines.append(["", f"{model}, {method}", *("" if row is None else _run(row, seeds) for row in found)])
    return lines


def _run(row: Row, seeds: int) -> str:
    if row.accuracy is None:
        return "not run"
    return share(row) + ("" if row.seeds == seeds else f" ({row.seeds} of {seeds} seeds)")


def write(results: Results, folder: pathlib.Path) -> None:
    """Writes accuracy.csv, accuracy_cells.csv, accuracy.json, accuracy.md and, of what was run, accuracy.png."""
    command.make_folder(folder)
    contents = {
        "accuracy.csv": _csv([dataclasses.asdict(row) for row in results.table]),
        "accuracy_cells.csv": _csv(results.single),
        "accuracy.json": _for_report(results),
        "accuracy.md": markdown(results).encode(),
    }
    charts = [chart for task in results.tasks if (chart := plots.accuracy_chart(results, task)) is not None]
    if charts:
        contents["accuracy.png"] = plots.png(charts)
    files.write({str(folder / name): data for name, data in contents.items()})


def _for_report(results: Results) -> bytes:
    """JSON for benchmarks.page, a line for each field."""
    described = {"kind": "accuracy", **dataclasses.asdict(results)}
    del described["single"]
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in described.items())
    return f"{{\n{lines}\n}}\n".encode()


def _csv(rows: list[dict]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue().encode()


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
    text = [
        "# Accuracy against multiplier width",
        "",
        f"Made by `{results.command}`; seeds {', '.join(map(str, results.seeds))}; "
        + ", ".join(f"{package} {version}" for package, version in results.versions.items())
        + ".",
        "",
        *textwrap.wrap(ABOUT.strip().format(rows=results.rows, weight_bits=results.weight_bits), 119),
        "",
        "| task | model | " + " | ".join(map(widths.title, results.widths)) + " |",
        "|---|---|" + "--:|" * len(results.widths),
    ]
    text += ["| " + " | ".join(line) + " |" for line in _lines(results)]
    text += ["", "## Goals", "", *(f"- {line}" for line in verdicts(results)), "", "## Tasks", ""]
    text += [
        "| task | parameters | training rows | rows measured | float epochs | tuning epochs |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for about in results.tasks.values():
        numbers = ("parameters", "train_rows", "measured_rows", "float_epochs", "tuning_epochs")
        text.append("| " + " | ".join([about["title"], *(f"{about[number] or 0:,}" for number in numbers)]) + " |")
    return "\n".join(text) + "\n"
