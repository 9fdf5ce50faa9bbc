# SPDX-License-Identifier: Apache-2.0
"""The blocks in Verilog, files of this package."""

import pathlib

VERILOG = pathlib.Path(__file__).parent / "verilog"


def sources() -> list[pathlib.Path]:
    """The Verilog files of all blocks, in order of their names. One module a file, with the file's name."""
    return sorted(VERILOG.glob("*.v"))
