# SPDX-License-Identifier: Apache-2.0
"""Cells made elsewhere: a job's files go to the worker with it, and those it makes come back as its result.

So workers share no folder with the suite, which a cluster may not have and which would be one more thing to set up and
to get wrong; only the suite writes into its folder, so that a worker that dies, or that was believed dead and is not,
leaves nothing there, half made or twice. It costs little: the models here are some 100 kB each.
"""

import contextlib
import functools
import os
import pathlib
import sys
import tempfile

from benchmarks import cells, command, tasks
from benchmarks.cells import CONTROL, FLOAT, Cell, Settings
from tflm_export import cluster, files

Files = dict[str, bytes]  # by path below the folder of a suite


def identity(names: tuple[str, ...]) -> dict[str, str]:
    """What the cells of tasks depend on besides their settings: versions, sources, and the data that are there."""
    known = tasks.available()
    own = {"data": " ".join(name for name in names if name in known) or "none"}
    return command.versions() | cluster.identity() | {"sources": _sources()} | own


def _sources() -> str:
    return cluster.fingerprint("tflm_export", "keras_rat", "benchmarks")


def needed(job: list[Cell], folder: pathlib.Path) -> Files:
    """The files that cells may begin with: those of the float model and of the control of their task and seed."""
    places = (Cell(job[0].task, job[0].seed, model).path(folder) for model in (FLOAT, CONTROL))
    found = (path for place in places for path in place.parent.glob(f"{place.stem}.*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def make(
    wanted: list[Cell], given: Files, settings: Settings, expected: dict[str, str], names: tuple[str, ...]
) -> Files:
    """A job: makes cells of one task and seed, in this order, in a folder of its own; returns their files.

    Args:
      wanted: cells.
      given: as `needed` gives it.
      expected, names: what `identity(names)` has to be.

    Raises:
      StrangerError: it is not.
    """
    import distributed

    cluster.require_alike(functools.partial(identity, names), expected, distributed.get_worker().address)
    with tempfile.TemporaryDirectory(prefix="accuracy_") as name, _hushed():
        cells.start_worker()
        folder = pathlib.Path(name)
        for path, content in given.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        cells.make(wanted, folder, settings)
        there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        return {path: place.read_bytes() for path, place in there.items() if path not in given}


def keep(made: Files, folder: pathlib.Path) -> None:
    """Writes what a job made; JSON last: where it is, the cell is done."""
    models, measured = ({p: data for p, data in made.items() if p.endswith(".json") is last} for last in (False, True))
    for part in (models, measured):
        for path in part:
            command.make_folder((folder / path).parent)
        files.write({str(folder / path): content for path, content in part.items()}, overwrite=True)


@contextlib.contextmanager
def _hushed():
    """Drops what the converter and the runtimes write to standard error from C++; exceptions travel as objects."""
    sys.stderr.flush()
    with open(os.devnull, "wb") as null:
        before = os.dup(2)
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
