# SPDX-License-Identifier: Apache-2.0
"""Whether two modules give the same outputs for all inputs: a question to Yosys' SAT solver."""

import pathlib
import re

from benchmarks.hardware import yosys
from benchmarks.hardware.cxxrtl import Design

LITERAL = pathlib.Path(__file__).parents[1] / "hardware" / "literal_rescale.v"


def is_proved(gold: Design, gate: Design) -> bool:
    """True if no inputs tell two combinational modules with the same ports apart; False if some do."""
    script = []
    for name, design in (("gold", gold), ("gate", gate)):
        script += ["design -reset", *design.reading, "proc", "flatten", "opt -full", f"rename -top {name}"]
        script += [f"design -stash {name}"]
    script += ["design -copy-from gold gold", "design -copy-from gate gate", "miter -equiv -flatten gold gate both"]
    log = yosys.run([*script, "opt -full", "sat -prove trigger 0 both"])
    (answer,) = re.findall(r"SAT proof finished - (no model|model) found", log)
    return answer == "no model"
