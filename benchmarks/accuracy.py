"""Accuracy against multiplier width, on real tasks: what narrowing costs, and what rescale-aware training wins back.

For every task and seed: a float network; from it plain quantisation-aware training (QAT, 31 bits, the control); that
model narrowed after training, with both methods; and rescale-aware training (RAT) from the same float weights for the
same epochs, on both grids. Every int8 figure is of the converted .tflite on LiteRT, on test rows. Cells that are
there already are not made again; see docs/results for what is written.

usage: python -m benchmarks.accuracy [--quick] [--output=build/accuracy] [--jobs=N] [--publish=docs/results]
                                     [--tasks=...] [--bits=8,6,4,3,2,1] [--seeds=0,1,2] [--rows=test|validation]
                                     [--weight_bits=4]
"""

import concurrent.futures
import dataclasses
import heapq
import itertools
import json
import multiprocessing
import os
import pathlib
import sys

from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import cells, provenance, summary, tasks
from benchmarks.cells import CONTROL, FLOAT, POST_TRAINING, TRAINED, Cell, Settings
from tflm_export import METHODS, UsageError, files
from tflm_export.rescale import MAX_BITS, check_bits

_FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string("output", "build/accuracy", "Folder of the cells and results.", flag_values=_FLAGS)
_PUBLISH = flags.DEFINE_string("publish", None, "Also write the results here, without the cells.", flag_values=_FLAGS)
_TASKS = flags.DEFINE_list("tasks", None, "Tasks; default: all whose data are here.", flag_values=_FLAGS)
_BITS = flags.DEFINE_list("bits", ["8", "6", "4", "3", "2", "1"], "Multiplier widths.", flag_values=_FLAGS)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.", flag_values=_FLAGS)
_ROWS = flags.DEFINE_enum("rows", "test", ["test", "validation"], "Rows to measure on.", flag_values=_FLAGS)
_RATE = flags.DEFINE_float("rate", Settings.rate, "Learning rate of the fine-tuning.", flag_values=_FLAGS)
_WEIGHT_BITS = flags.DEFINE_enum(
    "weight_bits", "8", ["8", "4"], "Bits of the weights; those of 4 have no post-training models.", flag_values=_FLAGS
)
_QUICK = flags.DEFINE_bool("quick", False, "Three tasks, one seed, k = 4 and 1.", flag_values=_FLAGS)
_JOBS = flags.DEFINE_integer(
    "jobs", os.cpu_count(), "Processes, of one thread each.", lower_bound=1, flag_values=_FLAGS
)

JOBS_OF_A_PROCESS = 24

# What is made first, in case a run is stopped: where there is most to win.
URGENCY = (1, 2, 4, 8, 3, 6)


@dataclasses.dataclass(frozen=True)
class Suite:
    """What a run is to make.

    Attributes:
      tasks: names.
      seeds: starting points.
      bits: widths, largest first.
      models: what is narrowed to them, of POST_TRAINING and TRAINED.
    """

    tasks: list[str]
    seeds: list[int]
    bits: list[int]
    models: tuple[str, ...]

    @property
    def post_training_bits(self) -> list[int]:
        """The widths that the control is narrowed to."""
        return self.bits if POST_TRAINING in self.models else []

    def cells(self) -> list[Cell]:
        """All cells."""
        made = []
        for task in self.tasks:
            for seed in self.seeds:
                made += [Cell(task, seed, FLOAT), Cell(task, seed, CONTROL, "", MAX_BITS)]
                narrowed = itertools.product(self.models, METHODS, self.bits)
                made += [Cell(task, seed, *model) for model in narrowed]
        return made


class Workers:
    """Processes that are replaced after some jobs: every training and conversion leaves TensorFlow some 50 MB larger.

    `max_tasks_per_child` of a pool does that too, but not before Python 3.11, and it can hang (CPython issue 115634).

    Args:
      count: how many; no more jobs may run at a time.
    """

    def __init__(self, count: int):
        self._free = [self._process() for _ in range(count)]
        self._owners = {}  # by future

    @staticmethod
    def _process() -> tuple[concurrent.futures.Executor, list]:
        """A process that starts with its first job, and the jobs it had."""
        context = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(1, context, cells.start_worker), []

    def submit(self, function, *arguments) -> concurrent.futures.Future:
        """Runs function(*arguments) in a process that is free."""
        self._free += [self._owners.pop(future) for future in list(self._owners) if future.done()]
        executor, jobs = self._free.pop(0)
        if len(jobs) == JOBS_OF_A_PROCESS or any(job.exception() is not None for job in jobs):
            executor.shutdown(wait=False)
            executor, jobs = self._process()
        future = executor.submit(function, *arguments)
        jobs.append(future)
        self._owners[future] = executor, jobs
        return future

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for executor, _ in (*self._free, *self._owners.values()):
            executor.shutdown(wait=False, cancel_futures=True)


def run(suite: Suite, folder: pathlib.Path, settings: Settings, jobs: int, console: Console) -> list[str]:
    """Makes the cells that are not there; returns what failed.

    The base of a task and seed comes before its trained cells; of what is ready, the most urgent runs first, and the
    costly tasks come last, seed by seed.
    """
    _require_settings(folder, settings, suite)
    every = suite.cells()
    done = sum(cell.path(folder).is_file() for cell in every)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failures = []
    ready = []  # a heap of (order, index of the task, task, seed, what to train or None for the base)

    def offer(index: int, task: str, seed: int) -> None:
        """Puts what is next for a task and seed on the heap."""
        if not cells.has_base(task, seed, suite.post_training_bits, folder):
            heapq.heappush(ready, (_order(task, seed, -1), index, task, seed, None))
            return
        for method in METHODS:
            for k in suite.bits:
                if not Cell(task, seed, TRAINED, method, k).path(folder).is_file():
                    heapq.heappush(ready, (_order(task, seed, URGENCY.index(k)), index, task, seed, (method, k)))

    for index, task in enumerate(suite.tasks):
        for seed in suite.seeds:
            offer(index, task, seed)
    with (
        Workers(jobs) as workers,
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress,
    ):
        bar = progress.add_task("cells", total=len(every), completed=done)
        running = {}
        while ready or running:
            while ready and len(running) < jobs:
                job = heapq.heappop(ready)
                _, _, task, seed, trained = job
                method, k = trained or (None, None)
                bits = suite.post_training_bits if trained is None else [k]
                running[workers.submit(cells.run, task, seed, method, bits, str(folder), settings)] = job
            for future in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                _, index, task, seed, trained = running.pop(future)
                if future.exception() is not None:
                    failures.append(f"{task}, seed {seed}, {trained or 'base'}: {future.exception()!r}")
                    console.print(f"[red]{failures[-1]}", highlight=False)
                    continue
                made = future.result()
                progress.advance(bar, len(made))
                for cell in made:
                    if cell.model != POST_TRAINING:
                        console.print(_line(cell, folder), highlight=False, soft_wrap=True)
                if trained is None:
                    offer(index, task, seed)
    return failures


def _order(task: str, seed: int, urgency: int) -> tuple[int, ...]:
    """Sorts jobs: lower goes first."""
    return (1, seed, urgency) if tasks.available()[task].costly else (0, urgency, seed)


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
    folder.mkdir(parents=True, exist_ok=True)
    files.write({str(path): (json.dumps(wanted | {"tasks": merged}, indent=1) + "\n").encode()})


def _line(cell: Cell, folder: pathlib.Path) -> str:
    result = cells.read(cell, folder)
    error = "" if result.squared_error is None else f"  squared error {result.squared_error:.5f}"
    return f"{cell.task:22} seed {cell.seed}  {cell.name:20} {result.right.mean():7.2%} {result.seconds:6.1f} s{error}"


def _suite() -> Suite:
    known = tasks.available()
    quick = [name for name in tasks.QUICK if name in known] or list(known)
    names = _TASKS.value or (quick if _QUICK.value else list(known))
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no task {', '.join(unknown)}; there are {', '.join(known)}")
    try:
        bits = sorted({check_bits(int(k)) for k in _BITS.value}, reverse=True)
        seeds = sorted({int(seed) for seed in _SEEDS.value})
    except ValueError as error:
        raise UsageError(f"--bits and --seeds take whole numbers: {error}") from error
    if unknown := [k for k in bits if k not in URGENCY]:
        raise UsageError(f"--bits can be {', '.join(map(str, sorted(URGENCY)))}, not {', '.join(map(str, unknown))}")
    if _QUICK.value:
        bits, seeds = [k for k in bits if k in (4, 1)], seeds[:1]
    return Suite(names, seeds, bits, (POST_TRAINING, TRAINED) if _WEIGHT_BITS.value == "8" else (TRAINED,))


def main(argv) -> int:
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        arguments = _FLAGS(argv)
        if len(arguments) > 1:
            raise UsageError(f"unexpected argument {arguments[1]}")
        suite = _suite()
        settings = Settings(_ROWS.value, _RATE.value, 0.5 if _QUICK.value else 1.0, int(_WEIGHT_BITS.value))
        folder = pathlib.Path(_OUTPUT.value + ("_quick" if _QUICK.value and not _FLAGS["output"].present else ""))
        failures = run(suite, folder, settings, _JOBS.value, console)
        command = provenance.command("accuracy", argv)
        results = summary.summarise(suite.cells(), folder, settings, command)
        for place in filter(None, (folder, _PUBLISH.value and pathlib.Path(_PUBLISH.value))):
            summary.write(results, place)
        console.print(summary.table(results))
        for line in summary.verdicts(results):
            console.print(line, highlight=False)
    except (UsageError, flags.Error) as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
