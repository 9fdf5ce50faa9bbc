# SPDX-License-Identifier: Apache-2.0
"""What must hold for any bytes at all."""

import contextlib
import signal

from tflm_export import ModelError, check, metadata, narrow
from tflm_export.explain import explain

SECONDS = 1


class HangError(Exception):
    """The exporter took longer than `SECONDS` of processor time on one model."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS):
    """Raises HangError in the block after a time, of the processor: other jobs do not count."""

    def ring(signum, frame):
        raise HangError(f"over {seconds} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def exercise(data: bytes, bits: int, method: str) -> bytes | None:
    """Runs everything the exporter does with a model; the narrowed file, or None where it was refused.

    Any exception other than the documented ModelError passes through; AssertionError where a result is wrong.
    """
    for read in (explain, lambda d: check(d, bits), metadata.dump):
        with contextlib.suppress(ModelError):
            read(data)
    try:
        narrowed, report = narrow(data, bits, method)
    except ModelError:
        return None
    assert len(data) <= len(narrowed) <= 4 * len(data)  # as it was, or with copies of shared constants in front
    readable = {(row.subgraph, row.index): row.narrow for row in check(narrowed, bits).rows}
    for row in report.rows:
        assert row.reason or readable[row.subgraph, row.index], row
    with contextlib.suppress(ModelError):
        described = metadata.attach(narrowed, report)
        assert described.endswith(narrowed)
        assert metadata.dump(described)["bits"] == bits
    return narrowed
