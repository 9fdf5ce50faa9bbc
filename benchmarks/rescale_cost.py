# SPDX-License-Identifier: Apache-2.0
"""What one rescale and clamp takes on a core, in modelled cycles.

A loop takes an accumulator, its rescale's parameters of that channel, and stores an int8: once with each end that the
kernels have, and once with the low byte of the accumulator stored as it is. The difference is the rescale: loading its
parameters, its arithmetic, and the clamp. What a kernel gains by keeping parameters in registers comes on top.
"""

import dataclasses
import pathlib
import tempfile

import numpy as np

from benchmarks import command, cycles
from benchmarks.emulators import firmware, unicorn_engine
from tflm_export import MAX_BITS, UsageError, kernels

COUNT = 256  # RESCALE_COUNT in rescale_loop.h
ZERO_POINT = -3
# Label -> end of a layer in rescale_loop.c, and bits of the multipliers.
ENDS = {
    "k = 1": ("shift", 1),
    "k = 8": ("multiply", 8),
    "k = 8, 64 bits": ("wide", 8),
    "stock": ("stock", MAX_BITS),
}
_FOLDER = pathlib.Path(__file__).parent / "emulators"


@dataclasses.dataclass(frozen=True)
class EndCost:
    """One way to rescale on one core.

    Attributes:
      cpu, toolchain, rescale: what.
      clamped: share of outputs that the clamp changes.
      cycles, least, most: modelled, of a rescale: the loop's less those of the loop without it, by element.
      loop: modelled cycles of the whole loop by element.
    """

    cpu: str
    toolchain: str
    rescale: str
    clamped: float
    cycles: float
    least: float
    most: float
    loop: float


@dataclasses.dataclass(frozen=True)
class Elements:
    """Accumulators [COUNT] as they reach the end of a layer, int32, and the parameters of their rescales."""

    accumulator: np.ndarray
    multiplier: np.ndarray
    fold: np.ndarray
    shift: np.ndarray

    def to_bytes(self) -> np.ndarray:
        """The rescale_input of rescale_loop.h, int8."""
        words = np.concatenate([self.accumulator, self.multiplier, self.fold]).astype("<i4").tobytes()
        return np.frombuffer(words + self.shift.astype(np.int8).tobytes(), np.int8)


def elements(end: str, bits: int, clamped: float) -> Elements:
    """Elements of which a share is clamped, to either side alike; the others spread over the int8 range."""
    rng = np.random.default_rng(0)
    right = rng.integers(5, 11, COUNT)  # shift of acc to y
    y = rng.integers(-120, 120, COUNT)
    outside = np.arange(COUNT) < round(clamped * COUNT)
    y = np.where(outside, np.where(y < 0, y - 200, y + 200), y)
    multiplier = rng.integers(1 << (bits - 1), 1 << bits, COUNT) if bits > 1 else np.ones(COUNT, np.int64)
    shift = right + bits - 1
    half = (np.int64(1) << shift) >> 1
    fold = half + (ZERO_POINT << shift)
    accumulator = np.rint((y - ZERO_POINT) * 2.0**shift / multiplier).astype(np.int64)
    if end == "shift":
        accumulator += fold
    if end == "stock":
        shift = shift - 31
    return Elements(accumulator, multiplier, fold if end == "multiply" else 0 * fold, shift)


def measure(cpu: str, toolchain: str = "zig", multiplier: int = 1) -> list[EndCost]:
    """The cost of every end, without a clamp that changes anything and with every second output clamped.

    Args:
      cpu: one of cycles.CORES.
      toolchain: one of firmware.TOOLCHAINS.
      multiplier: cycles of MULS on an M0 or M0+.

    Raises:
      UsageError: there is no table of this core's cycles.
      BuildError: the compiler is missing or fails.
    """
    if cpu not in cycles.CORES:
        raise UsageError(f"--rescale_only is in cycles, and for {cpu} {cycles.WITHOUT_TABLE}")
    tables = [dataclasses.replace(a, multiply=multiplier) for a in (cycles.TYPICAL, cycles.LEAST, cycles.MOST)]
    costs = []
    for label, (end, bits) in ENDS.items():
        for clamped in (0.0, 0.5):
            given = elements(end, bits, clamped)
            loop = _spent(given, end, cpu, toolchain, tables)
            spent = loop - _spent(given, "none", cpu, toolchain, tables)
            costs.append(EndCost(cpu, toolchain, label, clamped, *spent.tolist(), float(loop[0])))
    return costs


def run(given: Elements, end: str, cpu: str, toolchain: str) -> unicorn_engine.Execution:
    """One pass of the loop."""
    files = {name: (_FOLDER / name).read_bytes() for name in ("rescale_loop.c", "rescale_loop.h")}
    files["rescale_end.h"] = (
        f"#define RESCALE_END NARROW_END_{end.upper()}\n#define RESCALE_ZERO_POINT ({ZERO_POINT})\n".encode()
    )
    files |= kernels.sources(["narrow_rescale.h"])
    with tempfile.TemporaryDirectory() as folder:
        sizes = ("sizeof(rescale_input)", "RESCALE_COUNT")
        built = firmware.link("rescale_loop", files, "rescale_loop", sizes, cpu, pathlib.Path(folder), toolchain)
        return unicorn_engine.execute(built, ["firmware_infer"], given.to_bytes()[None], COUNT)


def _spent(given: Elements, end: str, cpu: str, toolchain: str, tables) -> np.ndarray:
    blocks = run(given, end, cpu, toolchain).blocks
    return np.array([sum(cycles.executed(block, cpu, table) for block in blocks) for table in tables]) / COUNT


def table(costs: list[EndCost]):
    """Costs side by side, for people."""
    rows = [
        (
            cost.cpu, cost.toolchain, cost.rescale, f"{cost.clamped:.0%}", f"{cost.cycles:.1f}",
            f"{min(cost.least, cost.most):.1f}..{max(cost.least, cost.most):.1f}", f"{cost.loop:.1f}",
        )
        for cost in costs
    ]  # fmt: skip
    head = ("cpu", "compiler", "rescale", "clamped", "modelled cycles a rescale", "range", "of a loop with")
    return command.table(head, rows, 3)
