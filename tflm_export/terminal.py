# SPDX-License-Identifier: Apache-2.0
"""What people read: lines without control characters, on streams that may be closed, full or left by their reader."""

import contextlib
import errno
import os
import sys

_STREAMS = ("stdin", "stdout", "stderr")  # by number


def visible(text: str) -> str:
    """A text in one line of characters that can be seen; all others, such as ESC or a line break, are escaped.

    Names in files are anybody's; printed as they are, they could move the cursor or fake a line. Escaping twice changes
    nothing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Messages:
    """Lines for people, on a text stream.

    A stream that does not take them ends no work: `problem` is its first error, and no more is written to it.
    """

    def __init__(self, stream) -> None:
        self.stream = stream
        self.problem: OSError | None = None

    def say(self, *lines: str) -> None:
        """Writes lines, with all that is in them made visible."""
        if self.problem is None:
            try:
                self.stream.write("".join(f"{visible(line)}\n" for line in lines))
                self.stream.flush()
            except OSError as error:
                self.problem = error

    @property
    def is_lost(self) -> bool:
        """Whether lines could not be written, other than to a reader that left, as in `... | head`."""
        return self.problem is not None and self.problem.errno != errno.EPIPE


def complain(message) -> None:
    """Says on standard error what went wrong, in one line; where it cannot, the exit code alone says so."""
    with contextlib.suppress(OSError):
        print(f"tflm_export: {visible(' '.join(str(message).split()))}", file=sys.stderr, flush=True)


def open_standard_streams() -> None:
    """Puts streams in the place of closed ones, which the files opened next would else be taken for.

    They answer as closed ones do: nothing can be read from or written to them.
    """
    for number, name in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):  # a model's names may hold what the terminal cannot show
        stream.reconfigure(errors="backslashreplace")


def let_go() -> None:
    """Drops what the standard streams hold and cannot write, which would else be tried again at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
