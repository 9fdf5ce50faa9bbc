# SPDX-License-Identifier: Apache-2.0
"""The narrowest multipliers that keep a model's outputs within a tolerance, measured on data."""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping

import numpy as np

from tflm_export.compare import Agreement, compare
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Model, parse
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


def search(
    data: bytes,
    method: str,
    train: dict[str, np.ndarray],
    test: list[np.ndarray],
    max_drop: float,
    on_try=lambda: None,
    references: Mapping[Hashable, Reference] | None = None,
) -> Found:
    """Finds the narrowest setting, first one width for all operators, then operator by operator.

    Widens all operators together until the drop is within the tolerance, after one bit the additions alone, which is
    what deep residual networks need; then returns single operators to one bit where the drop stays within it.

    Args:
      data: a .tflite file.
      method: "requantize" or "keep".
      train: calibration rows by input name.
      test: rows to measure on, one array for each input.
      max_drop: tolerated drop of the top-1 agreement with the stock model, in points (0.01 is one in a hundred rows);
        for outputs that are no classes, tolerated relative change. It holds for each output of the model.
      on_try: called after each model that was measured.
      references: what weights stand for, as `narrow` takes them.

    Raises:
      ModelError: no width up to 16 bits is within the tolerance; or the model cannot be narrowed or simulated.
    """
    stock = parse(data)
    tried = 0

    def measure(bits: int, rules: dict) -> tuple[bytes, Report, Agreement, float]:
        nonlocal tried
        narrowed, report = narrow(data, bits, method, train, rules, references=references)
        agreement = compare(stock, parse(narrowed), test)
        tried += 1
        on_try()
        return narrowed, report, agreement, agreement.drop

    best = None
    for bits, added in _settings(stock):
        narrowed, report, agreement, lost = measure(bits, added)
        width = f"{bits} bit{'s' if bits > 1 else ''}{f', {ADD_BITS} of additions,' if added else ''}"
        best = (lost, width) if best is None or lost < best[0] else best
        if lost <= max_drop:
            break
    else:
        raise ModelError(f"no width up to {UNIFORM[-1]} bits is within {max_drop:g}: {best[1]} drop {best[0]:.4g}")
    rules = {row.index: row.bits for row in report.rows if row.subgraph == 0 and row.factors and not row.reason}
    found = narrowed, report, agreement
    for index in [index for index, width in rules.items() if width > 1]:
        candidate = rules | {index: 1}
        narrowed, report, agreement, lost = measure(bits, candidate)
        if lost <= max_drop:
            rules, found = candidate, (narrowed, report, agreement)
    return Found(rules, *found, tried)


def _settings(stock: Model) -> Iterator[tuple[int, dict]]:
    """Bits and rules to try until one setting will do."""
    additions = with_additions(stock, None, ADD_BITS)
    for bits in UNIFORM:
        yield bits, {}
        if bits == 1 and additions:
            yield bits, additions
