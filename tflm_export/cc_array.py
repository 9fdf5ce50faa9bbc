# SPDX-License-Identifier: Apache-2.0
"""A model as C++ source, in TensorFlow Lite Micro's convention (generate_cc_arrays.py): NAME_model_data.cc and .h."""

import os
import re

from tflm_export.errors import UsageError

_PER_LINE = 16


def sources(data: bytes, path: str) -> dict[str, bytes]:
    """The two source files of a model.

    Args:
      data: a .tflite file.
      path: its path, or a name without extension; NAME is its stem, made a C identifier.

    Returns:
      Contents by file name: an aligned array `g_NAME_model_data` and its size `g_NAME_model_data_size`.
    """
    name = identifier(path)
    header = f"""#include <cstdint>

constexpr unsigned int g_{name}_model_data_size = {len(data)};
extern const unsigned char g_{name}_model_data[];
"""
    source = f"""#include "{name}_model_data.h"

alignas(16) const unsigned char g_{name}_model_data[] = {{
{_hexadecimal(data)}
}};
"""
    return {f"{name}_model_data.h": header.encode(), f"{name}_model_data.cc": source.encode()}


def identifier(path: str) -> str:
    """The stem of a path as part of a C identifier."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return re.sub(r"\W", "_", stem, flags=re.ASCII) or "model"


def require_identifier(name: str) -> None:
    """Raises UsageError where a name cannot begin those of a program's functions."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII):
        allowed = "a letter, then letters, digits and underscores"
        raise UsageError(f"--model_name begins names in C: {allowed}, got {name!r}{_suggestion(name)}")


def _suggestion(name: str) -> str:
    near = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_0123456789")
    return f"; {near} would do" if near else ""


def _hexadecimal(data: bytes) -> str:
    lines = (data[i : i + _PER_LINE].hex(",").replace(",", ", 0x") for i in range(0, len(data), _PER_LINE))
    return "\n".join(f"    0x{line}," for line in lines)
