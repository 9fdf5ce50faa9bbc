# SPDX-License-Identifier: Apache-2.0
"""The narrowest multipliers that keep a model's outputs within a tolerance, measured on data."""

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Protocol, TypeVar

import numpy as np

from tflm_export.compare import Agreement, compare
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import parse
from tflm_export.narrow import narrow
from tflm_export.ops.reference import Reference
from tflm_export.report import Report
from tflm_export.rules import with_additions

UNIFORM = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
ADD_BITS = 8  # of ADD and SUB in the one mixed setting that is tried: shifts for all others


@dataclasses.dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
      rules: bits by operator index, for `narrow`'s rules.
      data, report: the narrowed model.
      agreement: on the rows that measured, of the worst output.
      tried: models that were narrowed and measured.
    """

    rules: dict[int, int]
    data: bytes
    report: Report
    agreement: Agreement
    tried: int


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A setting to try: bits for all operators (or layers), but for those with a rule, as `narrow` takes them."""

    bits: int
    rules: tuple[tuple, ...] = ()

    def __str__(self) -> str:
        added = f", {ADD_BITS} of additions," if self.rules else ""
        return f"{self.bits} bit{'s' if self.bits > 1 else ''}{added}"


@dataclasses.dataclass(frozen=True)
class Measured:
    """A model that was narrowed, its report, and how far it is from the stock model on the rows that measure."""

    data: bytes
    report: Report
    agreement: Agreement

    @property
    def rules(self) -> dict[Hashable, int]:
        """The bits of every operator that was narrowed, by index."""
        return {row.index: row.bits for row in self.report.rows if row.subgraph == 0 and row.factors and not row.reason}


class Outcome(Protocol):
    """What a candidate came to: how far it is from the stock model, and the bits of all that has any, by its key."""

    @property
    def agreement(self) -> Agreement: ...

    @property
    def rules(self) -> dict[Hashable, int]: ...


AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is the same for all candidates; the attributes are arguments of `search`."""

    data: bytes
    method: str
    train: dict[str, np.ndarray]
    test: list[np.ndarray]
    references: Mapping[Hashable, Reference] | None

    def measure(self, candidate: Candidate) -> Measured:
        """Narrows as a candidate says, and measures."""
        rules = dict(candidate.rules)
        narrowed, report = narrow(self.data, candidate.bits, self.method, self.train, rules, references=self.references)
        return Measured(narrowed, report, compare(parse(self.data), parse(narrowed), self.test))


def search(
    data: bytes,
    method: str,
    train: dict[str, np.ndarray],
    test: list[np.ndarray],
    max_drop: float,
    on_try=lambda: None,
    references: Mapping[Hashable, Reference] | None = None,
    client=None,
) -> Found:
    """Finds the narrowest setting of a file, as `narrowest` does.

    Args:
      data: a .tflite file.
      method: "requantize" or "keep".
      train: calibration rows by input name.
      test: rows to measure on, one array for each input.
      max_drop: tolerated drop of the top-1 agreement with the stock model, in points (0.01 is one in a hundred rows);
        for outputs that are no classes, tolerated relative change. It holds for each output of the model.
      on_try: called after each model that was measured.
      references: what weights stand for, as `narrow` takes them.
      client: of `cluster.connected`, whose workers measure what is asked for next and, at the same time, what is likely
        to be asked for after that. The result is the same.

    Raises:
      ModelError: no width up to 16 bits is within the tolerance; or the model cannot be narrowed or simulated.
    """
    measure = _measuring(Problem(data, method, train, test, references), client)
    additions = with_additions(parse(data), None, ADD_BITS)
    rules, found, tried = narrowest(additions, measure, max_drop, on_try)
    return Found(rules, found.data, found.report, found.agreement, tried)


def narrowest(
    additions: Mapping[Hashable, int],
    measure: Callable[[Iterator[Candidate]], AnyOutcome],
    max_drop: float,
    on_try: Callable[[], object] = lambda: None,
) -> tuple[dict[Hashable, int], AnyOutcome, int]:
    """Finds the narrowest setting, first one width for all operators, then operator by operator.

    Widens all operators together until the drop is within the tolerance, after one bit the additions alone, which is
    what deep residual networks need; then returns single operators to one bit where the drop stays within it.

    Args:
      additions: rules that give the additions `ADD_BITS`; empty where there are none.
      measure: gives what the first of candidates comes to; the others are what may be asked for next.
      max_drop: as for `search`.
      on_try: called after each candidate that was measured.

    Returns:
      The bits of every operator by its key, what they came to, and how many candidates were measured.

    Raises:
      ModelError: no width up to 16 bits is within the tolerance.
    """
    tried = 0

    def within(candidates: Iterator[Candidate]) -> tuple[AnyOutcome, bool]:
        """The first of candidates, and whether it will do."""
        nonlocal tried
        found = measure(candidates)
        tried += 1
        on_try()
        return found, found.agreement.drop <= max_drop

    best = None
    settings = list(_settings(additions))
    for place, setting in enumerate(settings):
        found, will_do = within(iter(settings[place:]))
        best = min(best or (found.agreement.drop, setting), (found.agreement.drop, setting), key=lambda pair: pair[0])
        if will_do:
            break
    else:
        raise ModelError(f"no width up to {UNIFORM[-1]} bits is within {max_drop:g}: {best[1]} drop {best[0]:.4g}")
    rules = found.rules
    wide = [key for key, width in rules.items() if width > 1]
    narrower = 0
    for place, key in enumerate(wide):
        measured, will_do = within(_likely(setting.bits, rules, wide[place:], (narrower + 1) / (place + 2)))
        if will_do:
            rules, found = rules | {key: 1}, measured
            narrower += 1
    return rules, found, tried


def _measuring(problem: Problem, client) -> Callable[[Iterator[Candidate]], Measured]:
    """A function that measures the first of candidates: here, or on a client's workers."""
    if client is None:
        return lambda candidates: problem.measure(next(candidates))
    from tflm_export.cluster import Ahead

    return Ahead(client, Problem.measure, problem)


def _likely(bits: int, rules: dict[Hashable, int], wide: list[Hashable], chance: float) -> Iterator[Candidate]:
    """What is asked for next, then what may be asked for after that, the likeliest first.

    Args:
      bits, rules: the setting so far.
      wide: operators to be tried with one bit, in this order.
      chance: that one of them will do, and stays.
    """
    order = itertools.count()  # of equal chances, the earlier
    ahead = [(-1.0, next(order), 0, rules)]
    while ahead:
        negative, _, place, before = heapq.heappop(ahead)
        if place < len(wide):
            after = before | {wide[place]: 1}
            yield Candidate(bits, tuple(after.items()))
            heapq.heappush(ahead, (negative * chance, next(order), place + 1, after))
            heapq.heappush(ahead, (negative * (1 - chance), next(order), place + 1, before))


def _settings(additions: Mapping[Hashable, int]) -> Iterator[Candidate]:
    """What to try until one setting will do."""
    for bits in UNIFORM:
        yield Candidate(bits)
        if bits == 1 and additions:
            yield Candidate(bits, tuple(additions.items()))
