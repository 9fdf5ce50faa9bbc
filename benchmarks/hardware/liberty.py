# SPDX-License-Identifier: Apache-2.0
"""What a Liberty file says of standard cells: area, functions, capacitance of the pins. yosys reads it."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import tempfile

from benchmarks.hardware import gates, yosys
from tflm_export import UsageError, files

NAND = (1, 1, 1, 0)
_PREFIXES = {"f": 1e-15, "p": 1e-12, "n": 1e-9}
_IGNORED = "-ignore_miss_func -ignore_miss_dir -ignore_miss_data_latch -ignore_buses"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A standard cell.

    Attributes:
      area: in the file's unit, which by custom is um2.
      functions: by output, of a cell without state; empty for others.
      capacitances: in farads, by input.
    """

    area: float
    functions: dict[str, gates.Function]
    capacitances: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Library:
    """A library of standard cells.

    Attributes:
      path: of the file.
      name: of the library.
      digest: of the file's content.
      volts: nominal.
      cells: by name.
    """

    path: pathlib.Path
    name: str
    digest: str
    volts: float
    cells: dict[str, Cell]

    @property
    def about(self) -> dict:
        """What identifies it, for a stored result."""
        return {"name": self.name, "sha256": self.digest, "volts": self.volts, "nand2_um2": self.nand_area}

    @functools.cached_property
    def nand_area(self) -> float:
        """Of the smallest NAND gate of two inputs, in um2: what areas are commonly counted in."""
        return min(
            cell.area
            for cell in self.cells.values()
            if [f.truth for f in cell.functions.values()] == [NAND] and cell.area
        )


def read(path: str) -> Library:
    """A library from its file.

    Raises:
      UsageError: the file cannot be read, is no Liberty file, or lacks what a synthesis needs.
    """
    if odd := re.search(r"[^\w./+,=@:~-]", str(pathlib.Path(path).resolve())):
        raise UsageError(f"{path}: ABC cannot read a file with {odd[0]!r} in its path; copy it elsewhere")
    content = files.read(path)
    text = content.decode("utf-8", "replace")
    named = re.search(r'^\s*library\s*\(\s*"?([^")\s]*)"?\s*\)\s*\{', text, re.MULTILINE)
    if named is None:
        raise UsageError(f"{path} is no Liberty file: it has no group library (NAME) {{ ... }}; name a .lib file")
    farads, volts = _farads(text, path), _number(r"nom_voltage\s*:\s*\"?([\d.eE+-]+)", text)
    if volts is None:
        raise UsageError(f"{path} does not say its nom_voltage, which energy depends on")
    modules = _modules(path)
    cells = {name: _cell(module, farads) for name, module in modules.items()}
    _require(path, modules, cells)
    return Library(pathlib.Path(path).resolve(), named[1], hashlib.sha256(content).hexdigest(), volts, cells)


def _farads(text: str, path: str) -> float:
    """The unit of capacitances."""
    unit = re.search(r'capacitive_load_unit\s*\(\s*"?([\d.eE+-]+)"?\s*,\s*"?([fpn])f"?\s*\)', text, re.IGNORECASE)
    if unit is None:
        raise UsageError(f"{path} has no capacitive_load_unit (NUMBER, ff or pf), which energy depends on")
    return float(unit[1]) * _PREFIXES[unit[2].lower()]


def _number(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return float(found[1]) if found else None


def _modules(path: str) -> dict:
    """The cells as modules of simple gates."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "cells.json"
        yosys.run([f'read_liberty {_IGNORED} "{pathlib.Path(path).resolve()}"', f'write_json "{out}"'])
        return json.loads(out.read_text())["modules"]


def _cell(module: dict, farads: float) -> Cell:
    inputs = [name for name, port in module["ports"].items() if port["direction"] == "input"]
    given = {name: module["netnames"][name]["attributes"].get("capacitance", 0) for name in inputs}
    found = gates.functions(module)
    outputs = [name for name, port in module["ports"].items() if port["direction"] != "input"]
    return Cell(
        float(module["attributes"].get("area", 0)),
        found if len(found) == len(outputs) else {},
        {name: farads * float(value) for name, value in given.items()},
    )


def _require(path: str, modules: dict, cells: dict[str, Cell]) -> None:
    """What mapping and counting need: a NAND gate, an inverter and a flip-flop, with areas."""
    truths = {
        f.truth for cell in cells.values() if cell.area > 0 for f in cell.functions.values() if len(cell.functions) == 1
    }
    kinds = {gate["type"] for module in modules.values() for gate in module["cells"].values()}
    lacks = [
        name
        for name, is_there in (
            ("a NAND of two inputs", NAND in truths),
            ("an inverter", (1, 0) in truths),
            ("a D flip-flop", any(kind.startswith(("$_DFF_", "$_DFFE_", "$_SDFF")) for kind in kinds)),
        )
        if not is_there
    ]
    if lacks:
        raise UsageError(f"{path} has no cell with an area that is {' and none that is '.join(lacks)}")
