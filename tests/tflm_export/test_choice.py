# SPDX-License-Identifier: Apache-2.0
"""Which of several ways to compute a layer is taken, and by what price."""

import numpy as np
import pytest

from tflm_export import UsageError
from tflm_export.c import choice, cost
from tflm_export.c.step import CStep
from tflm_export.program.program import Origin

PRICES = {
    "slow": {"cycles": {"layer": 10, "steps": 7}, "bytes": {"layer": 20, "loop": 100}},
    "fast": {"cycles": {"layer": 90, "steps": 2}, "bytes": {"layer": 30, "loop": 400}},
}


@pytest.fixture(autouse=True)
def prices(monkeypatch):
    monkeypatch.setattr(cost, "table", lambda: PRICES)


def way(kernel: str, steps: int, weights: int = 0, definition: str = "") -> CStep:
    work = cost.Work(kernel, {"layer": 1, "steps": steps}, {"layer": 1, "loop": 1})
    constants = {"weights": np.zeros(weights, np.int8)}
    made = (definition,) if definition else ()
    return CStep(Origin(0, 0, "", "", ""), (), (), (kernel,), constants, kernels=(kernel,), definitions=made, work=work)


def test_cycles_are_the_sum_of_the_parts():
    assert cost.cycles(way("slow", 3).work) == 10 + 3 * 7
    assert cost.code_bytes(way("slow", 3).work) == 20 + 100
    assert cost.code_bytes(way("slow", 3).work, is_linked=True) == 20


def test_a_kernel_that_is_not_in_the_table_has_no_price():
    assert cost.cycles(way("new", 3).work) is None
    assert cost.code_bytes(way("new", 3).work) is None


@pytest.mark.parametrize(("steps", "taken"), [(15, "slow"), (16, "slow"), (17, "fast")])
def test_the_fastest_depends_on_how_much_there_is_to_do(steps, taken):
    ways = [way("slow", steps), way("fast", steps)]
    assert choice.choice("speed")(ways).work.kernel == taken
    assert cost.cycles(choice.fastest(ways).work) == min(10 + 7 * steps, 90 + 2 * steps)


@pytest.mark.parametrize("optimize", sorted(choice.OPTIMIZE))
def test_the_first_one_is_taken_where_a_price_is_unknown(optimize):
    assert choice.choice(optimize)([way("fast", 1), way("new", 1), way("slow", 1)]).work.kernel == "fast"
    no_work = CStep(Origin(0, 0, "", "", ""), (), (), ())
    assert choice.choice(optimize)([no_work, way("slow", 1)]) is no_work


def test_the_smallest_counts_weights_and_code():
    assert choice.Smallest()([way("slow", 1, weights=280), way("fast", 1)]).work.kernel == "slow"
    assert choice.Smallest()([way("slow", 1, weights=320), way("fast", 1)]).work.kernel == "fast"


def test_code_that_a_layer_has_is_free_for_the_next_one():
    smallest = choice.Smallest()
    fast, slow = way("fast", 1, definition="LOOP(8)"), way("slow", 1, weights=320)
    assert smallest([slow, fast]) is fast
    # 30 bytes of its own beside 120 of the other one, which the loop alone would have outweighed.
    assert smallest([way("slow", 1), fast]) is fast
    other = way("fast", 1, definition="LOOP(9)")
    assert smallest([way("slow", 1), other]).work.kernel == "slow"


def test_there_is_nothing_else_to_optimise_for():
    with pytest.raises(UsageError, match="optimize must be speed or size, got 'power'"):
        choice.choice("power")
