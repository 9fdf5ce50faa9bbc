# SPDX-License-Identifier: Apache-2.0
"""Icarus Verilog and Verilator read the blocks without a warning, and compute the same with them."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from tests.helpers.hardware import ALL
from tests.helpers.rescaler_vectors import Shape, vectors
from tflm_export import rtl

requires_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
requires_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="Verilator is not installed")

TOPS = {
    "narrow_rescale": [
        {}, {"MULTIPLIER_BITS": 1}, {"MULTIPLIER_BITS": 1, "HIDDEN_BIT": 0}, {"MULTIPLIER_BITS": 2},
        {"PRODUCT": 1}, {"MULTIPLIER_BITS": 2, "PRODUCT": 2}, {"MULTIPLIER_BITS": 7, "PRODUCT": 2, "HIDDEN_BIT": 0},
        {"MULTIPLIER_BITS": 5, "HIDDEN_BIT": 0, "PRODUCT": 0}, {"MULTIPLIER_BITS": 1, "FOLDED": 1},
        {"SHIFT_MIN": -4, "OUT_BITS": 16}, {"SHIFT_MIN": 12, "SHIFT_BITS": 1, "ACC_BITS": 20},
        {"REGISTER_PRODUCT": 1, "REGISTER_SHIFT": 1, "REGISTER_OUTPUT": 1},
    ],
    "narrow_rescale_csd": [{}, {"DISTANCE_BITS": 1, "REGISTER_SHIFT": 1}],
    "narrow_add": [{}, {"MULTIPLIER_BITS": 1, "IN_BITS": 16, "OUT_BITS": 16}, {"MULTIPLIER_BITS": 8, "START_BITS": 12}],
    "narrow_mean": [{}, {"MULTIPLIER_BITS": 1, "START_BITS": 40}],
    "narrow_lanes": [{"LANES": 3}, {"LANES": 2, "SHARED_PARAMETERS": 1}],
    "tflm_rescale": [{}, {"SHIFT_MIN": 24}, {"HIDDEN_BIT": 0, "ACC_BITS": 24}],
}  # fmt: skip
CASES = [(top, parameters) for top, several in TOPS.items() for parameters in several]
FILES = [str(path) for path in rtl.sources()]
SHAPES = [Shape(1), Shape(4, acc_bits=24, shift_bits=4, shift_min=4), Shape(8, out_bits=16), Shape("csd")]
SHAPES += [Shape(31, shift_min=31)]
COUNT = 30_000 if ALL else 1_000


def run(*command, **options) -> str:
    """What a tool says; it must not stop with an error."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@requires_icarus
@pytest.mark.parametrize(("top", "parameters"), CASES, ids=str)
def test_icarus_has_no_warning(top, parameters, tmp_path):
    values = [f"-P{top}.{name}={value}" for name, value in parameters.items()]
    said = run("iverilog", "-g2005", "-Wall", "-s", top, *values, "-o", tmp_path / "design", *FILES)
    assert [line for line in said.splitlines() if "timescale" not in line] == []  # of which there is none, on purpose


@requires_verilator
@pytest.mark.parametrize(("top", "parameters"), CASES, ids=str)
def test_verilator_has_no_warning(top, parameters):
    values = [f"-G{name}={value}" for name, value in parameters.items()]
    assert "Warning" not in run("verilator", "--lint-only", "-Wall", "--top-module", top, *values, *FILES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """With a testbench that tries vectors on several blocks, and says how many are wrong of each."""
    folder = tmp_path_factory.mktemp("testbench")
    parts = []
    for number, shape in enumerate(SHAPES):
        cases = vectors(shape, COUNT)
        cases = cases[np.random.default_rng(number).permutation(len(cases))[:COUNT]]
        fields = cases.ports(shape) | {"expected": cases.expected(shape)}
        widths = {"acc": shape.acc_bits, "shift": shape.shift_bits, "distance": 2, "negative": 1}
        widths |= dict.fromkeys(("zero_point", "low", "high", "expected"), shape.out_bits)
        widths["multiplier"] = max(1, 30 if shape.k == 31 else shape.k - 1 if shape.k != "csd" else 1)
        (folder / f"{number}.hex").write_text(hexadecimal(fields, widths), encoding="ascii")
        parts.append(part(number, shape, {name: widths[name] for name in fields}, len(cases)))
    lines = ["module testbench;", *parts, f"  initial #{COUNT + 9} $finish;", "endmodule", ""]
    (folder / "testbench.v").write_text("\n".join(lines), encoding="ascii")
    return folder


def hexadecimal(fields: dict[str, np.ndarray], widths: dict[str, int]) -> str:
    """Lines for $readmemh: the fields of a vector behind each other, the first in the highest bits."""
    words = np.zeros(len(fields["acc"]), object)
    for name, values in fields.items():
        words = (words << widths[name]) | (values & ((1 << widths[name]) - 1)).astype(object)
    return "".join(f"{word:x}\n" for word in words)


def part(number: int, shape: Shape, widths: dict[str, int], count: int) -> str:
    """One block, its vectors, and a loop over them."""
    declared = [f"  reg [{bits - 1}:0] {name}_{number};" for name, bits in widths.items()]
    ports = ", ".join(f".{name}({name}_{number})" for name in widths if name != "expected")
    values = ", ".join(f".{name}({value})" for name, value in shape.parameters.items())
    return "\n".join([
        *declared,
        f"  wire [{shape.out_bits - 1}:0] y_{number};",
        f"  {shape.block} #({values}) block_{number} (.clk(1'b0), {ports}, .y(y_{number}));",
        f"  reg [{sum(widths.values()) - 1}:0] vectors_{number} [0:{count - 1}];",
        f"  integer i_{number}, wrong_{number};",
        "  initial begin",
        f"    $readmemh(\"{number}.hex\", vectors_{number});",
        f"    wrong_{number} = 0;",
        f"    for (i_{number} = 0; i_{number} < {count}; i_{number} = i_{number} + 1) begin",
        f"      {{{', '.join(f'{name}_{number}' for name in widths)}}} = vectors_{number}[i_{number}];",
        f"      #1 if (y_{number} !== expected_{number}) wrong_{number} = wrong_{number} + 1;",
        "    end",
        f"    $display(\"{shape.block} %0d wrong of %0d\", wrong_{number}, i_{number});",
        "  end",
    ])  # fmt: skip


def wanted() -> list[str]:
    return sorted(f"{shape.block} 0 wrong of {COUNT}" for shape in SHAPES)


@requires_icarus
def test_icarus_computes_the_same(folder):
    run("iverilog", "-g2005", "-s", "testbench", "-o", folder / "icarus", folder / "testbench.v", *FILES)
    said = run("vvp", "-n", folder / "icarus", cwd=folder)
    assert sorted(line for line in said.splitlines() if "wrong" in line) == wanted()


@requires_verilator
@pytest.mark.skipif(not ALL, reason="takes half a minute: make hardware-test")
def test_verilator_computes_the_same(folder):
    run("verilator", "--binary", "--timing", "-O1", "-Wno-fatal", "--top-module", "testbench", "--Mdir",
        folder / "verilated", folder / "testbench.v", *FILES)  # fmt: skip
    said = run(folder / "verilated" / "Vtestbench", cwd=folder)
    assert sorted(line for line in said.splitlines() if "wrong" in line) == wanted()
