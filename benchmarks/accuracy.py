# SPDX-License-Identifier: Apache-2.0
"""Accuracy against multiplier width, on real tasks: what narrowing costs, and what rescale-aware training wins back.

For every task and seed: a float network; from it plain quantisation-aware training (QAT, 31 bits, the control); that
model narrowed after training, with both methods; and rescale-aware training (RAT) from the same float weights for the
same epochs, on both grids. The width csd2 is that of factors of two signed digits. With --multipliers, in place of what
is narrowed after training: RAT with multipliers from elsewhere than by default, and without any training. Every int8
figure is of the converted .tflite on LiteRT, on test rows. Cells that are there already are not made again; see
docs/results.md for what is written.

usage: python -m benchmarks.accuracy [--quick] [--output=DIR] [--jobs=N] [--publish=docs/results] [--tasks=...]
       [--bits=8,6,4,3,2,1] [--trained_bits=4,1] [--seeds=0,1,2] [--rows=test|validation] [--weight_bits=4] [--tflm]
       [--multipliers] [--scheduler=tcp://HOST:8786]
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import cells, command, deliveries, pool, summary, tasks, widths
from benchmarks.cells import CONTROL, FLOAT, POST_TRAINING, RECIPES, TRAINED, Cell, Settings
from benchmarks.pool import Job
from benchmarks.widths import Width
from tflm_export import MAX_BITS, METHODS, UsageError, cluster, files

# What is made first, in case a run is stopped: where there is most to win.
URGENCY: tuple[Width, ...] = (1, 2, 4, 8, "csd2", 3, 6)
# Every training and conversion leaves TensorFlow some 50 MB larger, so processes are replaced after as many jobs.
JOBS_OF_A_PROCESS = 24

_COMMAND = command.Command("accuracy", __doc__)
_FLAGS = _COMMAND.flags
_PUBLISH = flags.DEFINE_string("publish", None, "Also write the results here, without the cells.", flag_values=_FLAGS)
_TASKS = flags.DEFINE_list("tasks", None, "Tasks; default: all whose data are here.", flag_values=_FLAGS)
_BITS = flags.DEFINE_list("bits", list("864321"), "Multiplier widths; csd2 is two signed digits.", flag_values=_FLAGS)
_TRAINED_BITS = flags.DEFINE_list(
    "trained_bits", None, "Multiplier widths to train at; default: --bits.", flag_values=_FLAGS
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.", flag_values=_FLAGS)
_ROWS = flags.DEFINE_enum("rows", "test", ["test", "validation"], "Rows to measure on.", flag_values=_FLAGS)
_RATE = flags.DEFINE_float("rate", Settings.rate, "Learning rate of the fine-tuning.", flag_values=_FLAGS)
_EFFORT = flags.DEFINE_float(
    "effort", Settings.effort, "Share of the tasks' epochs to train for.", lower_bound=0.0, flag_values=_FLAGS
)
_WEIGHT_BITS = flags.DEFINE_enum("weight_bits", "8", ["8", "4"], "Bits of the weights.", flag_values=_FLAGS)
_MULTIPLIERS = flags.DEFINE_bool(
    "multipliers", False, "Compare where multipliers come from, in place of narrowing after training.",
    flag_values=_FLAGS,
)  # fmt: skip
_TFLM = flags.DEFINE_bool("tflm", False, "Run the int8 models on TFLM, too, which takes longer.", flag_values=_FLAGS)
_QUICK = flags.DEFINE_bool(
    "quick", False, "Three tasks, one seed, k = 4 and 1, half the epochs; in a folder of its own.", flag_values=_FLAGS
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Make the cells that are there again.", flag_values=_FLAGS)
_JOBS = flags.DEFINE_integer(
    "jobs", os.cpu_count(), "Processes, of one thread each.", lower_bound=1, flag_values=_FLAGS
)
_SCHEDULER = flags.DEFINE_string(
    "scheduler",
    None,
    "In place of --jobs processes here, the workers of a dask.distributed scheduler, as tcp://HOST:8786.",
    flag_values=_FLAGS,
)


@dataclasses.dataclass(frozen=True)
class Suite:
    """What a run is to make.

    Attributes:
      tasks: names.
      seeds: starting points.
      bits: widths by model, of POST_TRAINING and of what RECIPES train.
      compares: whether it is about where multipliers come from: then "requantize", on which little depends on it, has
        the narrowest width alone.
    """

    tasks: list[str]
    seeds: list[int]
    bits: dict[str, list[Width]]
    compares: bool = False

    def base(self, task: str, seed: int) -> list[Cell]:
        """The float model, the control, and the control narrowed after training: each needs those before it."""
        narrowed = [Cell(task, seed, *what) for what in self._narrowed(POST_TRAINING)]
        return [Cell(task, seed, FLOAT), Cell(task, seed, CONTROL, "", MAX_BITS), *narrowed]

    def trained(self, task: str, seed: int) -> list[Cell]:
        """The rescale-aware trained models, which need the base."""
        models = [model for model in self.bits if model != POST_TRAINING]
        return [Cell(task, seed, *what) for model in models for what in self._narrowed(model)]

    def _narrowed(self, model: str) -> list[tuple[str, str, Width]]:
        found = widths.ordered(self.bits.get(model, []))
        methods = RECIPES[model].methods if model in RECIPES else METHODS
        of_method = {method: found[-1:] if self.compares and method == "requantize" else found for method in methods}
        return [(model, method, width) for method in methods for width in of_method[method]]

    def cells(self) -> list[Cell]:
        """All cells."""
        pairs = itertools.product(self.tasks, self.seeds)
        return [cell for pair in pairs for cell in (*self.base(*pair), *self.trained(*pair))]

    def stages(self) -> Iterator[list[list[Cell]]]:
        """Jobs in an order in which all that a job needs is made in an earlier stage; in a stage, urgent ones first.

        The costly tasks come last, seed by seed.
        """
        known = tasks.available()
        cheap = [name for name in self.tasks if not known[name].costly]
        costly = [name for name in self.tasks if known[name].costly]
        groups = [(cheap, self.seeds), *((costly, [seed]) for seed in self.seeds)]
        for names, seeds in groups:
            pairs = list(itertools.product(names, seeds))
            bases = [self.base(*pair) for pair in pairs]
            yield [base[:1] for base in bases]
            yield [base[1:] for base in bases]
            trained = [[cell] for pair in pairs for cell in self.trained(*pair)]
            yield sorted(trained, key=lambda job: URGENCY.index(job[0].bits))


@dataclasses.dataclass(frozen=True)
class Workers:
    """Who makes cells: `jobs` processes of this machine, or those at a scheduler's address."""

    jobs: int
    scheduler: str | None = None


def run(suite: Suite, folder: pathlib.Path, settings: Settings, workers: Workers, console: Console) -> list[str]:
    """Makes the cells that are not there; returns what failed, a line each."""
    _require_settings(folder, settings, suite)
    every = suite.cells()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failures: list[str] = []
    with (
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress,
        contextlib.closing(_made(_jobs(suite, folder), folder, settings, workers)) as done,
    ):
        bar = progress.add_task("cells", total=len(every), completed=sum(cell.path(folder).is_file() for cell in every))
        for job, made in done:
            if isinstance(made, BaseException):
                failures.append(f"{job.name}: {cluster.failure(made)}")
                console.print(f"[red]{failures[-1]}")
                continue
            deliveries.keep(made, folder)
            progress.advance(bar, len(job.what))
            for cell in job.what:
                if cell.model != POST_TRAINING:
                    console.print(_line(cell, folder), soft_wrap=True)
    return failures


def _jobs(suite: Suite, folder: pathlib.Path) -> list[Job]:
    """The cells that are not there; each job needs those of its task and seed in earlier stages."""
    jobs: list[Job] = []
    for stage in suite.stages():
        missing = [[cell for cell in job if not cell.path(folder).is_file()] for job in stage]
        jobs += [
            Job(todo[0].label, todo, frozenset(job.name for job in jobs if _pair(job.what) == _pair(todo)))
            for todo in missing
            if todo
        ]
    return jobs


def _pair(cells: list[Cell]) -> tuple[str, int]:
    """The task and seed of a job."""
    return cells[0].task, cells[0].seed


def _made(todo: list[Job], folder: pathlib.Path, settings: Settings, workers: Workers) -> Iterator[tuple]:
    """Jobs as they are done, each with the files of its cells or the exception that ended it."""
    if not todo:
        return
    names = tuple(sorted({_pair(job.what)[0] for job in todo}))
    identity = functools.partial(deliveries.identity, names)
    with cluster.connected(min(workers.jobs, len(todo)), workers.scheduler, identity) as client:
        yield from pool.results(
            client,
            todo,
            deliveries.make,
            lambda job: (job.what, deliveries.needed(job.what, folder), settings, identity(), names),
            JOBS_OF_A_PROCESS,
        )


def _require_settings(folder: pathlib.Path, settings: Settings, suite: Suite) -> None:
    """Keeps runs with other settings out of a folder that holds cells.

    Raises:
      UsageError: the folder's cells were made with other settings, or by tasks that were different.
    """
    path = folder / "settings.json"
    wanted = dataclasses.asdict(settings) | {"tasks": {name: tasks.available()[name].effort() for name in suite.tasks}}
    wanted = json.loads(json.dumps(wanted))
    found = json.loads(path.read_text()) if path.is_file() else wanted
    merged = found["tasks"] | wanted["tasks"]
    if found | {"tasks": merged} != wanted | {"tasks": wanted["tasks"] | found["tasks"]}:
        raise UsageError(f"{folder} holds cells made with other settings ({path}); choose another --output")
    command.make_folder(folder)
    files.write({str(path): command.to_json(wanted | {"tasks": merged})})


def _line(cell: Cell, folder: pathlib.Path) -> str:
    result = cells.read(cell, folder)
    error = "" if result.squared_error is None else f"  squared error {result.squared_error:.5f}"
    return f"{cell.task:22} seed {cell.seed}  {cell.name:20} {result.right.mean():7.2%} {result.seconds:6.1f} s{error}"


def _suite() -> Suite:
    """The suite of the flags.

    Raises:
      UsageError: it cannot be.
    """
    known = tasks.available()
    quick = [name for name in tasks.QUICK if name in known] or tasks.usual()
    names = _TASKS.value or (quick if _QUICK.value else tasks.usual())
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no task {', '.join(unknown)}; there are {', '.join(known)}")
    bits, seeds = widths.parsed(_BITS.value, _BITS.name, URGENCY), sorted(set(_numbers(_SEEDS)))
    trained = bits if _TRAINED_BITS.value is None else widths.parsed(_TRAINED_BITS.value, _TRAINED_BITS.name, URGENCY)
    if _QUICK.value:
        bits, trained, seeds = [k for k in bits if k in (4, 1)], [k for k in trained if k in (4, 1)], seeds[:1]
    if _MULTIPLIERS.value:
        return Suite(names, seeds, {model: trained for model in RECIPES if model != CONTROL}, True)
    return Suite(names, seeds, {POST_TRAINING: bits, TRAINED: trained})


def _numbers(flag: flags.FlagHolder) -> list[int]:
    try:
        return [int(text) for text in flag.value]
    except ValueError as error:
        raise UsageError(f"--{flag.name} takes whole numbers: {error}") from error


def _main() -> int:
    suite, console = _suite(), command.console()
    effort = _EFFORT.value * (0.5 if _QUICK.value else 1.0)
    settings = Settings(_ROWS.value, _RATE.value, effort, int(_WEIGHT_BITS.value), _TFLM.value)
    own = "_quick" if _QUICK.value and not _FLAGS["output"].present else ""
    folder = pathlib.Path(_COMMAND.output.value + own)
    if _OVERWRITE.value:
        shutil.rmtree(folder / "cells", ignore_errors=True)
        (folder / "settings.json").unlink(missing_ok=True)
    failures = run(suite, folder, settings, Workers(_JOBS.value, _SCHEDULER.value), console)
    results = summary.summarise(suite.cells(), folder, settings, _COMMAND.provenance())
    for place in filter(None, (folder, _PUBLISH.value and pathlib.Path(_PUBLISH.value))):
        summary.write(results, place)
    console.print(summary.by_model(results) if settings.tflm else summary.by_width(results))
    for line in summary.verdicts(results):
        console.print(line, soft_wrap=True)
    return command.EXIT_MODEL if failures else command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where cells failed."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
