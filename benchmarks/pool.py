# SPDX-License-Identifier: Apache-2.0
"""Jobs that need others, on workers of dask.distributed: the urgent first, and all that can be in spite of failures.

dask places jobs, moves their data, and does what a dead worker did again. What it is not asked to do is here: a worker
is given one job at a time, so that a job whose process dies takes no others with it; and processes are replaced after
some jobs, between two of them. dask's own lifetime of workers is by the clock and ends what they are doing.
"""

import contextlib
import dataclasses
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from tflm_export import cluster

PATIENCE = 1.0  # seconds after which workers that came or went are looked for


@dataclasses.dataclass(frozen=True)
class Job:
    """Something to do.

    Attributes:
      name: of it alone.
      what: what the caller makes arguments of.
      needs: names of jobs without whose success it is not tried; those that are no jobs of the run are done already.
    """

    name: str
    what: Any
    needs: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class _Done:
    """What a worker answers: its address, how many jobs its process has done, and what came of this one."""

    worker: str
    count: int
    result: Any


_counter = itertools.count(1)  # of jobs in this process, which is a worker


def _do(function: Callable, arguments: tuple) -> _Done:
    """Runs a job in a worker."""
    import distributed

    count = next(_counter)
    return _Done(distributed.get_worker().address, count, function(*arguments))


class _Renewal:
    """Replaces processes of workers, between two jobs."""

    def __init__(self, client, jobs: int | None):
        self._client, self._jobs = client, jobs
        self._going: dict[str, threading.Thread] = {}

    def consider(self, done: _Done) -> None:
        """Begins to replace the process that did a job if it has done enough and nobody else uses it."""
        if self._jobs is None or done.count < self._jobs or self._client.processing([done.worker]).get(done.worker):
            return
        self._going[done.worker] = threading.Thread(target=_restart, args=(self._client, [done.worker]), daemon=True)
        self._going[done.worker].start()

    def places(self) -> int:
        """How many jobs there can be at once; none while a process that ends is there yet, as dask may choose it.

        To name others as `workers=` is no way out: loose restrictions leave a job without a worker for ever when its
        workers died and new ones came (distributed 2026.8).
        """
        self._going = {address: thread for address, thread in self._going.items() if thread.is_alive()}
        workers = cluster.workers(self._client)
        return 0 if self._going.keys() & {*workers} else len(workers)

    def end(self) -> None:
        """Waits until no process is being replaced."""
        for thread in self._going.values():
            thread.join()


def results(
    client,
    jobs: list[Job],
    function: Callable,
    arguments: Callable[[Job], tuple],
    jobs_of_a_process: int | None = None,
) -> Iterator[tuple[Job, Any]]:
    """Jobs as they are done, each with its result or the exception that ended it; those that others need first.

    Args:
      client: as `tflm_export.cluster.connected` gives it.
      jobs: the urgent ones first. One is begun when what it needs was taken from this iterator.
      function: what to call, in a worker.
      arguments: gives those of a job, in this process, when it is begun.
      jobs_of_a_process: after how many a worker's process is replaced, where it has a nanny.

    Raises:
      UsageError: the scheduler is gone.
      StrangerError: a worker that came later has something else installed.
    """
    waiting, running = list(jobs), {}
    undone = {job.name for job in jobs}
    failed: set[str] = set()
    renewal = _Renewal(client, jobs_of_a_process)
    try:
        while waiting or running:
            failed |= {job.name for job in waiting if job.needs & failed}
            waiting = [job for job in waiting if job.name not in failed]
            ready = [job for job in waiting if not job.needs & undone]
            for job in ready[: max(0, renewal.places() - len(running))]:
                running[_begun(client, job, function, arguments(job))] = job
                waiting.remove(job)
            for future in _ended(client, list(running)):
                job = running.pop(future)
                error = future.exception()
                done = None if error else future.result()
                future.release()
                if isinstance(error, cluster.StrangerError):
                    raise error
                if done:
                    renewal.consider(done)
                    yield job, done.result
                    undone.remove(job.name)
                else:
                    yield job, error
                    failed.add(job.name)
    finally:
        _abandon(client, running)
        renewal.end()


def _begun(client, job: Job, function: Callable, arguments: tuple):
    """The future of a job."""
    key = f"{job.name}-{uuid.uuid4().hex}"  # two runs on one cluster have jobs of the same name
    return client.submit(_do, function, arguments, key=key)


def _ended(client, running: list) -> list:
    """Futures that have ended, after a while perhaps none."""
    import distributed

    if not running:  # all workers are being replaced
        time.sleep(PATIENCE / 5)
        return []
    try:
        return list(distributed.wait(running, PATIENCE, "FIRST_COMPLETED").done)
    except TimeoutError:
        return []
    except distributed.client.FuturesCancelledError as error:
        raise cluster.gone() from error


def _abandon(client, running: dict) -> None:
    """Stops jobs: those that nobody waits for would go on otherwise, for a process cannot stop a thread of its own."""
    if not running or client.cluster is not None or client.status != "running":  # ours end anyhow
        return
    keys = {future.key for future in running}
    with contextlib.suppress(OSError, TimeoutError):  # the scheduler has gone
        busy = [worker for worker, doing in client.processing().items() if keys & {*doing}]
        client.cancel(list(running))
        _restart(client, busy)


def _restart(client, workers: list[str]) -> None:
    """Ends processes that a nanny starts again; others stay."""
    known = client.scheduler_info(n_workers=-1)["workers"]
    with contextlib.suppress(OSError, TimeoutError):  # the scheduler has gone, or a machine
        client.restart_workers([worker for worker in workers if known.get(worker, {}).get("nanny")])
