# SPDX-License-Identifier: Apache-2.0
"""Verilog of the package with one error in it, which vectors find or the solver proves to be none."""

import dataclasses
import pathlib

from benchmarks.hardware import cxxrtl
from benchmarks.hardware.cxxrtl import Design
from tests.helpers.equivalence import is_proved
from tflm_export import rtl


@dataclasses.dataclass(frozen=True)
class Mutant:
    """An error in one file: a text that stands there once, and another in its place."""

    name: str
    file: str
    old: str
    new: str

    def sources(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """All files of the package, written to a folder, with the error."""
        written = []
        for path in rtl.sources():
            text = path.read_text(encoding="utf-8")
            if path.stem == self.file:
                assert text.count(self.old) == 1
                text = text.replace(self.old, self.new)
            written.append(folder / path.name)
            written[-1].write_text(text, encoding="utf-8")
        return written


def designs(mutants: list, new_folder) -> dict:
    """The design of each mutant, by mutant; its files are in a folder that `new_folder(name)` makes."""
    return {mutant: mutant.design(new_folder("mutant")) for mutant in mutants}


def blocks(designs: dict) -> dict:
    """Each design as a function of its ports, by mutant."""
    return dict(zip(designs, cxxrtl.build_all(list(designs.values())), strict=True))


def check(mutant, is_found: bool, design: Design) -> None:
    """Fails unless vectors find the error, or it is said to be harmless and proved to be."""
    assert is_found != mutant.is_harmless
    if mutant.is_harmless:
        assert is_proved(Design(mutant.shape.block, mutant.shape.parameters), design)
