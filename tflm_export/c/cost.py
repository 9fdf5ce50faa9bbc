# SPDX-License-Identifier: Apache-2.0
"""What a kernel will take for a layer, before anything is compiled.

A candidate says how often each part of its kernel runs (`Work`), and the table beside this module what a run of each
part takes: modelled cycles at zero wait states, and bytes of code. `python -m benchmarks.costs` measures the table, on
emulated layers of random sizes; a test holds it to the emulator's count.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping

LAYER = "layer"  # the part that every layer has for itself; what else a kernel's code is, layers share
_TABLE = "cost_table.json"


@dataclasses.dataclass(frozen=True)
class Work:
    """What a kernel does in an inference, and what its code consists of.

    Attributes:
      kernel: a key of the table; kernels whose parts cost different things have different ones.
      counts: how often each of its parts runs.
      code: how often each part of its code is written out.
    """

    kernel: str
    counts: Mapping[str, float]
    code: Mapping[str, float]


@functools.cache
def table() -> dict[str, dict[str, dict[str, float]]]:
    """ "cycles" and "bytes" of each part, by kernel."""
    text = importlib.resources.files(__package__).joinpath(_TABLE).read_text()
    return json.loads(text)["kernels"]


def cycles(work: Work) -> float | None:
    """Modelled cycles of an inference at zero wait states; None where the table does not have the kernel."""
    parts = table().get(work.kernel)
    return None if parts is None else total(work.counts, parts["cycles"])


def code_bytes(work: Work, is_linked: bool = False) -> float | None:
    """Bytes of code; None where the table does not have the kernel.

    Args:
      is_linked: whether another layer has all of it already but for its own part.
    """
    parts = table().get(work.kernel)
    counts = {LAYER: work.code.get(LAYER, 0)} if is_linked else work.code
    return None if parts is None else total(counts, parts["bytes"])


def total(counts: Mapping[str, float], parts: Mapping[str, float]) -> float:
    """The sum over parts."""
    return sum(count * parts.get(part, 0.0) for part, count in counts.items())
