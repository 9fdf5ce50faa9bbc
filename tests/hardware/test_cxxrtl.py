# SPDX-License-Identifier: Apache-2.0
"""Verilog that is run from numpy, and what is said when Yosys or a compiler cannot."""

import importlib.util

import numpy as np
import pytest

from benchmarks.hardware import cxxrtl, yosys
from benchmarks.hardware.cxxrtl import Design
from tflm_export import UsageError

WIDE = """
module wide #(parameter integer STEP = 3) (input wire clk, input wire [69:0] a, input wire signed [4:0] b,
    output wire [69:0] sum, output wire signed [4:0] same, output reg [7:0] calls = 0);
  assign sum = a + {{65{b[4]}}, b};
  assign same = b;
  always @(posedge clk) calls <= calls + STEP;
endmodule
"""


@pytest.fixture(scope="module")
def block(tmp_path_factory) -> cxxrtl.Block:
    source = tmp_path_factory.mktemp("wide path") / "wide.v"
    source.write_text(WIDE, encoding="ascii")
    return cxxrtl.build("wide", {"STEP": -2}, [source])


def test_ports_of_any_width(block):
    b = np.array([-16, -1, 0, 15])
    a = np.array([[0xFFFFFFFF, 0xFFFFFFFF, 1], [0, 0, 2], [5, 6, 7], [1, 0, 0]], np.uint32)
    found = block(a=a, b=b)
    numbers = [sum(int(word) << (32 * n) for n, word in enumerate(row)) for row in a]
    sums = [sum(int(word) << (32 * n) for n, word in enumerate(row)) for row in found["sum"]]
    assert sums == [(number + int(step)) % (1 << 70) for number, step in zip(numbers, b, strict=True)]
    assert found["same"].tolist() == b.tolist()


def test_state_starts_anew_with_each_call(block):
    for _ in range(2):
        assert block(a=np.zeros((3, 3), np.uint32), b=0)["calls"].tolist() == [254, 252, 250]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"b": 16}, "b takes -16 to 15, got 16 to 16"),
        ({"b": [0, -17]}, "b takes -16 to 15, got -17 to 0"),
        ({"c": 0, "b": 0}, "wide takes a, b, got a, b, c"),
        ({}, "wide takes a, b, got a"),
    ],
)
def test_bad_vectors(block, inputs, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        block(a=np.zeros((2, 3), np.uint32), **inputs)


def test_errors_of_yosys_are_one_line(tmp_path):
    (tmp_path / "bad.v").write_text("module bad (input wire a); assign = a; endmodule\n", encoding="ascii")
    with pytest.raises(UsageError, match=r"^yosys: .*bad\.v:1.*syntax error") as caught:
        cxxrtl.build("bad", sources=[tmp_path / "bad.v"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no_such_module"):
        cxxrtl.build_all([Design("no_such_module")])
    with pytest.raises(UsageError, match=r"^yosys: .*no_such_command"):
        yosys.run(["no_such_command"])


def test_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install pyosys"):
        yosys.run(["stat"])


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else find(name))
    with pytest.raises(UsageError, match="pip install ziglang"):
        cxxrtl.build("optional_register")
