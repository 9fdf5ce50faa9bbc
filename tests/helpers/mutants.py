# SPDX-License-Identifier: Apache-2.0
"""Verilog of the package with one error in it."""

import dataclasses
import pathlib

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
