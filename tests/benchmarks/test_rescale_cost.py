# SPDX-License-Identifier: Apache-2.0
"""The loop that only rescales computes what the kernels do, and its cost is what the instructions say."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import rescale_cost  # noqa: E402
from tflm_export import UsageError  # noqa: E402


def half_away(x: Fraction) -> int:
    return floor(x + Fraction(1, 2)) if x >= 0 else -floor(-x + Fraction(1, 2))


def half_up(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def exact(given: rescale_cost.Elements, end: str) -> list[int]:
    """Each output in exact arithmetic."""
    values = zip(*(a.tolist() for a in (given.accumulator, given.multiplier, given.fold, given.shift)), strict=True)
    y = []
    for acc, multiplier, fold, shift in values:
        if end == "stock":
            wanted = half_away(Fraction(half_up(Fraction(acc * multiplier, 1 << 31)), 1 << shift))
            wanted += rescale_cost.ZERO_POINT
        elif end == "wide":
            wanted = half_up(Fraction(acc * multiplier, 1 << shift)) + rescale_cost.ZERO_POINT
        else:
            wanted = floor(Fraction(acc * multiplier + (fold if end == "multiply" else 0), 1 << shift))
        y.append(max(-128, min(127, wanted)))
    return y


@pytest.mark.sweep(3)
@pytest.mark.parametrize("clamped", [0.0, 0.5])
@pytest.mark.parametrize(("end", "bits"), rescale_cost.ENDS.values())
def test_outputs(end, bits, clamped):
    given = rescale_cost.elements(end, bits, clamped)
    expected = exact(given, end)
    assert np.mean(np.abs(np.array(expected) + 0.5) > 127) == clamped
    for cpu in ("cortex-m0plus", "cortex-m4"):
        ran = rescale_cost.run(given, end, cpu, "zig")
        np.testing.assert_array_equal(ran.outputs[0], expected)


@pytest.mark.slow
def test_costs():
    costs = {(cost.rescale, cost.clamped): cost for cost in rescale_cost.measure("cortex-m4")}
    assert len(costs) == 2 * len(rescale_cost.ENDS)
    one, eight, stock = (costs[label, 0.0].cycles for label in ("k = 1", "k = 8", "stock"))
    assert 2 < one <= 4 < eight < stock  # a shift and a saturation at least, and the shift must be loaded
    assert costs["k = 1", 0.0].cycles == costs["k = 1", 0.5].cycles  # SSAT does not mind
    assert rescale_cost.table(list(costs.values())).row_count == len(costs)


def test_cores_without_a_table():
    with pytest.raises(UsageError, match="for cortex-m7 there is no table"):
        rescale_cost.measure("cortex-m7")
