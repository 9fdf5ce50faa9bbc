# SPDX-License-Identifier: Apache-2.0
"""The scale solver's documented rules on hand-made problems, and its invariants on random graphs."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import peer
from tflm_export.grid import STOCK, Grid
from tflm_export.setting import KEEP, METHODS, REQUANTIZE, Setting
from tflm_export.solver import Problem, Product, Sum, Weighted, solve

WIDTHS = (1, 2, 3, 4, 8, 12)
FLOAT32 = 2.0**-24
OFF_GRID = 4 * FLOAT32  # float32 roundings of the two scales of a factor, and some to spare


def problem(scales, nodes, ties=(), pinned=(), constants=()):
    scales = {key: float(np.float32(scale)) for key, scale in scales.items()}
    return Problem(scales, [(node, Setting(STOCK)) for node in nodes], list(ties), set(pinned), set(constants))


def at(problem, bits, method=REQUANTIZE):
    """The problem with one setting for all its nodes."""
    return dataclasses.replace(problem, nodes=[(node, Setting(Grid(bits), method)) for node, _ in problem.nodes])


def factor(solution, x, y) -> Fraction:
    return Fraction(solution.scales[x]) / Fraction(solution.scales[y])


def product_factor(solution, a, b, y) -> Fraction:
    return Fraction(solution.scales[a]) * Fraction(solution.scales[b]) / Fraction(solution.scales[y])


def growth(before, after, key) -> float:
    return after.scales[key] / before.scales[key]


@pytest.mark.parametrize("bits", WIDTHS)
def test_free_inputs_move_and_the_output_stays(bits):
    """Both branches of a residual addition come from convolutions."""
    scales = {"x": 0.03, "a": 0.0311, "b": 0.0478, "y": 0.0529}
    p = problem(scales, [Weighted("x", "a"), Weighted("x", "b"), Sum(("a", "b"), "y")], pinned=["x"])
    solution = solve(at(p, bits))
    assert solution.unsolved == ()
    assert (growth(p, solution, "y"), growth(p, solution, "x")) == (1, 1)
    for branch in "ab":
        m, s = peer.nearest(factor(solution, branch, "y"), bits)
        up = m * 2.0**-s * p.scales["y"]
        assert solution.scales[branch] == pytest.approx(up, rel=OFF_GRID)
        # The next multiplier below would shrink the scale.
        below = (m - 1 if m > 2 ** (bits - 1) else m - 0.5) * 2.0**-s
        assert below * p.scales["y"] < p.scales[branch] <= up * (1 + OFF_GRID)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_settled_input_moves_the_output(bits):
    """An identity skip from the graph's input: its scale stays, the sum's grows, the other branch follows."""
    scales = {"x": 0.0311, "a": 0.0478, "y": 0.0529}
    p = problem(scales, [Weighted("x", "a"), Sum(("a", "x"), "y")], pinned=["x"])
    solution = solve(at(p, bits))
    assert solution.unsolved == ()
    assert growth(p, solution, "x") == 1
    m, s = peer.nearest(factor(solution, "x", "y"), bits)
    down = m * 2.0**-s
    assert down <= p.scales["x"] / p.scales["y"] * (1 + OFF_GRID)
    assert (m + 1) * 2.0**-s > p.scales["x"] / p.scales["y"]
    assert 1 < growth(p, solution, "y") < 2
    assert solution.scales["y"] == pytest.approx(p.scales["x"] / down, rel=FLOAT32)
    assert peer.off_grid(factor(solution, "a", "y"), bits) < OFF_GRID
    assert growth(p, solution, "a") >= 1


def test_a_pinned_output_moves_the_inputs():
    scales = {"x": 0.03, "a": 0.0311, "y": 0.0529}
    p = problem(scales, [Weighted("x", "a"), Sum(("a",), "y")], pinned=["x", "y"])
    solution = solve(at(p, 1))
    assert solution.unsolved == ()
    assert solution.scales["y"] == p.scales["y"]
    assert factor(solution, "a", "y") == 1


@pytest.mark.parametrize("method", METHODS)
def test_bound_on_both_sides_is_reported(method):
    scales = {"x": 0.03, "z": 0.0311, "y": 0.0529, "w": 0.07, "v": 0.0631}
    nodes = [Sum(("x", "z"), "y"), Weighted("y", "w"), Sum(("w",), "v"), Sum(("x",), "z")]
    p = problem(scales, nodes, pinned=["x", "z", "y"])
    solution = solve(at(p, 2, method))
    assert solution.unsolved == (0, 3)
    assert all(growth(p, solution, key) == 1 for key in p.pinned)
    assert peer.off_grid(factor(solution, "w", "v"), 2) < OFF_GRID


def test_bound_factors_that_are_on_the_grid_are_solved():
    p = problem({"x": 0.03, "y": 0.03 * 4 / 3}, [Sum(("x",), "y")], pinned=["x", "y"])
    assert solve(at(p, 2)).unsolved == ()
    assert solve(at(p, 1)).unsolved == (0,)


@pytest.mark.parametrize("bits", WIDTHS)
def test_ties_share_one_scale(bits):
    """Pooling before the sum, concatenation after it."""
    scales = {"x": 0.03, "a": 0.0311, "pooled": 0.0311, "y": 0.0529, "c": 0.0529, "d": 0.0529}
    nodes = [Weighted("x", "a"), Sum(("pooled",), "y"), Weighted("x", "d")]
    p = problem(scales, nodes, ties=[("a", "pooled"), ("y", "c"), ("d", "c")], pinned=["x"])
    solution = solve(at(p, bits))
    assert solution.unsolved == ()
    assert solution.scales["a"] == solution.scales["pooled"]
    assert solution.scales["y"] == solution.scales["c"] == solution.scales["d"]
    assert peer.off_grid(factor(solution, "pooled", "y"), bits) < OFF_GRID


def test_ties_with_a_pinned_tensor_pin_all():
    scales = {"x": 0.03, "a": 0.0311, "p": 0.0311, "y": 0.0529}
    p = problem(scales, [Weighted("x", "a"), Sum(("a",), "y")], ties=[("a", "p")], pinned=["x", "p"])
    solution = solve(at(p, 1))
    assert growth(p, solution, "a") == 1
    assert growth(p, solution, "y") > 1
    assert factor(solution, "a", "y") in (1, Fraction(1, 2))


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_added_to_itself(method, bits):
    p = problem({"x": 0.03, "a": 0.0311, "y": 0.0529}, [Weighted("x", "a"), Sum(("a", "a"), "y")], pinned=["x"])
    solution = solve(at(p, bits, method))
    assert solution.unsolved == ()
    assert peer.off_grid(factor(solution, "a", "y"), bits) < OFF_GRID


@pytest.mark.parametrize("bits", WIDTHS)
def test_constants_follow(bits):
    p = problem({"x": 0.0311, "c": 0.0213, "y": 0.0529}, [Sum(("x", "c"), "y")], pinned=["x"], constants=["c"])
    solution = solve(at(p, bits))
    assert solution.unsolved == ()
    assert growth(p, solution, "c") >= 1
    for key in "xc":
        assert peer.off_grid(factor(solution, key, "y"), bits) < OFF_GRID


@pytest.mark.parametrize("bits", WIDTHS)
def test_per_tensor_weights_move_the_output_scale_up(bits):
    p = problem({"x": 0.0311, "h": 0.0529, "y": 0.07}, [Weighted("x", "h", 0.0173), Weighted("h", "y")], pinned=["x"])
    solution = solve(at(p, bits))
    m = Fraction(p.scales["x"]) * Fraction(0.0173) / Fraction(solution.scales["h"])
    assert peer.off_grid(m, bits) < OFF_GRID
    assert 1 <= growth(p, solution, "h") < 2
    assert growth(p, solution, "y") == 1


def test_per_tensor_weights_leave_scales_that_others_need():
    """A pinned output, and one that an addition wants to move."""
    nodes = [Weighted("x", "h", 0.0173), Sum(("h",), "y"), Weighted("y", "z", 0.011)]
    p = problem({"x": 0.0311, "h": 0.0529, "y": 0.07, "z": 0.09}, nodes, pinned=["x", "z"])
    solution = solve(at(p, 1))
    assert growth(p, solution, "z") == growth(p, solution, "y") == 1
    assert factor(solution, "h", "y") == 1


def test_keep_leaves_per_tensor_scales():
    p = problem({"x": 0.0311, "h": 0.0529}, [Weighted("x", "h", 0.0173)], pinned=["x"])
    assert solve(at(p, 1, KEEP)).scales == p.scales


@pytest.mark.parametrize("bits", WIDTHS)
def test_keep_rounds_the_stock_factors_to_nearest(bits):
    """Also where scales have moved on the way there: integers stay, so it is the stock factor that counts."""
    scales = {"x": 0.0311, "a": 0.0478, "y": 0.0529, "b": 0.0613, "z": 0.0397}
    nodes = [Weighted("x", "a"), Sum(("a", "x"), "y"), Weighted("y", "b"), Sum(("b", "y"), "z")]
    p = problem(scales, nodes, pinned=["x"])
    solution = solve(at(p, bits, KEEP))
    assert solution.unsolved == ()
    for x, y in (("a", "y"), ("x", "y"), ("b", "z"), ("y", "z")):
        stock = Fraction(p.scales[x]) / Fraction(p.scales[y])
        assert peer.nearest(factor(solution, x, y), bits) == peer.nearest(stock, bits)
        assert peer.off_grid(factor(solution, x, y), bits) < OFF_GRID


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_product_moves_its_output(bits):
    scales = {"x": 0.0311, "a": 0.0478, "c": 0.0213, "y": 0.0529, "z": 0.0311}
    nodes = [Weighted("x", "a"), Product(("a", "c"), "y"), Weighted("y", "z")]
    p = problem(scales, nodes, pinned=["x"], constants=["c"])
    solution = solve(at(p, bits))
    assert solution.unsolved == ()
    assert [growth(p, solution, key) for key in "xacz"] == [1] * 4
    assert 1 < growth(p, solution, "y") < 1 + 2.0 ** (1 - bits)
    assert peer.off_grid(product_factor(solution, "a", "c", "y"), bits) < OFF_GRID


@pytest.mark.parametrize(("a", "b", "moves"), [("f", "x", "f"), ("c", "f", "f"), ("x", "c", "c")])
@pytest.mark.parametrize("bits", WIDTHS)
def test_a_pinned_product_moves_an_input_activations_before_constants(bits, a, b, moves):
    scales = {"x": 0.0311, "f": 0.0478, "c": 0.0213, "y": 0.0529}
    nodes = [Weighted("x", "f"), Product((a, b), "y")]
    p = problem(scales, nodes, pinned=["x", "y"], constants=["c"])
    solution = solve(at(p, bits))
    assert solution.unsolved == ()
    assert {key for key in scales if growth(p, solution, key) != 1} == {moves}
    assert 1 < growth(p, solution, moves) < 1 + 2.0 ** (1 - bits)
    assert peer.off_grid(product_factor(solution, a, b, "y"), bits) < OFF_GRID


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_square_moves_its_input_by_the_root(bits):
    p = problem({"x": 0.03, "a": 0.31, "y": 0.0529}, [Weighted("x", "a"), Product(("a", "a"), "y")], pinned=["x", "y"])
    solution = solve(at(p, bits))
    assert solution.unsolved == ()
    assert 1 < growth(p, solution, "a") < np.sqrt(2)
    assert peer.off_grid(product_factor(solution, "a", "a", "y"), bits) < OFF_GRID


@pytest.mark.parametrize("method", METHODS)
def test_a_product_bound_on_both_sides_is_reported(method):
    p = problem({"x": 0.03, "y": 0.0529}, [Product(("x", "x"), "y")], pinned=["x", "y"])
    assert solve(at(p, 4, method)).unsolved == (0,)


def test_per_tensor_weights_leave_what_a_pinned_product_needs():
    """But not where its output can move."""
    nodes = [Weighted("x", "h", 0.0173), Product(("h", "x"), "y")]
    p = problem({"x": 0.0311, "h": 0.00529, "y": 0.07}, nodes, pinned=["x", "y"])
    solution = solve(at(p, 1))
    assert solution.unsolved == ()
    assert peer.off_grid(product_factor(solution, "h", "x", "y"), 1) < OFF_GRID
    p = problem(p.scales, nodes, pinned=["x"])
    solution = solve(at(p, 1))
    assert min(growth(p, solution, key) for key in "hy") > 1
    assert solution.unsolved == ()


@pytest.mark.parametrize("bits", WIDTHS)
def test_keep_rounds_the_stock_factor_of_a_product_to_nearest(bits):
    scales = {"x": 0.0311, "a": 0.0478, "y": 0.0529, "z": 0.0613}
    nodes = [Weighted("x", "a"), Product(("a", "x"), "y"), Product(("y", "y"), "z")]
    for pinned in (["x"], ["x", "y"]):
        p = problem(scales, nodes, pinned=pinned)
        solution = solve(at(p, bits, KEEP))
        assert solution.unsolved == ()
        for a, b, y in (("a", "x", "y"), ("y", "y", "z")):
            assert peer.nearest(product_factor(solution, a, b, y), bits) == peer.nearest(
                product_factor(p, a, b, y), bits
            )


def test_with_data_constants_still_never_shrink():
    """What clipping would cost is measured on what is computed."""
    nodes = [Sum(("x", "c"), "y"), Product(("x", "d"), "z")]
    scales = {"x": 0.0311, "c": 0.0529 * 1.01, "d": 0.0213, "y": 0.0529, "z": 0.0311 * 0.0213 / 1.01}
    p = dataclasses.replace(
        problem(scales, nodes, pinned=["x", "y", "z"], constants=["c", "d"]), clipping=lambda key, scale: 0.0
    )
    solution = solve(at(p, 1))
    assert min(growth(p, solution, key) for key in "cd") > 1.5


def test_every_node_has_its_own_setting():
    """One after another, at widths and by methods of their own, whatever those before them had."""
    scales = {"x": 0.0311, "a": 0.0478, "y": 0.0529, "b": 0.0613, "z": 0.0397, "v": 0.0731}
    nodes = [Weighted("x", "a"), Sum(("a", "x"), "y"), Weighted("y", "b"), Sum(("b", "y"), "z"), Sum(("z",), "v")]
    p = problem(scales, nodes, pinned=["x"])
    wanted = [Setting(Grid(1)), Setting(Grid(1)), Setting(Grid(8)), Setting(Grid(8)), Setting(Grid(3), KEEP)]
    solution = solve(dataclasses.replace(p, nodes=list(zip(nodes, wanted, strict=True))))
    assert solution.unsolved == ()
    assert max(peer.off_grid(factor(solution, x, "y"), 1) for x in "ax") < OFF_GRID
    eight = [factor(solution, x, "z") for x in "by"]
    assert max(peer.off_grid(f, 8) for f in eight) < OFF_GRID < max(peer.off_grid(f, 3) for f in eight)
    stock = Fraction(p.scales["z"]) / Fraction(p.scales["v"])
    assert peer.nearest(factor(solution, "z", "v"), 3) == peer.nearest(stock, 3)


def test_nothing_to_solve():
    solution = solve(problem({"x": 0.5}, []))
    assert (solution.scales, solution.unsolved) == ({"x": 0.5}, ())


@st.composite
def graphs(draw):
    """A random graph in execution order: every node takes earlier tensors and makes a new one."""
    scale = st.floats(2.0**-10, 1.0, width=32)
    scales, nodes, ties, constants = {0: draw(scale)}, [], [], set()
    for _ in range(draw(st.integers(1, 10))):
        key = len(scales)
        earlier = st.integers(0, key - 1)
        kind = draw(st.sampled_from(["channels", "tensor", "sum", "sum", "product", "tie", "constant"]))
        if kind == "tie":
            source = draw(earlier)
            scales[key] = scales[source]
            ties.append((source, key))
            continue
        scales[key] = draw(scale)
        if kind == "channels":
            nodes.append(Weighted(draw(earlier), key))
        elif kind == "tensor":
            nodes.append(Weighted(draw(earlier), key, draw(st.floats(2.0**-14, 2.0**-3, width=32))))
        elif kind == "sum":
            nodes.append(Sum(tuple(draw(st.lists(earlier, min_size=1, max_size=3))), key))
        elif kind == "product":
            nodes.append(Product((draw(earlier), draw(earlier)), key))
        else:
            constants.add(key)
    pinned = {0} | set(draw(st.lists(st.integers(0, len(scales) - 1), max_size=3)))
    return Problem(scales, [(node, Setting(STOCK)) for node in nodes], ties, pinned, constants - pinned)


@given(graphs(), st.sampled_from(WIDTHS), st.sampled_from(METHODS))
@settings(max_examples=1000)
def test_invariants_on_random_graphs(p, bits, method):
    before = dict(p.scales)
    solution = solve(at(p, bits, method))
    assert p.scales == before
    assert solution.scales.keys() == p.scales.keys()
    for index, (node, _) in enumerate(p.nodes):
        if isinstance(node, Sum):
            worst = max(peer.off_grid(factor(solution, x, node.output), bits) for x in node.inputs)
            assert (worst > OFF_GRID) == (index in solution.unsolved)
        elif isinstance(node, Product):
            distance = peer.off_grid(product_factor(solution, *node.inputs, node.output), bits)
            assert (distance > OFF_GRID) == (index in solution.unsolved)
    for key in p.pinned:
        assert solution.scales[key] == p.scales[key]
    for first, second in p.ties:
        assert solution.scales[first] == solution.scales[second]
    for key, scale in solution.scales.items():
        assert scale == np.float32(scale)
        assert scale > 0
        if method == REQUANTIZE:
            assert 1 - FLOAT32 <= scale / p.scales[key] < 2 * (1 + FLOAT32)


@given(graphs(), st.sampled_from(WIDTHS))
def test_a_solved_graph_stays_as_it_is(p, bits):
    solution = solve(at(p, bits))
    again = Problem(solution.scales, p.nodes, p.ties, p.pinned, p.constants)
    assert solve(at(again, bits)) == solution
