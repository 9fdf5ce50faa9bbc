# SPDX-License-Identifier: Apache-2.0
"""A grid that is not one of k-bit multipliers: what decides about scales asks a grid, and knows no bits."""

from fractions import Fraction

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.signed_digits import ThreeDigits, off_three_digits
from tests.helpers.tflite_builder import residual_network
from tflm_export import METHODS, check, narrow
from tflm_export.grid import Grid
from tflm_export.metadata import attach, dump
from tflm_export.setting import KEEP, REQUANTIZE, Setting
from tflm_export.solver import Problem, Product, Sum, Weighted, solve

NETWORK = residual_network(batch=1)


def test_the_solver_takes_any_grid():
    """Every kind of node lands on it, and beside it nodes of other settings on theirs."""
    scales = {"x": 0.0311, "a": 0.0478, "y": 0.0529, "h": 0.061, "p": 0.0213, "b": 0.0617, "z": 0.0397, "v": 0.0773}
    scales = {key: float(np.float32(scale)) for key, scale in scales.items()}
    digits = Setting(ThreeDigits(), REQUANTIZE)
    nodes = [
        (Weighted("x", "a"), digits),
        (Sum(("a", "x"), "y"), digits),
        (Weighted("y", "h", 0.0173), digits),
        (Product(("y", "h"), "p"), digits),
        (Weighted("y", "b"), digits),
        (Sum(("b", "y"), "z"), Setting(Grid(1))),
        (Sum(("z",), "v"), Setting(ThreeDigits(), KEEP)),
    ]
    solution = solve(Problem(scales, nodes, [], {"x"}, set()))
    assert solution.unsolved == ()
    exact = {key: Fraction(scale) for key, scale in solution.scales.items()}
    factors = [exact["a"] / exact["y"], exact["x"] / exact["y"], exact["z"] / exact["v"]]
    factors += [exact["y"] * Fraction(0.0173) / exact["h"], exact["y"] * exact["h"] / exact["p"]]
    assert max(map(off_three_digits, factors)) < 2.0**-22
    assert max(peer.off_grid(exact[key] / exact["z"], 1) for key in "by") < 2.0**-22
    assert sum(peer.off_grid(factor, 1) > 0.01 for factor in factors) >= 2


@pytest.mark.parametrize("method", METHODS)
def test_narrow_takes_any_grid(method):
    narrowed, report = narrow(NETWORK, ThreeDigits(), method)
    assert report.offenders == check(narrowed, ThreeDigits()).offenders == ()
    factors = [f for operator in peer.operators(narrowed) if operator.rescales for f in operator.factors]
    assert max(map(off_three_digits, factors)) < 2.0**-21
    stock = [f for operator in peer.operators(NETWORK) if operator.rescales for f in operator.factors]
    assert max(map(off_three_digits, stock)) > 0.01
    assert check(narrowed, 2).offenders
    assert narrow(narrowed, ThreeDigits(), method)[0] == narrowed
    assert "of three signed digits" in report.summary()
    assert {row["bits"] for row in report.to_dict()["rows"]} == {7}
    written = dump(attach(narrowed, report))["operators"]
    assert not any(off_three_digits(Fraction(m)) for operator in written for m in operator["multiplier"])


def test_single_operators_take_any_grid():
    narrowed, report = narrow(NETWORK, 1, rules={"^stem$": ThreeDigits()})
    assert report.offenders == ()
    first = peer.operators(narrowed)[0].factors
    assert max(map(off_three_digits, first)) < 2.0**-21 < max(peer.off_grid(f, 1) for f in first)
