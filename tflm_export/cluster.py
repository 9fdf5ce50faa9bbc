# SPDX-License-Identifier: Apache-2.0
"""Work in other processes, here or on other machines, by dask.distributed (extra `cluster`), which is loaded on use."""

import asyncio
import contextlib
import functools
import hashlib
import importlib.util
import itertools
import logging
import pathlib
import platform
import tempfile
import uuid
import warnings
from collections.abc import Callable, Hashable, Iterator
from importlib import metadata
from typing import Any

from tflm_export.errors import ModelError, UsageError

INSTALL = 'pip install "keras-rat[cluster]"'
HOW = "dask worker {address} --nthreads 1 --nworkers N"  # starts workers as they have to be
PATIENCE = 10.0  # seconds to wait for a scheduler to answer
PATIENCE_WITH_WORKERS = 30.0  # seconds to wait for the first of its workers
_CONFIGURATION = {
    "distributed.admin.large-graph-warning-threshold": "1GB",
    # A process here that died comes back, however long that takes; a LocalCluster gives its place up otherwise.
    "distributed.deploy.lost-worker-timeout": "30 days",
    "distributed.scheduler.allowed-failures": 2,
    "distributed.scheduler.worker-saturation": 1.0,  # no job waits behind another that may take its process with it
    "distributed.worker.profile.enabled": False,
}


class StrangerError(UsageError):
    """A worker has something else installed."""


@functools.cache
def fingerprint(*packages: str) -> str:
    """A digest of the sources of packages, which tells apart checkouts of the same version."""
    digest = hashlib.sha256()
    for package in packages:
        found = importlib.util.find_spec(package)
        for folder in found.submodule_search_locations if found else ():
            for path in sorted(pathlib.Path(folder).rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def identity() -> dict[str, str]:
    """What processes must have in common with this one to share its work, by name."""
    packages = {name: metadata.version(name) for name in ("distributed", "numpy")}
    own = {"python": ".".join(platform.python_version_tuple()[:2]), "tflm_export": fingerprint("tflm_export")}
    return packages | own


@contextlib.contextmanager
def connected(
    jobs: int, scheduler: str | None = None, identity: Callable[[], dict[str, str]] = identity
) -> Iterator[Any]:
    """A `distributed.Client` of workers that do one thing at a time.

    They are processes of this machine that end with the block, or those that somebody started at a scheduler's address;
    one that dies is replaced by its nanny, and what it did is done again.

    Args:
      jobs: how many processes to start; without meaning with a scheduler.
      scheduler: an address such as tcp://host:8786.
      identity: what workers of that scheduler must have in common with this process. They import it.

    Raises:
      UsageError: dask.distributed is not installed; no scheduler answers, or it has no workers; workers run several
        things at once in a process, or have something else installed.
    """
    distributed = _engine()
    import dask

    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(_CONFIGURATION))
        if scheduler is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tflm_export_"))
            stack.enter_context(dask.config.set({"temporary-directory": folder}))  # where dask leaves an empty one
            yield stack.enter_context(_processes(distributed, jobs, folder))
        else:
            log = logging.getLogger("distributed.client")  # what it says of lost connections is said in a sentence here
            stack.callback(log.setLevel, log.level)
            log.setLevel(logging.CRITICAL)
            asyncio.run(_require_scheduler(scheduler))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)  # what matters is below
                client = stack.enter_context(distributed.Client(scheduler, timeout=PATIENCE))
            _require_workers(client, scheduler, identity)
            yield client


@contextlib.contextmanager
def _processes(distributed, jobs: int, folder: str) -> Iterator[Any]:
    """A client of processes here, which end with the block; on a machine with much else to do, some time after it."""
    cluster = distributed.LocalCluster(
        n_workers=jobs,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",  # a free port, for there may be several
        silence_logs=logging.CRITICAL,
        local_directory=folder,
    )
    client = distributed.Client(cluster)
    try:
        yield client
    finally:
        for what in (client, cluster):
            # What was done is done, and dask ends its processes with this one at the latest.
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):  # which are two before Python 3.11
                what.close()


def workers(client) -> list[str]:
    """The addresses of a client's workers.

    Raises:
      UsageError: the scheduler is gone.
    """
    try:
        return sorted(client.nthreads())
    except OSError as error:
        raise gone() from error


class Ahead:
    """Calls of a function on workers, some of them before it is known whether their results are asked for."""

    def __init__(self, client, function: Callable, common):
        """
        Args:
          client: as `connected` gives it.
          function: called with what is common to all calls, and with one thing more, which is hashable.
        """
        self._client, self._function = client, function
        # A task, not scattered data: those are lost with the workers that have them.
        self._common = client.submit(_same, common, key=f"common-{uuid.uuid4().hex}")
        self._futures: dict[Hashable, Any] = {}

    def __call__(self, wanted: Iterator[Hashable]) -> Any:
        """The result for the first of what may be wanted; as many of the others are begun as there are workers.

        Raises:
          ModelError: every process that began it died.
          Exception: what the function raised.
        """
        import distributed

        now = list(itertools.islice(wanted, max(1, len(workers(self._client)))))
        idle = [item for item, future in self._futures.items() if item not in now and not future.done()]
        if idle:
            self._client.cancel([self._futures.pop(item) for item in idle])
        for place, item in enumerate(now):
            if item not in self._futures:
                key = f"ahead-{uuid.uuid4().hex}"
                self._futures[item] = self._client.submit(self._function, self._common, item, key=key, priority=-place)
        try:
            return self._futures.pop(now[0]).result()
        except distributed.KilledWorker as error:
            raise ModelError(f"{now[0]}: {failure(error)}") from error
        except distributed.client.FutureCancelledError as error:
            raise gone() from error


def _same(common):
    return common


def gone() -> UsageError:
    """What to raise where the scheduler does not answer any more."""
    return UsageError("the scheduler is gone; what was written is there, and the same command does the rest")


def failure(error: BaseException) -> str:
    """Why a job failed, for people."""
    import distributed

    if isinstance(error, distributed.KilledWorker):
        return f"every process that began it died, {error.allowed_failures + 1} of them"
    return repr(error)


def require_alike(identity: Callable[[], dict[str, str]], expected: dict[str, str], who: str) -> None:
    """Raises StrangerError where this process, a worker, differs from the one that expects something of it."""
    own = identity()
    if differing := [name for name in expected if own.get(name) != expected[name]]:
        pairs = (f"{name} {own.get(name)} and not {expected[name]}" for name in differing)
        raise StrangerError(f"worker {who} has {', '.join(pairs)}; install the same there and here")


def _engine():
    try:
        import distributed
    except ImportError:
        raise UsageError(f"several processes need dask.distributed, which is not installed: {INSTALL}") from None
    return distributed


async def _require_scheduler(address: str) -> None:
    """Raises UsageError where no scheduler answers at an address: a client that fails to connect never ends."""
    import distributed

    try:
        async with distributed.rpc(address, timeout=PATIENCE) as there:
            kind = (await asyncio.wait_for(there.identity(), PATIENCE))["type"]
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        example = "it is like tcp://host:8786, as `dask scheduler` shows it"
        raise UsageError(f"no scheduler at {address}: {str(error) or 'no answer'}; {example}") from error
    if kind != "Scheduler":
        raise UsageError(f"{address} is the address of a {kind.lower()}; give that of the scheduler")


def _require_workers(client, address: str, identity: Callable[[], dict[str, str]]) -> None:
    """Raises UsageError where a scheduler has no workers, or some that cannot do the work."""
    how = HOW.format(address=address)
    try:
        client.wait_for_workers(1, PATIENCE_WITH_WORKERS)
    except TimeoutError:
        raise UsageError(f"the scheduler at {address} has no workers; start some: {how}") from None
    busy = {worker: threads for worker, threads in client.nthreads().items() if threads != 1}
    for worker, threads in busy.items():
        raise UsageError(f"worker {worker} runs {threads} jobs at once in a process, and must run one: {how}")
    try:
        for worker in workers(client):
            client.run(require_alike, identity, identity(), worker, workers=[worker])
    except UsageError:
        raise
    except Exception as error:  # dask's own, around what it could not import
        fix = "install the same there, or start them in a checkout with PYTHONPATH=."
        raise UsageError(f"workers of {address} lack what is here: {error}; {fix}") from error
