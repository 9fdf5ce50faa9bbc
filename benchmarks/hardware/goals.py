# SPDX-License-Identifier: Apache-2.0
"""What rescalers were to cost, as shares of the stock rescaler with a 32-bit accumulator, on IHP SG13G2 (typical)."""

import dataclasses

from benchmarks.hardware.designs import NARROW, STOCK, WIDE


@dataclasses.dataclass(frozen=True)
class Goal:
    """A share of the stock rescaler that is not to be exceeded.

    Attributes:
      name: of the design.
      accumulator_bits: of it.
      value: "um2" or "pj".
      share: of the stock rescaler's.
    """

    name: str
    accumulator_bits: int
    value: str
    share: float


def _goals(bits: int, value: str, shares: tuple[float, ...]) -> list[Goal]:
    return [Goal(name, bits, value, share) for name, share in zip(("8", "4", "2", "1"), shares, strict=True)]


LIBRARY = "sg13g2"
GOALS = (
    *_goals(WIDE.bits, "um2", (0.36, 0.22, 0.14, 0.085)),
    *_goals(WIDE.bits, "pj", (0.22, 0.16, 0.09, 0.027)),
    *_goals(NARROW.bits, "um2", (0.25, 0.16, 0.10, 0.063)),
)


def judge(designs: list[dict]) -> list[dict]:
    """Goals with what was measured, "ratio", and whether it "holds", of the rows of a run; those that were measured."""
    single = {(row["name"], row["accumulator_bits"]): row for row in designs if row["lanes"] == 1}
    stock = single.get((STOCK, WIDE.bits), {})
    judged = []
    for goal in GOALS:
        found = single.get((goal.name, goal.accumulator_bits), {}).get(goal.value)
        if found is not None and stock.get(goal.value):
            ratio = found / stock[goal.value]
            judged.append(dataclasses.asdict(goal) | {"ratio": ratio, "holds": ratio <= goal.share})
    return judged
