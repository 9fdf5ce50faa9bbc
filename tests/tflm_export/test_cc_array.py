# SPDX-License-Identifier: Apache-2.0
"""The C++ array: compiled, it is the file byte for byte."""

import shutil
import subprocess

import pytest

from tests.helpers.tflite_builder import residual_network
from tflm_export import cc_array


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the array with")
@pytest.mark.parametrize("data", [residual_network(), b"\x00\xff", bytes(range(256)) * 3 + b"\x01"])
def test_the_compiled_array_is_the_file(tmp_path, data):
    for name, content in cc_array.sources(data, "some/my-model.v2.tflite").items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "main.cc").write_text(
        '#include "my_model_v2_model_data.h"\n#include <cstdio>\n'
        "int main() { std::fwrite(g_my_model_v2_model_data, 1, g_my_model_v2_model_data_size, stdout);\n"
        "return reinterpret_cast<unsigned long>(g_my_model_v2_model_data) % 16; }\n"
    )
    program = tmp_path / "program"
    sources = [str(path) for path in tmp_path.glob("*.cc")]
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fno-permissive"]
    subprocess.run(["g++", *flags, *sources, "-o", str(program)], check=True, capture_output=True)
    done = subprocess.run([str(program)], check=True, capture_output=True)
    assert done.stdout == data


@pytest.mark.parametrize(
    ("path", "name"), [("a/b.tflite", "b"), ("my model-1.tflite", "my_model_1"), ("größe.tflite", "gr__e"), ("m", "m")]
)
def test_names_are_identifiers(path, name):
    assert cc_array.identifier(path) == name
    assert list(cc_array.sources(b"x", path)) == [f"{name}_model_data.h", f"{name}_model_data.cc"]
