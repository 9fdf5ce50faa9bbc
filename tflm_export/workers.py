# SPDX-License-Identifier: Apache-2.0
"""A function on many items in processes of their own, so that one which crashes costs its item and no other."""

import collections
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait

from tflm_export import signals

PATIENCE = 1.0  # seconds after which a signal that had no effect is sent, or looked for, again


class _Worker:
    """A process that computes item after item.

    Attributes:
      process, connection: the process, and the way to it.
      index: of the item that it computes.
    """

    def __init__(self, function: Callable):
        context = multiprocessing.get_context("spawn")  # in no process do threads and locks of ours go on
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function))
        self.index = -1
        # Ctrl-C in a terminal reaches all its processes: from there on it is this one that stops them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, index: int, item) -> None:
        self.index = index
        with contextlib.suppress(BrokenPipeError):  # it died, as `take` will find
            self.connection.send(item)

    def take(self):
        """What it computed.

        Raises:
          EOFError: it died.
        """
        try:
            return self.connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error

    def end(self) -> str:
        """How it ended, for people."""
        self.process.join()
        self.connection.close()
        code = self.process.exitcode
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _serve(connection: Connection, function: Callable) -> None:
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # standard output is the first process's; runtimes write to it what is no message
    with signals.obeyed(), contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            connection.send(function(connection.recv()))


def _stop(workers: list[_Worker]) -> None:
    """Ends processes and waits for them. Each cleans up after itself.

    Python runs handlers between two of its own steps: a process that a signal reached just before it began to wait for
    something goes on waiting, so the signal is repeated.
    """
    while workers := [worker for worker in workers if worker.process.is_alive()]:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(PATIENCE)


def ordered(function: Callable, items: list, jobs: int, died: Callable) -> Iterator:
    """The results of a function on items, in their order, each as soon as it and those before it are there.

    Args:
      function: what to call; it, the items and the results can be pickled.
      items: what to call it on.
      jobs: the largest number of processes at once.
      died: called with an item whose process died and how it ended, in this process, for the result in its place.
    """
    waiting = collections.deque(range(len(items)))
    workers: list[_Worker] = []
    busy: dict[Connection, _Worker] = {}
    found = {}

    def employ(worker: _Worker) -> None:
        index = waiting.popleft()
        worker.give(index, items[index])
        busy[worker.connection] = worker

    try:
        for index in range(len(items)):
            while index not in found:
                while waiting and len(busy) < jobs:
                    with signals.held():  # no process is started of which we do not know
                        workers.append(_Worker(function))
                    employ(workers[-1])
                for connection in wait(list(busy), PATIENCE):
                    worker = busy.pop(connection)
                    try:
                        found[worker.index] = worker.take()
                    except EOFError:
                        found[worker.index] = died(items[worker.index], worker.end())
                        continue
                    if waiting:
                        employ(worker)
                    else:
                        connection.close()
                        worker.process.join()
            yield found.pop(index)
    finally:
        with signals.held():
            _stop(workers)
