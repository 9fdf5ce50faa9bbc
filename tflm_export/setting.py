# SPDX-License-Identifier: Apache-2.0
"""How one rescale is narrowed."""

import dataclasses

from tflm_export.errors import UsageError
from tflm_export.grid import Grid

KEEP, REQUANTIZE = "keep", "requantize"
METHODS = (REQUANTIZE, KEEP)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the factors of an operator are put on, and how.

    Attributes:
      grid: the factors there are.
      method: "requantize" rounds factors so that scales grow, from the scales assigned so far; "keep" rounds the stock
        factors to nearest and lets scales follow, so that only the factors change and no integer. With data "keep",
        too, moves scales of activations as "requantize" does; of the integers, weights and constants stay.

    Raises:
      UsageError: no such method.
    """

    grid: Grid
    method: str = REQUANTIZE

    def __post_init__(self):
        if self.method not in METHODS:
            raise UsageError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
