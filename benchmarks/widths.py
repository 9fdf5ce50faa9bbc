# SPDX-License-Identifier: Apache-2.0
"""What the multipliers of the accuracy suite are: of so many bits, or on a grid that is no number of bits.

The latter go by the grid's name. On axes and in columns they stand among the bits by how finely they round: the mean
relative error of rounding a factor to nearest, over the logarithm of the factor, is 0.36 / 2**k at k bits.
"""

import math
from typing import Any

from tflm_export import UsageError, check_bits
from tflm_export.grid import NAMED

Width = int | str
MEAN_ERRORS = {"csd2": 0.036}  # as docs/how_it_works.md has it


def place(width: Width) -> float:
    """Where a width stands among bits."""
    return width if isinstance(width, int) else math.log2(0.36 / MEAN_ERRORS[width])


def ordered(widths) -> list[Width]:
    """Widths, each once, the finest first."""
    return sorted(set(widths), key=place, reverse=True)


def title(width: Width) -> str:
    """For people: "k = 4"."""
    return f"k = {width}" if isinstance(width, int) else width


def stem(width: Width) -> str:
    """For names of files: "k4"."""
    return f"k{width}" if isinstance(width, int) else width


def from_stem(text: str) -> Width:
    """The width of such a name."""
    return text if text in NAMED else int(text.removeprefix("k"))


def training(width: Width) -> dict[str, Any]:
    """The arguments of `keras_rat.quantize_model` for it."""
    return {"bits": width} if isinstance(width, int) else {"grid": width}


def parsed(texts: list[str], flag: str, allowed: tuple[Width, ...]) -> list[Width]:
    """The widths of a flag, each once, the finest first.

    Raises:
      UsageError: one is no width, or not allowed.
    """
    try:
        found = ordered(text if text in NAMED else check_bits(int(text)) for text in texts)
    except ValueError as error:
        raise UsageError(f"--{flag} takes whole numbers, or {', '.join(NAMED)}: {error}") from error
    if unknown := [width for width in found if width not in allowed]:
        known, wrong = (", ".join(map(str, reversed(ordered(widths)))) for widths in (allowed, unknown))
        raise UsageError(f"--{flag} can be {known}, not {wrong}")
    return found
