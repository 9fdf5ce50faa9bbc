# SPDX-License-Identifier: Apache-2.0
"""What a program does besides computing: parts that run once, and names of variables."""

import dataclasses
from collections.abc import Hashable

from tflm_export.program.form import Form


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CallOnce(Form):
    """Runs another block of the program in the first inference.

    Attributes:
      block: its index.
    """

    block: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Handle(Form):
    """Says which variable a handle stands for; gone when a program is ready.

    Attributes:
      handle: key of the handle.
      variable: name of the variable, the same in all blocks.
    """

    handle: Hashable
    variable: str
