# SPDX-License-Identifier: Apache-2.0
"""Long fuzzing runs of the exporter.

usage: python -m tests.fuzz [--mutants=100000] [--seed=0] [--jobs=2]    random mutants, then LiteRT's verdict on them
       python -m tests.fuzz --coverage [--seconds=600]                  guided by coverage; needs pip install atheris

Stops at the first finding with the mutant written to build/fuzz/.
"""

import itertools
import multiprocessing
import pathlib
import random
import resource
import sys
import tempfile
import time
import traceback
import tracemalloc

from absl import app, flags
from rich.progress import track

from tests.fuzz import acceptance, mutants, structure, target
from tflm_export import METHODS

_MUTANTS = flags.DEFINE_integer("mutants", 100_000, "Mutants to try.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the mutations.")
_JOBS = flags.DEFINE_integer("jobs", multiprocessing.cpu_count(), "Processes.")
_COVERAGE = flags.DEFINE_bool("coverage", False, "Guide by coverage (atheris).")
_SECONDS = flags.DEFINE_integer("seconds", 600, "Length of a run guided by coverage.")

FOLDER = pathlib.Path("build/fuzz")
BATCH = 500
MEMORY_EVERY, MEMORY_FACTOR = 50, 10  # tracing is slow
MEMORY_SLACK = 1 << 22  # what small files cost, too: a table of all integers of 16 bits, for one
COMPUTE_EVERY = 2  # mutants of which one is also run and written as C
MOST_RESIDENT = 1 << 21  # KiB
CHECK_EVERY = 20  # narrowed mutants of which one goes to LiteRT


def run_batch(task: tuple[int, str]) -> tuple[int, str]:
    """Tries a batch of mutants; returns how many were narrowed, and the traceback of the first finding."""
    seed, folder = task
    source = random.Random(seed)
    narrowed_count = 0
    for i in range(BATCH):
        data = mutate(run_batch.seeds, run_batch.built, source)
        bits, method = source.choice((1, 2, 4, 8, 31)), source.choice(METHODS)
        try:
            with target.limited():
                narrowed = target.exercise(data, bits, method)
            if i % MEMORY_EVERY == 0:
                require_little_memory(data, bits, method)
            elif i % COMPUTE_EVERY == 0:
                with target.limited(target.COMPUTE_SECONDS):
                    target.compute(data, source)
                resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                assert resident <= MOST_RESIDENT, f"{resident} KiB"
        except Exception:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path = FOLDER / f"{seed}_{i}.tflite"
            path.write_bytes(data)
            return narrowed_count, f"{path}\n{traceback.format_exc()}"
        if narrowed is not None:
            narrowed_count += 1
            if narrowed_count % CHECK_EVERY == 0:
                pathlib.Path(folder, f"{seed}_{i}.before").write_bytes(data)
                pathlib.Path(folder, f"{seed}_{i}.after").write_bytes(narrowed)
    return narrowed_count, ""


def require_little_memory(data: bytes, bits: int, method: str) -> None:
    """Raises AssertionError where a mutant takes much memory; what is made once for all models is to be there."""
    tracemalloc.start()
    try:
        with target.limited(target.SECONDS * 10):
            target.exercise(data, bits, method)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY_FACTOR * len(data) + MEMORY_SLACK, f"{peak} bytes for a file of {len(data)}"


def mutate(seeds: list[bytes], built: list[bytes], source: random.Random) -> bytes:
    """A mutant of any kind: bytes of a seed, or facts of a model that can be built again."""
    if source.random() < 0.5:
        return mutants.mutate(source.choice(seeds), source)
    return structure.mutate(source.choice(built), source)


def _start(seeds: list[bytes], built: list[bytes]) -> None:
    run_batch.seeds, run_batch.built = seeds, built


def run_random() -> int:
    """Random mutants in parallel; 0 if nothing was found."""
    batches = -(-_MUTANTS.value // BATCH)
    seeds, built = mutants.seeds(), structure.seeds()
    with tempfile.TemporaryDirectory() as folder, multiprocessing.Pool(_JOBS.value, _start, (seeds, built)) as pool:
        tasks = zip(range(_SEED.value * 1_000_000, _SEED.value * 1_000_000 + batches), itertools.repeat(folder))
        results = []
        for result in track(pool.imap_unordered(run_batch, tasks), f"{len(seeds) + len(built)} seeds", total=batches):
            results.append(result)
            if result[1]:
                print(result[1], file=sys.stderr)
                return 1
        narrowed = sum(count for count, _ in results)
        pairs = len(list(pathlib.Path(folder).glob("*.before")))
        print(f"{batches * BATCH} mutants, {narrowed} narrowed, no finding; asking LiteRT about {pairs} of them")
        bad = acceptance.refused(pathlib.Path(folder))
        for number in bad:
            FOLDER.mkdir(parents=True, exist_ok=True)
            for suffix in ("before", "after"):
                (FOLDER / f"{number}.{suffix}").write_bytes(pathlib.Path(folder, f"{number}.{suffix}").read_bytes())
        print(f"LiteRT takes the original and refuses the narrowed file: {len(bad)} {' '.join(bad[:5])}")
        return 1 if bad else 0


def run_guided() -> int:
    """Mutants guided by the coverage of tflm_export; atheris ends the process itself."""
    import atheris

    atheris.instrument_all()
    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(mutants.seeds(20_000)):
        (corpus / f"seed{i}").write_bytes(data)
    started = time.monotonic()

    def one(data: bytes) -> None:
        bits, method = 1 + len(data) % 8, METHODS[len(data) % len(METHODS)]
        target.exercise(data, bits, method)

    arguments = [sys.argv[0], f"-max_total_time={_SECONDS.value}", "-timeout=5", "-max_len=20000", str(corpus)]
    atheris.Setup(arguments, one)
    atheris.Fuzz()
    print(f"no finding in {time.monotonic() - started:.0f} s")
    return 0


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]}")
    return run_guided() if _COVERAGE.value else run_random()


if __name__ == "__main__":
    app.run(main)
