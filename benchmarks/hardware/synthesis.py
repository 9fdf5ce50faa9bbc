# SPDX-License-Identifier: Apache-2.0
"""A design in gates, by yosys and its ABC: cells of a Liberty library, LUTs of an FPGA, transistors. Before layout.

A job is a script with what it reads, so its result can be kept: under a hash of the Verilog, the parameters, the
library, the script and the version of yosys.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import re
import tempfile
from collections.abc import Callable

from benchmarks import command
from benchmarks.hardware import yosys
from benchmarks.hardware.designs import BOOTH, WAYS, WRITTEN_OUT, Design
from benchmarks.hardware.gates import Netlist
from benchmarks.hardware.liberty import Library
from tflm_export import UsageError, files

CELLS, TRANSISTORS = "cells", "transistors"
AREA, SPEED = "area", "speed"
# How ABC maps: to small cells, sized down after buffering; for short paths, sized up and down; to gates of any library.
ABC = {
    AREA: "strash;dc2;&get -n;&nf;&put;topo;buffer;dnsize -D 50000;stime -p",
    SPEED: "strash;dc2;map -B 0.9;topo;buffer -c;upsize -D 1;dnsize -D 1;stime -p",
    TRANSISTORS: "strash;dc2;&get -n;&nf;&put",
}
_STAT, _NETLIST = "stat.json", "netlist"
_OUT = f"tee -q -o {{}}_{_STAT} stat -json"


@dataclasses.dataclass(frozen=True)
class Target:
    """An FPGA.

    Attributes:
      title: for people.
      synth: the command, without the module.
      luts: how many LUTs a cell of a type stands for.
      dsp: the type of its multipliers; empty where they are not used.
    """

    title: str
    synth: str
    luts: dict[str, int]
    dsp: str

    def multipliers(self, design: Design) -> tuple[str, ...]:
        """The ways to make products that are worth trying: a DSP block takes none that is written out."""
        return tuple(way for way in design.multipliers if way != BOOTH and not (self.dsp and way in WRITTEN_OUT))


FPGAS = {
    "ice40": Target("iCE40", "synth_ice40", {"SB_LUT4": 1}, ""),
    "ice40_dsp": Target("iCE40 with DSP", "synth_ice40 -dsp", {"SB_LUT4": 1}, "SB_MAC16"),
    "xilinx7": Target(
        "Xilinx 7", "synth_xilinx -family xc7 -flatten -noiopad", {f"LUT{n}": 1 for n in range(1, 7)}, "DSP48E1"
    ),
    # A carry cell of two bits takes the place of two LUTs.
    "ecp5": Target("ECP5", "synth_ecp5", {"LUT4": 1, "CCU2C": 2}, "MULT18X18D"),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """Something to synthesise.

    Attributes:
      design: what.
      kind: CELLS, TRANSISTORS or one of FPGAS.
      multiplier: how products are made, one of the design's.
    """

    design: Design
    kind: str
    multiplier: str

    @property
    def label(self) -> str:
        """For people."""
        lanes = f", {self.design.lanes} lanes" if self.design.lanes > 1 else ""
        return ", ".join(
            (self.design.label + lanes, f"{self.design.accumulator.bits} bits", self.kind, self.multiplier)
        )

    def script(self, library: Library | None) -> list[str]:
        """The commands of yosys; files are relative to the folder that they run in."""
        top = self.design.top
        read = yosys.reading(top, self.design.made(self.multiplier), self.design.sources)
        if self.kind in FPGAS:
            return [*read, f"{FPGAS[self.kind].synth} -top {top}", _OUT.format("out")]
        way = "-booth " if self.multiplier == BOOTH else ""
        gates = [*read, f"synth -noabc -flatten {way}-top {top}", "opt -full", "delete t:$scopeinfo"]
        if self.kind == TRANSISTORS:
            return [*gates, f"abc -g gates -script {TRANSISTORS}.abc", "opt_clean", _OUT.format("out") + " -tech cmos"]
        path = yosys.quoted(library.path)
        mapped = [f"dfflibmap -liberty {path}", "design -save gates"]
        for goal in self.goals:
            mapped += ["design -load gates", f"tee -o {goal}.log abc -liberty {path} -script {goal}.abc"]
            mapped += ["opt_clean", _OUT.format(goal) + f" -liberty {path}", f"write_json {goal}_{_NETLIST}.json"]
        return [*gates, *mapped]

    @property
    def goals(self) -> tuple[str, ...]:
        """What ABC is to aim at in cells; of many lanes the area alone is of interest."""
        return (AREA, SPEED) if self.design.lanes == 1 else (AREA,)

    def hash(self, library: Library | None) -> str:
        """Of all that the result depends on."""
        parts = [
            importlib.metadata.version("pyosys"),
            repr(self.design.made(self.multiplier)),
            self.kind,
            *ABC.values(),
        ]
        # Where files lie does not matter; what is in them does.
        parts += [line for line in self.script(library) if not line.startswith(("read_verilog", "dfflibmap"))]
        parts += [path.read_text() for path in self.design.sources]
        if library is not None:
            parts = [part.replace(str(library.path), library.digest) for part in parts]
        return digest(parts)


def digest(parts: list[str]) -> str:
    """Of texts, fit for a file's name."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def synthesise(job: Job, library: Library | None, folder: pathlib.Path) -> dict:
    """Runs a job; its files stay in a folder.

    Returns:
      By what it is, numbers: "luts", "dsps" and "cells" of an FPGA; "transistors"; or for each goal "area", um2, and
      "ns".

    Raises:
      UsageError: yosys failed.
    """
    for goal, text in ABC.items():
        (folder / f"{goal}.abc").write_text(text + "\n")
    yosys.run(job.script(library), folder)
    if job.kind in FPGAS:
        return luts(_cells(folder, "out", job), FPGAS[job.kind])
    if job.kind == TRANSISTORS:
        return {TRANSISTORS: _transistors(_stat(folder, "out", job)["estimated_num_transistors"])}
    return {
        goal: {
            "area": float(_stat(folder, goal, job)["area"]),
            "ns": nanoseconds((folder / f"{goal}.log").read_text()),
        }
        for goal in job.goals
    }


def netlist(folder: pathlib.Path, goal: str, job: Job) -> dict:
    """The module of cells that `synthesise` left in a folder, as `Netlist` takes it."""
    module = json.loads((folder / f"{goal}_{_NETLIST}.json").read_text())["modules"][job.design.top]
    cells = {name: {part: cell[part] for part in ("type", "connections")} for name, cell in module["cells"].items()}
    return {"ports": module["ports"], "cells": cells}


def luts(counted: dict[str, int], target: Target) -> dict:
    """LUTs and multipliers from cells by type."""
    found = sum(number * target.luts.get(kind, 0) for kind, number in counted.items())
    return {"luts": found, "dsps": counted.get(target.dsp, 0) if target.dsp else 0, "cells": counted}


def _stat(folder: pathlib.Path, name: str, job: Job) -> dict:
    return json.loads((folder / f"{name}_{_STAT}").read_text())["modules"][f"\\{job.design.top}"]


def _cells(folder: pathlib.Path, name: str, job: Job) -> dict[str, int]:
    return _stat(folder, name, job)["num_cells_by_type"]


def _transistors(text: str) -> int:
    """yosys marks a number with + where it does not know all cells."""
    if not str(text).isdigit():
        raise UsageError(f"yosys does not know the transistors of all cells: {text}")
    return int(text)


def nanoseconds(log: str) -> float:
    """The longest path, from the line that ABC's `stime` prints.

    Raises:
      UsageError: there is none.
    """
    found = re.findall(r"Delay\s*=\s*([\d.]+)\s*ps", log)
    if not found:
        raise UsageError("ABC printed no delay: it could not use the timing of the library")
    return float(found[-1]) / 1000


class Store:
    """Results of jobs, in a folder: each in a file whose name has the hash of what it depends on."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def get(self, name: str, key: str, make: Callable[[], dict]) -> dict:
        """A result that is there, or else is made now and kept."""
        path = self._path(name, key)
        if path.is_file():
            return json.loads(path.read_text())
        return self.put(name, key, make())

    def put(self, name: str, key: str, made: dict) -> dict:
        """Keeps a result, and returns it."""
        command.make_folder(self.folder)
        files.write({str(self._path(name, key)): command.to_json(made)})
        return made

    def _path(self, name: str, key: str) -> pathlib.Path:
        return self.folder / f"{re.sub('[^a-z0-9]+', '_', name.lower())}_{key}.json"


def kept(job: Job, library: Library | None, store: Store) -> dict:
    """The result of a job, from the store where it is there; the netlist of its area is kept with it."""

    def make() -> dict:
        found, module = _made(job, library)
        if module is not None:
            store.put(_name(job, _NETLIST), key, module)
        return found

    key = job.hash(library)
    return store.get(_name(job, job.kind), key, make)


def smallest(job: Job, library: Library, store: Store) -> Netlist:
    """The netlist of the area that a job's result has, from the store where it is there."""
    module = store.get(_name(job, _NETLIST), job.hash(library), lambda: _made(job, library)[1])
    return Netlist(module, library.cells)


def _made(job: Job, library: Library | None) -> tuple[dict, dict | None]:
    """The result of a job, and the netlist of its area; none of lanes, whose energy is not measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        found = synthesise(job, library, folder)
        has_netlist = job.kind == CELLS and job.design.lanes == 1
        return found, netlist(folder, AREA, job) if has_netlist else None


def _name(job: Job, what: str) -> str:
    return f"{job.design.key} {what} {job.multiplier}"


def better(results: dict[str, dict], *keys: str) -> tuple[str, float]:
    """Of results by multiplier the smallest number under some keys: whose it is, and the number."""
    numbers = {way: results[way] for way in WAYS if way in results}
    for key in keys:
        numbers = {way: found[key] for way, found in numbers.items()}
    best = min(numbers, key=numbers.__getitem__)  # the first of those that are as good
    return best, numbers[best]
