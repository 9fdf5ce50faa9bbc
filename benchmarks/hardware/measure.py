# SPDX-License-Identifier: Apache-2.0
"""Everything that is asked of a set of designs: which jobs that takes, done in parallel, and rows of figures from them.

yosys runs in processes of its own and numpy lets go of the interpreter, so threads keep the cores busy.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator

from benchmarks.hardware import energy, synthesis, workload
from benchmarks.hardware.designs import CSD, LANES, MAC, NARROW, STOCK, WIDE, Design, design
from benchmarks.hardware.liberty import Library
from benchmarks.hardware.synthesis import AREA, CELLS, FPGAS, SPEED, TRANSISTORS, Job, Store, better
from benchmarks.hardware.workload import BY_CHANNEL, BY_PIXEL, Workload
from tflm_export import ModelError

ENERGY = "energy"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
      names: of rescalers besides the stock one.
      has_lanes: whether to synthesise several of them side by side.
      has_narrow: whether to do all of it for the narrower accumulator, too.
    """

    names: tuple[str, ...]
    has_lanes: bool = True
    has_narrow: bool = True

    @property
    def designs(self) -> list[Design]:
        """All of them, the stock one first."""
        accumulators = (WIDE, NARROW) if self.has_narrow else (WIDE,)
        single = [design(name, accumulator) for accumulator in accumulators for name in (STOCK, *self.names)]
        laned = [name for name in self.names if name != CSD] if self.has_lanes else []
        return [*single, design(MAC), *(design(name, WIDE, count) for name, count in itertools.product(laned, LANES))]


@dataclasses.dataclass(frozen=True)
class Task:
    """A job, and what its smallest netlist is fed, if anything."""

    job: Job
    load: Workload | None = None

    def run(self, library: Library | None, store: Store) -> dict[str, dict]:
        """Its results, from the store where they are there: of the synthesis by the job's kind, and "energy"."""
        found = {self.job.kind: synthesis.kept(self.job, library, store)}
        if self.load is not None:
            found[ENERGY] = self._energy(library, store, self.load)
        return found

    def _energy(self, library: Library, store: Store, load: Workload) -> dict:
        def make() -> dict:
            return energy.measure(self.job, synthesis.smallest(self.job, library, store), library.volts, load)

        hashes = [self.job.hash(library), str(energy.CORNERS), *(found.hash for found in load.orders.values())]
        return store.get(f"{self.job.design.key} energy {self.job.multiplier}", synthesis.digest(hashes), make)


def tasks(designs: list[Design], library: Library | None, loads: Callable[[Design], Workload]) -> list[Task]:
    """What there is to do for designs."""
    found = []
    for one in designs:
        is_single, is_rescaler = one.lanes == 1, one.name != MAC
        if is_single and is_rescaler and one.accumulator == WIDE:
            found += [Task(Job(one, kind, way)) for kind, target in FPGAS.items() for way in target.multipliers(one)]
        if is_single:
            found += [Task(Job(one, TRANSISTORS, way)) for way in one.multipliers]
        if library is not None:
            load = loads(one) if is_single and is_rescaler else None
            found += [Task(Job(one, CELLS, way), load) for way in one.multipliers]
    return found


def run(
    wanted: list[Task], library: Library | None, store: Store, jobs: int, done: Callable[[Task], None]
) -> dict[tuple[str, str], dict[str, dict]]:
    """Does tasks, so many at a time.

    Args:
      done: called with each task that is.

    Returns:
      Results by multiplier, by (key of the design, kind or "energy").

    Raises:
      UsageError: a synthesis failed.
      ModelError: a netlist differs from the simulator.
    """
    results: dict[tuple[str, str], dict[str, dict]] = {}
    with _pool(jobs) as pool:
        running = {pool.submit(task.run, library, store): task for task in wanted}
        for future in concurrent.futures.as_completed(running):
            task = running[future]
            for kind, result in future.result().items():
                results.setdefault((task.job.design.key, kind), {})[task.job.multiplier] = result
            done(task)
    return results


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Threads; what they have not begun is dropped where one of them fails."""
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def rows(designs: list[Design], results: dict, library: Library | None, factors: int) -> list[dict]:
    """Figures of designs, as they are stored.

    Args:
      results: of `run`.
      factors: of the model, for the bytes of its tables; 0 for none.
    """
    return [_row(one, results, library, factors) for one in designs]


def _row(one: Design, results: dict, library: Library | None, factors: int) -> dict:
    row = {
        "name": one.name, "label": one.label, "bits": one.bits, "accumulator_bits": one.accumulator.bits,
        "shift_bits": one.accumulator.shift_bits, "lanes": one.lanes, "module": one.top,
        "table_bytes": one.table_bytes(factors) if factors and one.lanes == 1 else None,
    }  # fmt: skip
    for kind in FPGAS:
        found = results.get((one.key, kind))
        best = found[better(found, "luts")[0]] if found else {}
        row |= {f"{kind}_luts": best.get("luts"), f"{kind}_dsps": best.get("dsps")}
    counted = results.get((one.key, TRANSISTORS))
    way, number = better(counted, TRANSISTORS) if counted else ("", None)
    row |= {"transistors": number, "transistors_multiplier": way}
    row |= _cells(results.get((one.key, CELLS)), library)
    row |= _energy(results.get((one.key, ENERGY)))
    return row


def _cells(found: dict[str, dict] | None, library: Library | None) -> dict:
    """Area and delay of the better multiplier; of the delay when ABC aims at it, the better one of that."""
    names = ("um2", "multiplier", "nand2", "ns", "ns_fast", "um2_fast", "multiplier_fast")
    if not found:
        return dict.fromkeys(names)
    way, area = better(found, AREA, "area")
    values = [area, way, area / library.nand_area, found[way][AREA]["ns"], None, None, None]
    if SPEED in found[way]:
        fast, delay = better(found, SPEED, "ns")
        values[-3:] = delay, found[fast][SPEED]["area"], fast
    return dict(zip(names, values, strict=True))


def _energy(found: dict[str, dict] | None) -> dict:
    """Of the better multiplier, which need not be the one of the smaller area."""
    names = ("pj", "pj_multiplier", "pj_by_pixel", "changes", "rescales", "left_out", "depth")
    if not found:
        return dict.fromkeys(names)
    way, least = better(found, "picojoules", BY_CHANNEL)
    best = found[way]
    by_pixel = better(found, "picojoules", BY_PIXEL)[1]
    counts = (best["changes"][BY_CHANNEL], best["rescales"], best["left_out"], best["depth"])
    values = (least, way, by_pixel, *counts)
    return dict(zip(names, values, strict=True))


def loader(data: bytes | None, name: str, vectors: int) -> Callable[[Design], Workload]:
    """Workloads for designs, each width made once.

    Args:
      data: a .tflite file; None for random accumulators.
      name: of it.
      vectors: at most so many.
    """
    made: dict = {}

    def load(one: Design) -> Workload:
        grid = one.grid
        if grid not in made:
            found = workload.random(grid, vectors) if data is None else workload.of_model(data, name, grid)
            made[grid] = found.some(vectors)
        fitting = made[grid].fitting(one)
        if not len(fitting):
            raise ModelError(f"{name}: no rescale fits a {one.accumulator}")
        return fitting

    return load
