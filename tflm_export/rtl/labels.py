# SPDX-License-Identifier: Apache-2.0
"""Names of models and tensors, which may be any text, in Verilog, Markdown and messages; counts with nouns."""

import re


def short(label: str) -> str:
    """A label without what fused operators add to a name: "operator 1 CONV_2D (a; ...), above zero"."""
    first, _, rest = label.partition(";")
    return f"{first}; ...{rest[rest.rfind(')') :] if ')' in rest else ''}" if rest else label


def plain(text: str) -> str:
    """A text in ASCII that fits a comment of a line, which must not end in a backslash."""
    return re.sub(r"[^\x20-\x7e]", "?", text).rstrip("\\")


def quoted(text: str) -> str:
    """A text in a format string of Verilog."""
    return plain(text).replace("\\", "/").replace('"', "'").replace("%", "%%")


def markdown(text: str) -> str:
    """A text in Markdown, as it reads."""
    one_line = "".join(letter if letter.isprintable() else "?" for letter in text)
    return re.sub(r"([|`*_<>\[\]\\])", r"\\\1", one_line)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 byte, 2 bytes."""
    return f"{number} {noun}{'s' * (number != 1)}"
