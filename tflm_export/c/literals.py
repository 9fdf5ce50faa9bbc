# SPDX-License-Identifier: Apache-2.0
"""Constants, names and comments as C has them."""

import math
import re
from collections.abc import Sequence

import numpy as np

from tflm_export.c.step import UnsupportedError
from tflm_export.program.value import Value

_LINE = 110
_KEYWORDS = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr continue
    decltype default delete do double else enum explicit export extern false float for friend goto if inline int long
    mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register restrict
    return short signed sizeof static struct switch template this throw true try typedef typeid typename union unsigned
    using virtual void volatile wchar_t while xor xor_eq linux unix
    """.split()
)


def c_type(dtype) -> str:
    """The type of elements in C.

    Raises:
      UnsupportedError: there is none.
    """
    dtype = np.dtype(dtype)
    if dtype == np.float32:
        return "float"
    if dtype.kind not in "iu":
        raise UnsupportedError(f"{dtype.name.upper()} has no type in C here")
    return f"{dtype.name}_t"


def identifier(text: str) -> str:
    """A text as part of an identifier."""
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def field_names(values: Sequence[Value]) -> list[str]:
    """A name for each value that a struct can have, made from the tensors' own; each once, in any case."""
    names: list[str] = []
    for i, value in enumerate(values):
        name = re.sub(r"_+", "_", identifier(value.name)).strip("_") or f"tensor_{i}"
        name = f"t_{name}" if name[0].isdigit() else name
        name = f"{name}_" if name in _KEYWORDS else name
        same = name
        number = 2
        while name.lower() in map(str.lower, names):
            name, number = f"{same}_{number}", number + 1
        names.append(name)
    return names


def comment(text: str) -> str:
    """A comment; nothing in the text, which may hold a file's names, can end it."""
    return f"/* {printable(text).replace('*/', '* /').replace('/*', '/ *').rstrip(chr(92))} */"


def string(text: str) -> str:
    """A string literal of a text, which may hold a file's names."""
    return '"' + printable(text).replace(chr(92), "/").replace('"', "'") + '"'


def printable(text: str) -> str:
    """A text in ASCII without control characters and trigraphs."""
    return re.sub(r"[^\x20-\x7e]", "?", text).replace("??", "? ?")


def integer(value: int) -> str:
    """A constant of as many bits as the integer needs, 32 or 64.

    Raises:
      UnsupportedError: it needs more.
    """
    for bits, suffix in ((32, ""), (64, "LL")):
        if value == -(1 << (bits - 1)):
            return f"INT{bits}_MIN"  # C has no constants with a sign
        if abs(value) < 1 << (bits - 1):
            return f"{value}{suffix}"
    raise UnsupportedError(f"{value} does not fit 64 bits")


def integers(*values: int) -> str:
    """Several, as arguments of a call."""
    return ", ".join(map(integer, values))


def real(value: float, suffix: str = "") -> str:
    """A constant that is exactly the float; `suffix` is f for one of 32 bits.

    Raises:
      UnsupportedError: it is infinite or no number.
    """
    if not math.isfinite(value):
        raise UnsupportedError(f"it computes with {value}")
    return f"{float(value).hex()}{suffix}"


def array(name: str, values: np.ndarray) -> str:
    """The definition of an array."""
    numbers = [_number(value, values.dtype) for value in values.reshape(-1).tolist()] or ["0"]
    lines, line = [], ""
    for number in numbers:
        if len(line) + len(number) > _LINE:
            lines.append(line)
            line = ""
        line += f"{number}, "
    lines.append(line)
    body = "\n".join(f"    {text.rstrip()}" for text in lines)
    return f"{c_type(values.dtype)} {name}[{len(numbers)}] = {{\n{body}\n  }};"


def _number(value, dtype: np.dtype) -> str:
    if dtype == np.float32:
        text = f"{value:.9g}"
        return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
    if dtype == np.int64:
        return f"{value}LL" if value != -(1 << 63) else "(-9223372036854775807LL - 1)"
    return str(value)
