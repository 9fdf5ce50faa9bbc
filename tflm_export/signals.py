# SPDX-License-Identifier: Apache-2.0
"""Being stopped by a signal (Ctrl-C, SIGTERM, a terminal that closes) without leaving anything half done."""

import contextlib
import signal
import threading

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def raise_stopped() -> None:
    """Lets the signals that stop a program raise Stopped, so that it cleans up; those that are ignored stay so."""

    def stop(number, frame):
        raise Stopped(number)

    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def die_of(number: int) -> None:
    """Ends the program as the signal would have done, which is what its parent wants to know."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


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
