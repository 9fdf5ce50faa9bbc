# SPDX-License-Identifier: Apache-2.0
"""Being stopped by a signal (Ctrl-C, SIGTERM, a terminal that closes) without leaving anything half done."""

import contextlib
import signal
import threading

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop."""


@contextlib.contextmanager
def obeyed():
    """Lets the signals that stop a program raise Stopped in a block, so that it cleans up, and end it afterwards.

    It ends as the signal would have ended it, which is what its parent wants to know, and without a word, whatever
    cleaning up has made of Stopped (an error of its own, or nothing). Signals that are ignored stay so.
    """
    came: list[int] = []

    def stop(number, frame):
        came.append(number)
        raise Stopped

    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        if came:
            signal.signal(came[0], signal.SIG_DFL)
            signal.raise_signal(came[0])


class _Hold:
    """A handler that keeps signals for later."""

    def __init__(self) -> None:
        self.handlers = {number: handler for number in STOPPING if callable(handler := signal.getsignal(number))}
        self.came: list[int] = []
        self.is_released = False

    def __call__(self, number, frame):
        if self.is_released:
            self.handlers[number](number, frame)
        else:
            self.came.append(number)

    def handle(self) -> None:
        """Gives the handlers the signals that came."""
        while self.came:
            number = self.came.pop(0)
            self.handlers[number](number, None)

    @contextlib.contextmanager
    def released(self):
        """Lets signals through in a block."""
        self.is_released = True
        try:
            self.handle()
            yield
        finally:
            self.is_released = False


@contextlib.contextmanager
def held():
    """Keeps what handlers of signals raise out of a block, so that it is not left halfway; they run at its end.

    Yields:
      A function whose context manager lets signals through for a while: in what may take long, and can be undone.
    """
    if threading.current_thread() is not threading.main_thread():  # the only one in which handlers run
        yield contextlib.nullcontext
        return
    hold = _Hold()
    with contextlib.ExitStack() as restoring:
        restoring.callback(hold.handle)
        for number, handler in hold.handlers.items():
            restoring.callback(signal.signal, number, handler)
            signal.signal(number, hold)
        yield hold.released
