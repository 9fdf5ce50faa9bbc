# SPDX-License-Identifier: Apache-2.0
"""Folders of C in other projects: the programs of docs/c.md as printed there, several models, other build systems."""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from tests.helpers import corpus
from tests.helpers.command import ROOT
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tests.recipes import generate
from tests.recipes.test_recipes import BLOCK, needs, run
from tflm_export import kernels
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate

PAGE = (ROOT / "docs/c.md").read_text(encoding="utf-8")


def detector() -> bytes:
    b = TFLiteBuilder(3)
    image = b.input([1, 8, 8, 3], name="image")
    features = b.conv(image, 8, name="features")
    return b.build(image, [b.conv(features, 4, name="boxes"), b.conv(features, 2, name="scores")])


def narrow(name: str, *flags: str) -> None:
    """The folder NAME of NAME.tflite, as the page says."""
    folder = ("--c_source", name, "--model_name", name, "--output", f"{name}_k1.tflite")
    run(
        "python", "-m", "tflm_export", "--quiet", "--bits", "1", *folder, *flags, f"{name}.tflite", PYTHONPATH=str(ROOT)
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The page's project, with its model's folder, and other stock models."""
    monkeypatch.chdir(tmp_path)
    for name, text in BLOCK.findall(PAGE):
        pathlib.Path(name).write_text(text, encoding="utf-8")
    for name, data in (
        ("digits", generate.model()),
        ("words", residual_network(batch=1, seed=1)),
        ("detector", detector()),
    ):
        pathlib.Path(f"{name}.tflite").write_bytes(data)
    narrow("digits")
    return tmp_path


def build(*flags: str) -> None:
    run("cmake", "-S", ".", "-B", "build", *flags)
    run("cmake", "--build", "build")


def output_of(program: str, rows: np.ndarray) -> bytes:
    return subprocess.run([program], input=rows.tobytes(), capture_output=True, check=True, timeout=60).stdout


def rows_of(name: str, count: int) -> np.ndarray:
    (tensor,) = parse(pathlib.Path(f"{name}.tflite").read_bytes()).subgraphs[0].inputs
    return np.random.default_rng(0).integers(0, 256, (count, *tensor.shape[1:])).astype(tensor.type.lower())


def expected(name: str, rows: np.ndarray) -> list[np.ndarray]:
    return simulate(pathlib.Path(f"{name}_k1.tflite").read_bytes(), rows, "narrow").outputs


def assert_equals_simulator(program: str, name: str, count: int = 4) -> None:
    """A program such as main.c, whose output is in real numbers, on rows one after another."""
    tensor = parse(pathlib.Path(f"{name}_k1.tflite").read_bytes()).subgraphs[0].outputs[0]
    rows = rows_of(name, count)
    lines = output_of(program, rows).decode().splitlines()
    for line, wanted in zip(lines, expected(name, rows)[0].reshape(count, -1), strict=True):
        real = np.array(line.split(), float)
        np.testing.assert_array_equal(np.rint(real / tensor.scale) + tensor.zero_point, wanted)


def test_programs_are_short():
    programs = [text for name, text in BLOCK.findall(PAGE) if name.endswith(".c")]
    assert len(programs) == 2
    assert all(len(program.splitlines()) <= 22 for program in programs)


@needs["cmake"]
@needs["gcc"]
def test_the_program_of_the_page(folder):
    build("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    assert_equals_simulator("build/firmware", "digits")


REAL = {  # their inputs and outputs, and how many successive ones are run
    "tflite-micro__micro_speech_quantized": ("int8_t", "int8_t", 20),
    "micro-wake-word-models__okay_nabu": ("int8_t", "uint8_t", 200),
    "tflite-micro__trained_lstm_int8": ("int8_t", "int8_t", 2),
    "coral__mobilenet_v1_0.25_128_quant": ("uint8_t", "uint8_t", 1),
}


@pytest.mark.sweep(3)
@needs["cmake"]
@needs["gcc"]
@pytest.mark.parametrize("model", sampled(REAL, 2))
def test_the_program_with_real_models(folder, model):
    """A classifier, a wake word, an LSTM, and a MobileNet in uint8, each in the place of the page's digits."""
    shutil.rmtree("digits")
    pathlib.Path("digits.tflite").write_bytes(corpus.read(f"models/{model}"))
    narrow("digits", "--overwrite")
    input_type, output_type, count = REAL[model]
    program = pathlib.Path("main.c").read_text()
    for name, found in (("input", input_type), ("output", output_type)):
        program = program.replace(f"static int8_t {name}[", f"static {found} {name}[")
    pathlib.Path("main.c").write_text(program)
    build("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    assert_equals_simulator("build/firmware", "digits", count)


@pytest.mark.slow
@needs["cmake"]
@needs["gcc"]
def test_the_program_with_two_outputs(folder):
    narrow("detector")
    project = pathlib.Path("CMakeLists.txt").read_text().replace("main.c", "detect.c").replace("digits", "detector")
    pathlib.Path("CMakeLists.txt").write_text(project)
    build("-DCMAKE_BUILD_TYPE=Release")
    rows = rows_of("detector", 3)
    wanted = np.concatenate([output.reshape(len(rows), -1) for output in expected("detector", rows)], axis=1)
    found = np.frombuffer(output_of("build/firmware", rows), np.int8)
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


@needs["cmake"]
@needs["gcc"]
def test_a_folder_is_a_project_of_its_own(folder):
    run("cmake", "-S", "digits", "-B", "alone")
    run("cmake", "--build", "alone")
    assert pathlib.Path("alone/libdigits.a").is_file()


BOTH = """
#include <stdio.h>

#include "digits.h"
#include "words.h"

int main(void) {
  int8_t input[DIGITS_INPUT_BYTES], output[DIGITS_OUTPUT_BYTES], words[WORDS_OUTPUT_BYTES];
  while (fread(input, 1, sizeof input, stdin) == sizeof input) {
    digits_invoke(input, output);
    words_invoke(input, words);
    fwrite(output, 1, sizeof output, stdout);
    fwrite(words, 1, sizeof words, stdout);
  }
  return 0;
}
"""
TWO_FOLDERS = """
cmake_minimum_required(VERSION 3.13)
project(firmware C CXX)
add_subdirectory(digits)
add_subdirectory(words)
add_executable(firmware both.cc)
target_link_libraries(firmware digits words)
"""
# What there is when Zephyr's CMake comes to a module, and how it links: the application and its own libraries whole.
ZEPHYR = """
cmake_minimum_required(VERSION 3.20)
project(Zephyr-Kernel C)
add_library(zephyr_interface INTERFACE)
target_compile_definitions(zephyr_interface INTERFACE __ZEPHYR__=1)
add_library(app STATIC both.c)
target_link_libraries(app PUBLIC zephyr_interface)
set(CONFIG_MODEL_DIGITS y)
set(CONFIG_MODEL_WORDS y)
foreach(module digits words absent)
  add_subdirectory(${module}/zephyr ${CMAKE_BINARY_DIR}/modules/${module})
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/empty.c "typedef int nothing;")
add_executable(firmware ${CMAKE_BINARY_DIR}/empty.c)
target_link_libraries(firmware -Wl,--whole-archive app -Wl,--no-whole-archive)
"""


@pytest.fixture
def two(folder):
    """A project with two models, of different kernels."""
    narrow("words", "--core=cortex-m4")
    for name in ("both.c", "both.cc"):
        pathlib.Path(name).write_text(BOTH)
    return folder


def assert_both_equal_the_simulator(program: str) -> None:
    rows = rows_of("digits", 4)
    wanted = np.concatenate([expected(name, rows)[0] for name in ("digits", "words")], axis=1)
    np.testing.assert_array_equal(np.frombuffer(output_of(program, rows), np.int8).reshape(wanted.shape), wanted)


@pytest.mark.slow
@needs["cmake"]
@needs["gcc"]
@pytest.mark.parametrize("flags", [[], ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON"]])
def test_two_models_share_their_kernels(two, flags):
    pathlib.Path("CMakeLists.txt").write_text(TWO_FOLDERS)
    build(*flags)
    assert_both_equal_the_simulator("build/firmware")
    kernels_of = [{path.name for path in pathlib.Path(name).glob("narrow_*.c")} for name in ("digits", "words")]
    assert kernels_of[0] & kernels_of[1]
    assert kernels_of[0] ^ kernels_of[1]


@needs["cmake"]
def test_kernels_of_two_versions_are_refused(two):
    pathlib.Path("CMakeLists.txt").write_text(TWO_FOLDERS)
    listed = pathlib.Path("words/CMakeLists.txt")
    other = listed.read_text().replace(f"set(kernels {kernels.digest()})", "set(kernels 0123456789abcdef)")
    assert other != listed.read_text()
    listed.write_text(other)
    done = subprocess.run(["cmake", "-S", ".", "-B", "build"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert f"{two}/words and {two}/digits hold kernels of two versions; write both with one tflm_export" in message


@pytest.mark.slow
@needs["cmake"]
@needs["gcc"]
def test_two_zephyr_modules(two):
    """In an imitation of Zephyr. What is switched off is not built."""
    narrow("detector")
    pathlib.Path("detector").rename("absent")
    pathlib.Path("CMakeLists.txt").write_text(ZEPHYR)
    build("-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    assert_both_equal_the_simulator("build/firmware")
    assert {path.name for path in pathlib.Path("build").rglob("lib*.a")} == {"libapp.a", "libdigits.a", "libwords.a"}
    commands = [entry["command"] for entry in json.loads(pathlib.Path("build/compile_commands.json").read_text())]
    assert all("__ZEPHYR__" in command for command in commands)


@pytest.mark.slow
@needs["gcc"]
def test_two_models_where_every_file_is_linked(two):
    """As Arduino and many an IDE do it."""
    folders = ("digits", "words")
    units = [str(path) for name in folders for path in pathlib.Path(name).glob("*.c")]
    run("gcc", "-O1", *(f"-I{name}" for name in folders), "both.c", *units, "-o", "firmware")
    assert_both_equal_the_simulator("./firmware")
