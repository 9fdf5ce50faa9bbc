# SPDX-License-Identifier: Apache-2.0
"""Netlists of standard cells, simulated 64 vectors at a time: what they compute, and how often every net changes.

A net is a row of 64-bit words, a bit for each vector. Time goes in unit delays: in a step every cell sees what its
inputs were a step before, so a net may change several times before it is still. Those glitches are most of a
multiplier's energy, and what a simulation without delays does not see.
"""

import dataclasses
import functools
import graphlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tflm_export import UsageError

WORD = 64
_CHUNK = 64  # words of a net at a time, so that the nets of a rescaler fit a cache
_GATES: dict[str, Callable] = {
    "$_NOT_": np.invert,
    "$_AND_": np.bitwise_and,
    "$_OR_": np.bitwise_or,
    "$_XOR_": np.bitwise_xor,
}
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_CONSTANTS = ("0", "1", "x", "z")


@dataclasses.dataclass(frozen=True)
class Function:
    """What an output of a cell is of the cell's inputs.

    Attributes:
      inputs: names of those that it depends on.
      gates: (operation, places of its operands, ...) in order; places count the inputs first, then the gates before.
      constant: the output where it depends on nothing.
    """

    inputs: tuple[str, ...]
    gates: tuple[tuple[str, tuple[int, ...]], ...]
    constant: str = ""

    def __call__(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The output for words of the inputs, in their order."""
        places = list(arrays)
        for gate, operands in self.gates:
            places.append(_GATES[gate](*(places[operand] for operand in operands)))
        return places[-1]

    @functools.cached_property
    def truth(self) -> tuple[int, ...]:
        """The output for 0, 1, ... of the inputs, the first of which is the lowest bit."""
        if self.constant:
            return (int(self.constant),)
        rows = np.arange(1 << len(self.inputs), dtype=np.uint64)
        return tuple((self([rows >> np.uint64(i) for i in range(len(self.inputs))]) & np.uint64(1)).tolist())


def functions(module: Mapping) -> dict[str, Function]:
    """The functions of a cell's outputs, as yosys' Liberty reader writes them: a module of simple gates.

    Outputs of anything else, of flip-flops and of three-state buffers, are left out.
    """
    ports = {name: port["bits"][0] for name, port in module["ports"].items()}
    names = {ports[name]: name for name, port in module["ports"].items() if port["direction"] == "input"}
    drivers = {
        cell["connections"]["Y"][0]: (
            cell["type"],
            [cell["connections"][p][0] for p in "AB" if p in cell["connections"]],
        )
        for cell in module["cells"].values()
        if cell["type"] in _GATES
    }
    found = {
        name: _function(ports[name], names, drivers)
        for name, p in module["ports"].items()
        if p["direction"] == "output"
    }
    return {name: function for name, function in found.items() if function is not None}


def _function(output, names: Mapping, drivers: Mapping) -> Function | None:
    if output in _CONSTANTS:
        return None if output in "xz" else Function((), (), output)
    inputs: list = []
    order: list = []

    def visit(bit) -> bool:
        if bit in names:
            inputs.extend([bit] if bit not in inputs else [])
            return True
        if bit in order:
            return True
        if bit not in drivers or not all(visit(operand) for operand in drivers[bit][1]):
            return False
        order.append(bit)
        return True

    if not visit(output):
        return None
    places = {bit: place for place, bit in enumerate([*inputs, *order])}
    gates = tuple((drivers[bit][0], tuple(places[operand] for operand in drivers[bit][1])) for bit in order)
    return Function(tuple(names[bit] for bit in inputs), gates)


@dataclasses.dataclass(frozen=True)
class _Gate:
    """A gate: its function, the nets of its inputs and of its output."""

    function: Function
    inputs: tuple[int, ...]
    output: int


@dataclasses.dataclass(frozen=True)
class _Alike:
    """Gates of one function, computed side by side: nets of their inputs [inputs, gates] and outputs [gates]."""

    function: Function
    inputs: np.ndarray
    outputs: np.ndarray

    def __call__(self, nets: np.ndarray) -> np.ndarray:
        return self.function([nets[row] for row in self.inputs])


def _side_by_side(gates: Iterable[_Gate]) -> list[_Alike]:
    by_function: dict[Function, list[_Gate]] = {}
    for gate in gates:
        by_function.setdefault(gate.function, []).append(gate)
    return [
        _Alike(function, np.array([gate.inputs for gate in alike]).T, np.array([gate.output for gate in alike]))
        for function, alike in by_function.items()
    ]


class Netlist:
    """A netlist of cells without state.

    Attributes:
      capacitance: of the input pins on each net, float64 [nets], in the unit of the cells'.
      depth: unit delays of the longest path.
    """

    def __init__(self, module: Mapping, cells: Mapping):
        """
        Args:
          module: as yosys writes it in JSON: "ports" and "cells".
          cells: by type, with `functions` by output and `capacitances` by input (`liberty.Cell`).

        Raises:
          UsageError: the function of a cell is not known, or there is a loop.
        """
        instances = module["cells"].values()
        unknown = {cell["type"] for cell in instances if not getattr(cells.get(cell["type"]), "functions", None)}
        if unknown:
            raise UsageError(f"cells of no function, or with state: {', '.join(sorted(unknown))}")
        self._nets: dict = {"0": 0, "1": 1, "x": 0, "z": 0}
        self._ports = {
            name: (port["direction"], np.array([self._net(bit) for bit in port["bits"]]))
            for name, port in module["ports"].items()
        }
        gates = [
            _Gate(function, tuple(self._net(cell["connections"][name][0]) for name in function.inputs), self._net(bit))
            for cell in instances
            for name, function in cells[cell["type"]].functions.items()
            for bit in cell["connections"].get(name, ())
        ]
        pins = [
            (self._net(cell["connections"][name][0]), farads)
            for cell in instances
            for name, farads in cells[cell["type"]].capacitances.items()
            if name in cell["connections"]
        ]
        self.capacitance = np.bincount(
            [net for net, _ in pins], [farads for _, farads in pins], minlength=max(self._nets.values()) + 1
        )
        self._tied = {gate.output: int(gate.function.constant) for gate in gates if not gate.inputs} | {0: 0, 1: 1}
        self._schedule([gate for gate in gates if gate.inputs])

    def _net(self, bit) -> int:
        return self._nets.setdefault(bit, len(self._nets) - 2)  # "x" and "z" have no nets of their own

    def _schedule(self, gates: list[_Gate]) -> None:
        """When each gate can change: between its shortest and its longest way from the inputs."""
        drivers = {gate.output: gate for gate in gates}
        order = graphlib.TopologicalSorter({gate.output: gate.inputs for gate in gates})
        try:
            nets = list(order.static_order())
        except graphlib.CycleError as error:
            raise UsageError("the netlist has a loop") from error
        first, last = dict.fromkeys(nets, 0), dict.fromkeys(nets, 0)
        for net in nets:
            if net in drivers:
                before = drivers[net].inputs
                first[net], last[net] = 1 + min(first[i] for i in before), 1 + max(last[i] for i in before)
        self.depth = max(last.values(), default=0)
        steps = range(1, self.depth + 1)
        self._levels = [_side_by_side(gate for gate in gates if last[gate.output] == step) for step in steps]
        self._steps = [
            _side_by_side(gate for gate in gates if first[gate.output] <= step <= last[gate.output]) for step in steps
        ]

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by port.

        Args:
          inputs: integers [vectors] by port; negative ones as two's complement. Ports that are left out are 0.

        Returns:
          Unsigned integers [vectors] by port.
        """
        count = len(next(iter(inputs.values())))
        parts = [
            self._read(self._settled(self._state(inputs, at)), count - at) for at in range(0, count, _CHUNK * WORD)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def toggles(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """How often nets change while vectors follow one another, each after the nets have become still.

        Args:
          inputs: as for `outputs`.

        Returns:
          Changes, int64 [nets], over all vectors after the first; and what the outputs have become by port, of all
          vectors after the first.
        """
        count = len(next(iter(inputs.values()))) - 1
        changes = np.zeros(len(self.capacitance), np.int64)
        parts = []
        for at in range(0, count, _CHUNK * WORD):
            nets, after = self._settled(self._state(inputs, at)), self._state(inputs, at + 1)
            used = np.full(nets.shape[1], _ALL)
            last = count - at - WORD * (len(used) - 1)
            used[-1] = _ALL >> np.uint64(max(0, WORD - last))
            for _, rows in self._of("input"):
                changes[rows] += _ones((nets[rows] ^ after[rows]) & used)
                nets[rows] = after[rows]
            for step in self._steps:
                found = [(alike.outputs, alike(nets)) for alike in step]
                for rows, values in found:
                    changes[rows] += _ones((nets[rows] ^ values) & used)
                    nets[rows] = values
            parts.append(self._read(nets, count - at))
        return changes, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _of(self, direction: str) -> list[tuple[str, np.ndarray]]:
        return [(name, rows) for name, (way, rows) in self._ports.items() if way == direction]

    def _state(self, inputs: Mapping[str, np.ndarray], at: int) -> np.ndarray:
        """Nets with the inputs of a chunk of vectors from `at` on, everything else at 0: uint64 [nets, words]."""
        vectors = {name: values[at : at + _CHUNK * WORD] for name, values in inputs.items()}
        words = -(-max(map(len, vectors.values())) // WORD)
        nets = np.zeros((len(self.capacitance), words), np.uint64)
        for net, value in self._tied.items():
            nets[net] = _ALL if value else 0
        for name, rows in self._of("input"):
            if name in vectors:
                nets[rows] = _packed(vectors[name], len(rows), words)
        return nets

    def _settled(self, nets: np.ndarray) -> np.ndarray:
        """Computes all nets from the inputs."""
        for level in self._levels:
            for alike in level:
                nets[alike.outputs] = alike(nets)
        return nets

    def _read(self, nets: np.ndarray, most: int) -> dict[str, np.ndarray]:
        return {name: _unpacked(nets[rows])[:most] for name, rows in self._of("output")}


def _packed(values: np.ndarray, bits: int, words: int) -> np.ndarray:
    """Integers [vectors] as words [bits, words], vector 0 in the lowest bit of the first word."""
    planes = (np.asarray(values).astype(np.int64) >> np.arange(bits)[:, None]) & 1
    padded = np.zeros((bits, words * WORD), np.uint8)
    padded[:, : planes.shape[1]] = planes
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def _unpacked(words: np.ndarray) -> np.ndarray:
    """The inverse of `_packed`; int64, without a sign."""
    planes = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    return (planes.astype(np.int64) << np.arange(len(words))[:, None]).sum(0)


def _ones(words: np.ndarray) -> np.ndarray:
    """How many bits are set in each row, int64 [rows] (Warren, Hacker's Delight, section 5-1)."""
    shift = np.uint64
    pairs = words - ((words >> shift(1)) & np.uint64(0x5555_5555_5555_5555))
    fours = (pairs & np.uint64(0x3333_3333_3333_3333)) + ((pairs >> shift(2)) & np.uint64(0x3333_3333_3333_3333))
    eights = (fours + (fours >> shift(4))) & np.uint64(0x0F0F_0F0F_0F0F_0F0F)
    return ((eights * np.uint64(0x0101_0101_0101_0101)) >> shift(56)).sum(1, dtype=np.int64)
