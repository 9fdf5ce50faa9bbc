# SPDX-License-Identifier: Apache-2.0
"""A model as C++ source, in TensorFlow Lite Micro's convention (generate_cc_arrays.py): NAME_model_data.cc and .h."""

import os
import re

_PER_LINE = 16


def sources(data: bytes, path: str) -> dict[str, bytes]:
    """The two source files of a model.

    Args:
      data: a .tflite file.
      path: its path; NAME is its stem, made a C identifier.

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


def _hexadecimal(data: bytes) -> str:
    lines = (data[i : i + _PER_LINE].hex(",").replace(",", ", 0x") for i in range(0, len(data), _PER_LINE))
    return "\n".join(f"    0x{line}," for line in lines)
