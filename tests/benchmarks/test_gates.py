# SPDX-License-Identifier: Apache-2.0
"""Netlists of cells: what they compute, how often nets change, and the energy of it, against figures by hand."""

import numpy as np
import pytest

from benchmarks.hardware import energy
from benchmarks.hardware.gates import Function, Netlist, functions
from benchmarks.hardware.liberty import Cell
from tflm_export import UsageError

INV = Cell(1.0, {"Y": Function(("A",), (("$_NOT_", (0,)),))}, {"A": 1.0})
XOR = Cell(1.0, {"Y": Function(("A", "B"), (("$_XOR_", (0, 1)),))}, {"A": 2.0, "B": 4.0})
NAND = Cell(1.0, {"Y": Function(("A", "B"), (("$_AND_", (0, 1)), ("$_NOT_", (2,))))}, {"A": 1.0, "B": 1.0})
ONE = Cell(1.0, {"Y": Function((), (), "1")}, {})
CELLS = {"INV": INV, "XOR": XOR, "NAND": NAND, "ONE": ONE}


def module(ports: dict, *cells: tuple) -> dict:
    """A netlist as yosys writes it: ports as (direction, nets), cells as (type, pins)."""
    instances = [{"type": kind, "connections": {pin: [net] for pin, net in pins.items()}} for kind, pins in cells]
    return {
        "ports": {name: {"direction": way, "bits": bits} for name, (way, bits) in ports.items()},
        "cells": {f"g{i}": instance for i, instance in enumerate(instances)},
    }


def late_xor() -> Netlist:
    """a ^ !!a: always 0, but for two unit delays after each change of a, as the second pin is two gates late."""
    return Netlist(
        module(
            {"a": ("input", [2]), "y": ("output", [5])},
            ("INV", {"A": 2, "Y": 3}),
            ("INV", {"A": 3, "Y": 4}),
            ("XOR", {"A": 2, "B": 4, "Y": 5}),
        ),
        CELLS,
    )


def test_a_glitch_by_hand():
    """Of 0, 1, 1, 0, 1 the input changes three times; each time both inverters change once and the output twice."""
    netlist = late_xor()
    changes, outputs = netlist.toggles({"a": np.array([0, 1, 1, 0, 1])})
    assert netlist.depth == 3
    assert outputs["y"].tolist() == [0, 0, 0, 0]
    by_capacitance = dict(zip(netlist.capacitance, changes, strict=True))
    assert by_capacitance[3.0] == 3  # a: pins of an inverter and of the XOR
    assert by_capacitance[4.0] == 3  # the second inverter's output: the XOR's second pin
    assert sorted(changes) == [0, 0, 3, 3, 3, 6]  # constants, a, inverters, the output
    # C V^2 / 2 at 2 V: a (1 + 2) * 3, the first inverter 1 * 3, the second 4 * 3; nothing hangs on the output.
    assert energy.picojoules(netlist, changes, volts=2.0) == pytest.approx(1e12 * 0.5 * 4 * (9 + 3 + 12))


def test_no_change_no_energy():
    changes, _ = late_xor().toggles({"a": np.ones(1000, int)})
    assert not changes.any()


def by_steps(cells: list[tuple], vectors: list[dict], nets: set) -> tuple[dict, list[dict]]:
    """Unit delays for one vector after another, one value at a time: changes by net, and values at the end of each."""
    values = dict.fromkeys(nets, 0)

    def step() -> int:
        seen, changed = dict(values), 0
        for kind, pins in cells:
            rule = {"INV": lambda p: 1 - seen[p["A"]], "XOR": lambda p: seen[p["A"]] ^ seen[p["B"]],
                    "NAND": lambda p: 1 - (seen[p["A"]] & seen[p["B"]]), "ONE": lambda p: 1}[kind]  # fmt: skip
            new = rule(pins)
            if values[pins["Y"]] != new:
                values[pins["Y"]] = new
                changes[pins["Y"]] += 1
                changed += 1
        return changed

    changes = dict.fromkeys(nets, 0)
    ends = []
    for number, vector in enumerate(vectors):
        for net, value in vector.items():
            changes[net] += values[net] != value
            values[net] = value
        while step():
            pass
        if number == 0:
            changes = dict.fromkeys(nets, 0)
        ends.append(dict(values))
    return changes, ends


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [2, 65, 300])
def test_random_netlists_change_as_one_value_at_a_time(seed, count):
    rng = np.random.default_rng(seed)
    inputs, cells = [2, 3, 4], []
    for net in range(5, 35):
        kind = rng.choice(["INV", "XOR", "NAND", "ONE"], p=[0.3, 0.35, 0.3, 0.05])
        pins = {pin: int(rng.integers(2, net)) for pin in {"INV": "A", "ONE": ""}.get(kind, "AB")}
        cells.append((str(kind), pins | {"Y": net}))
    outputs = [30, 31, 32, 33, 34]
    netlist = Netlist(module({"a": ("input", inputs), "y": ("output", outputs)}, *cells), CELLS)
    vectors = rng.integers(0, 8, count)
    changes, found = netlist.toggles({"a": vectors})
    bits = [{net: int(v) >> i & 1 for i, net in enumerate(inputs)} for v in vectors]
    expected, ends = by_steps(cells, bits, set(range(2, 35)))
    assert changes.sum() == sum(expected.values())
    load = dict.fromkeys(range(2, 35), 0.0)
    for kind, pins in cells:
        for pin, farads in CELLS[kind].capacitances.items():
            load[pins[pin]] += farads
    assert netlist.capacitance @ changes == sum(load[net] * number for net, number in expected.items())
    numbers = [sum(end[net] << i for i, net in enumerate(outputs)) for end in ends]
    assert found["y"].tolist() == numbers[1:]
    assert netlist.outputs({"a": vectors})["y"].tolist() == numbers


def adder(bits: int) -> Netlist:
    """A ripple-carry adder of NAND and XOR gates; "s" has the carry on top."""
    cells, carry, sums, nets = [], "0", [], iter(range(100, 10_000))
    for i in range(bits):
        a, b = 2 + i, 2 + bits + i
        half, out, first, second, carried = (next(nets) for _ in range(5))
        cells += [("XOR", {"A": a, "B": b, "Y": half}), ("XOR", {"A": half, "B": carry, "Y": out})]
        cells += [("NAND", {"A": a, "B": b, "Y": first}), ("NAND", {"A": half, "B": carry, "Y": second})]
        cells += [("NAND", {"A": first, "B": second, "Y": carried})]
        carry, sums = carried, [*sums, out]
    ports = {"a": ("input", list(range(2, 2 + bits))), "b": ("input", list(range(2 + bits, 2 + 2 * bits)))}
    return Netlist(module(ports | {"s": ("output", [*sums, carry])}, *cells), CELLS)


def test_an_adder_adds_over_more_vectors_than_are_done_at_once():
    rng = np.random.default_rng(0)
    a, b = rng.integers(-(1 << 15), 1 << 15, (2, 10_001))
    netlist = adder(16)
    expected = (a & 0xFFFF) + (b & 0xFFFF)
    assert (netlist.outputs({"a": a, "b": b})["s"] == expected).all()
    changes, outputs = netlist.toggles({"a": a, "b": b})
    assert (outputs["s"] == expected[1:]).all()
    parts = [netlist.toggles({"a": a[i : i + 2], "b": b[i : i + 2]})[0] for i in range(0, 50)]
    assert (sum(parts) == netlist.toggles({"a": a[:51], "b": b[:51]})[0]).all()
    assert netlist.depth == 3 + 2 * 15  # the first carry, then two gates a bit
    assert changes.sum() > 10_000


def test_cells_without_a_function_are_named():
    with pytest.raises(UsageError, match="cells of no function, or with state: DFF, LATCH"):
        Netlist(module({}, ("LATCH", {"D": 2}), ("DFF", {"D": 3}), ("INV", {"A": 2, "Y": 3})), CELLS)


def test_loops_are_refused():
    with pytest.raises(UsageError, match="loop"):
        Netlist(module({}, ("INV", {"A": 2, "Y": 3}), ("INV", {"A": 3, "Y": 2})), CELLS)


def test_functions_of_modules():
    """A multiplexer of simple gates, an output that is an input, one that is tied, and one of a flip-flop."""
    gate = {"S": 2, "A": 3, "B": 4}
    cells = [
        ("$_NOT_", {"A": 2, "Y": 5}), ("$_AND_", {"A": 5, "B": 3, "Y": 6}), ("$_AND_", {"A": 2, "B": 4, "Y": 7}),
        ("$_OR_", {"A": 6, "B": 7, "Y": 8}), ("$_DFF_P_", {"D": 3, "C": 2, "Q": 9}),
    ]  # fmt: skip
    ports = {name: ("input", [net]) for name, net in gate.items()}
    ports |= {"Y": ("output", [8]), "Z": ("output", [3]), "T": ("output", ["0"]), "Q": ("output", [9])}
    found = functions(module(ports, *cells))
    assert found.keys() == {"Y", "Z", "T"}
    order = found["Y"].inputs
    for row, value in enumerate(found["Y"].truth):
        bits = {name: row >> i & 1 for i, name in enumerate(order)}
        assert value == (bits["B"] if bits["S"] else bits["A"])
    assert (found["Z"].inputs, found["Z"].truth) == (("A",), (0, 1))
    assert (found["T"].inputs, found["T"].truth) == ((), (0,))
