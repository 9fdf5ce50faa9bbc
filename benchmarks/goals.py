# SPDX-License-Identifier: Apache-2.0
"""What the accuracy suite is to show, and whether it does: goals for rescale-aware training against the control."""

import dataclasses
from collections.abc import Callable, Iterable

from benchmarks.cells import TRAINED
from tflm_export import METHODS


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is asked of a trained model.

    Attributes:
      model: which, for people.
      methods, bits: which; of several methods the better one counts.
      rule: what is asked of its difference to the control, for people.
      holds: whether a row of the results fulfils it.
    """

    model: str
    methods: tuple[str, ...]
    bits: int
    rule: str
    holds: Callable[..., bool]


GOALS = (
    Goal(
        "RAT, k = 1, the better grid", tuple(METHODS), 1, "not below QAT by more than two standard errors",
        lambda row: row.difference >= -2 * row.difference_error,
    ),
    Goal(
        "RAT on keep, k = 2", ("keep",), 2, "within one point of QAT", lambda row: 100 * row.difference >= -1.0,
    ),
    Goal(
        "RAT on keep, k = 1", ("keep",), 1, "within 0.3 points of QAT",
        lambda row: 100 * row.difference >= -0.3,
    ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a goal in a task.

    Attributes:
      goal: which.
      row: the model's row of the results; None where it was not run.
      holds: None where it was not run.
    """

    goal: Goal
    row: object | None
    holds: bool | None

    @property
    def model(self) -> str:
        """Which model it is about, for people, with the method where there was a choice."""
        return self.goal.model + (f" ({self.row.method})" if self.row and len(self.goal.methods) > 1 else "")


def judge(rows: Iterable) -> list[Verdict]:
    """The verdict on every goal, from the rows of one task (`summary.Row`)."""
    trained = [row for row in rows if row.model == TRAINED and row.difference is not None]
    verdicts = []
    for goal in GOALS:
        fitting = [row for row in trained if row.bits == goal.bits and row.method in goal.methods]
        best = max(fitting, key=lambda row: row.difference, default=None)
        verdicts.append(Verdict(goal, best, goal.holds(best) if best is not None else None))
    return verdicts
