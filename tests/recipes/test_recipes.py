# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/build.md for Make and CMake, as printed there: what they build computes what the simulator says.

`bazel test //...` does the same with the rule for Bazel.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.helpers.command import ROOT, environment
from tests.recipes import generate
from tflm_export import check, metadata, narrow

HERE = pathlib.Path(__file__).parent
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
needs = {
    tool: pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")
    for tool in ("make", "cmake", "gcc")
}


def run(*command, **variables: str) -> str:
    """Runs a command in the folder, with a `python` on its path that has the exporter."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, env=environment(PATH=path, **variables), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expect(data: bytes) -> None:
    """Puts there what the simulator says of a narrowed model."""
    pathlib.Path("expected.h").write_bytes(generate.expected(data))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project with the page's files, a stock model, and a program that holds it to the simulator."""
    monkeypatch.chdir(tmp_path)
    for name, text in BLOCK.findall((ROOT / "docs/build.md").read_text(encoding="utf-8")):
        pathlib.Path(name).write_text(text, encoding="utf-8")
    shutil.copy(HERE / "main.c", tmp_path)
    shutil.copy(ROOT / "cmake/narrow_tflite.cmake", tmp_path)
    pathlib.Path("digits.tflite").write_bytes(generate.model())
    return tmp_path


@needs["make"]
@needs["gcc"]
def test_make(folder):
    targets = ("narrow/digits.tflite", "c/digits/libmodel.a")
    run("make", *targets)
    expected = metadata.attach(*narrow(generate.model(), 1))
    for path in ("narrow/digits.tflite", "c/digits/digits.tflite"):
        assert pathlib.Path(path).read_bytes() == expected
    expect(expected)
    run("gcc", "-Ic/digits", "main.c", "c/digits/libmodel.a", "-o", "firmware")
    assert run("./firmware") == "0 of 4 rows differ\n"
    run("make", "--question", *targets)  # nothing is left to do
    later = os.stat(targets[1]).st_mtime + 10
    os.utime("digits.tflite", (later, later))
    assert subprocess.run(["make", "--question", targets[0]], check=False).returncode == 1


@needs["cmake"]
@needs["gcc"]
def test_cmake(folder):
    configure = ("cmake", "-S", ".", "-B", "build", f"-DPython3_EXECUTABLE={sys.executable}")
    expect(narrow(generate.model(), 1)[0])
    run(*configure)
    run("cmake", "--build", "build")
    assert run("build/firmware") == "0 of 4 rows differ\n"
    narrowed = pathlib.Path("build/digits.narrow/digits.tflite")
    assert narrowed.read_bytes() == metadata.attach(*narrow(generate.model(), 1))
    made = narrowed.stat().st_mtime_ns
    run("cmake", "--build", "build")
    assert narrowed.stat().st_mtime_ns == made
    later = narrowed.stat().st_mtime + 10
    os.utime("digits.tflite", (later, later))
    run("cmake", "--build", "build")
    assert narrowed.stat().st_mtime_ns != made


@pytest.mark.slow
@needs["cmake"]
@needs["gcc"]
def test_cmake_with_an_array_and_flags(folder):
    """Two models, of which one is an array; a name that is none of C; a grid that is no number of bits."""
    pathlib.Path("rules.json").write_text('{"stem": 8}')
    pathlib.Path("CMakeLists.txt").write_text("""
cmake_minimum_required(VERSION 3.20)
project(firmware C CXX)
include(narrow_tflite.cmake)
narrow_tflite(digits MODEL digits.tflite GRID csd2)
narrow_tflite(my-array MODEL digits.tflite BITS 1 CC_ARRAY
              FLAGS --bits_config=${CMAKE_CURRENT_SOURCE_DIR}/rules.json DEPENDS rules.json)
add_executable(firmware main.c)
target_link_libraries(firmware digits)
add_executable(size size.cc)
target_link_libraries(size my-array)
""")
    pathlib.Path("size.cc").write_text(
        '#include <cstdio>\n#include "my_array_model_data.h"\n'
        'int main() { std::printf("%u %d\\n", g_my_array_model_data_size, g_my_array_model_data[4]); }\n'
    )
    expect(narrow(generate.model(), "csd2")[0])
    run("cmake", "-S", ".", "-B", "build", f"-DPython3_EXECUTABLE={sys.executable}")
    run("cmake", "--build", "build")
    assert run("build/firmware") == "0 of 4 rows differ\n"
    array = pathlib.Path("build/my-array.narrow/my-array.tflite").read_bytes()
    assert run("build/size") == f"{len(array)} {ord('T')}\n"
    assert check(array, 8).offenders == ()
    assert [row.name for row in check(array, 1).offenders] == ["stem"]


@pytest.mark.sweep(3)
@needs["cmake"]
@pytest.mark.parametrize(
    "arguments",
    ["digits BITS 1", "digits MODEL digits.tflite", "digits MODEL m BITS 1 BITTS 2", "d MODEL m BITS 1 GRID csd2"],
)
def test_cmake_refuses_what_it_does_not_know(folder, arguments):
    pathlib.Path("CMakeLists.txt").write_text(f"""
cmake_minimum_required(VERSION 3.20)
project(firmware C)
include(narrow_tflite.cmake)
narrow_tflite({arguments})
""")
    command = ["cmake", "-S", ".", "-B", "build", f"-DPython3_EXECUTABLE={sys.executable}"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "narrow_tflite(TARGET MODEL file BITS k | GRID grid" in done.stderr
