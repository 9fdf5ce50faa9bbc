# SPDX-License-Identifier: Apache-2.0
"""Programs made simpler, each step exact: the values that are left are what they were."""

from tflm_export.program.passes.borders import integer_borders
from tflm_export.program.passes.channels import drop_channels
from tflm_export.program.passes.constants import fold_constants
from tflm_export.program.passes.identities import remove_identities
from tflm_export.program.passes.pads import fuse_pads
from tflm_export.program.passes.uint8 import signed
from tflm_export.program.passes.unused import remove_unused
from tflm_export.program.program import Program

__all__ = [
    "drop_channels",
    "fold_constants",
    "fuse_pads",
    "integer_borders",
    "remove_identities",
    "remove_unused",
    "signed",
    "simplified",
]


def simplified(program: Program) -> Program:
    """All passes, for back ends that need no more than a program's outputs and variables."""
    for one in (fold_constants, remove_identities, fuse_pads, remove_unused):
        program = one(program)
    return program
