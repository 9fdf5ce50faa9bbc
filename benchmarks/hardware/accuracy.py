# SPDX-License-Identifier: Apache-2.0
"""What networks lose with each multiplier, from the accuracy suite's published results: to be read beside the costs."""

import csv
import pathlib
import statistics

from benchmarks.cells import POST_TRAINING, TRAINED
from tflm_export import METHODS

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results" / "accuracy.csv"
METHOD = METHODS[0]


def differences(path: pathlib.Path = RESULTS) -> dict[str, dict[str, dict]]:
    """Differences in accuracy to networks of 31-bit multipliers, over the tasks of the suite.

    Returns:
      By model ("RAT", trained for it, or "post-training"), by name of the design: "mean", "least" and "most" in points,
      and how many "tasks" there are. Empty where there are no results.
    """
    if not path.is_file():
        return {}
    found: dict[str, dict[str, list[float]]] = {TRAINED: {}, POST_TRAINING: {}}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] in found and row["method"] == METHOD and row["difference"]:
                found[row["model"]].setdefault(row["bits"], []).append(100 * float(row["difference"]))
    return {
        model: {
            name: {"mean": statistics.mean(points), "least": min(points), "most": max(points), "tasks": len(points)}
            for name, points in by_name.items()
        }
        for model, by_name in found.items()
        if by_name
    }
