# SPDX-License-Identifier: Apache-2.0
"""What networks lose with each multiplier, from the accuracy suite's published results: to be read beside the costs."""

import csv
import pathlib
import statistics
from collections.abc import Sequence

from benchmarks.cells import POST_TRAINING, TRAINED
from tflm_export import METHODS

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results"
RESULTS = (_FOLDER / "accuracy.csv", _FOLDER / "signed_digits" / "accuracy.csv")
METHOD = METHODS[0]


def differences(paths: Sequence[pathlib.Path] = RESULTS) -> dict[str, dict[str, dict]]:
    """Differences in accuracy to networks of 31-bit multipliers, over the tasks of the suite.

    Args:
      paths: results of runs; of a design that several have, those of the first count.

    Returns:
      By model ("RAT", trained for it, or "post-training"), by name of the design: "mean", "least" and "most" in points,
      and how many "tasks" there are. Empty where there are no results.
    """
    found: dict[str, dict[str, list[float]]] = {TRAINED: {}, POST_TRAINING: {}}
    for path in filter(pathlib.Path.is_file, paths):
        for model, by_name in _points(path).items():
            found[model] = by_name | found[model]
    return {
        model: {
            name: {"mean": statistics.mean(points), "least": min(points), "most": max(points), "tasks": len(points)}
            for name, points in by_name.items()
        }
        for model, by_name in found.items()
        if by_name
    }


def _points(path: pathlib.Path) -> dict[str, dict[str, list[float]]]:
    """The differences of a run's tasks in points, by model and name of the design."""
    found: dict[str, dict[str, list[float]]] = {TRAINED: {}, POST_TRAINING: {}}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] in found and row["method"] == METHOD and row["difference"]:
                found[row["model"]].setdefault(row["bits"], []).append(100 * float(row["difference"]))
    return found
