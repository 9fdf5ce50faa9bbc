# SPDX-License-Identifier: Apache-2.0
"""A cluster as users start one, each node a process group of its own, and cheap things to do on it."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.helpers.command import environment


class Cluster:
    """A scheduler and its nodes.

    Attributes:
      address: of the scheduler.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder, self._processes = folder, {}
        self._start("scheduler", "scheduler", "--host=127.0.0.1", "--port=0", f"--scheduler-file={folder / 'address'}")
        self.address = self._address(folder / "address")

    @staticmethod
    def _address(path: pathlib.Path) -> str:
        while True:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):  # not yet written, or not yet whole
                return json.loads(path.read_text())["address"]
            time.sleep(0.05)

    def start_node(self, name: str, *arguments: str, **more: str) -> None:
        """Starts a worker with its nanny."""
        self._start(name, "worker", self.address, f"--name={name}", "--host=127.0.0.1", *arguments, **more)

    def kill(self, name: str) -> None:
        """Takes a node away, as if its machine lost power."""
        os.killpg(self._processes[name].pid, signal.SIGKILL)
        self._processes.pop(name).wait()

    def end(self) -> None:
        for name in list(self._processes):
            self.kill(name)

    def _start(self, name: str, *arguments: str, **more: str) -> None:
        folder = self._folder / name
        folder.mkdir()
        with open(folder / "log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                cwd=folder, stdout=log, stderr=log, start_new_session=True,
                env=environment(**{"DASK_TEMPORARY_DIRECTORY": str(folder), **more}),
            )  # fmt: skip


@contextlib.contextmanager
def started(folder: pathlib.Path, *names: str) -> Iterator[Cluster]:
    """A scheduler and nodes that do one thing at a time."""
    cluster = Cluster(folder)
    try:
        for name in names:
            cluster.start_node(name, "--nthreads=1")
        yield cluster
    finally:
        cluster.end()


def process(name: str, seconds: float = 0.0) -> int:
    """A job: the process it runs in, which "dies" ends; "fails" raises."""
    time.sleep(seconds)
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "fails":
        raise ValueError("broken")
    return os.getpid()


def strange() -> dict[str, str]:
    """An identity that no two processes share."""
    return {"process": str(os.getpid())}
