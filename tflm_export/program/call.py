"""A part of a program that runs once."""

import dataclasses

from tflm_export.program.form import Form


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CallOnce(Form):
    """Runs another block of the program in the first inference.

    Attributes:
      block: its index.
    """

    block: int
