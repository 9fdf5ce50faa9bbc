# SPDX-License-Identifier: Apache-2.0
"""The table of cores: every row fits what reads it, and the documentation has the same rows."""

import pathlib

import pytest

from tests.helpers.tflite_builder import residual_network
from tflm_export import UsageError, cores
from tflm_export.c.lowering import KERNELS
from tflm_export.cores import Core

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_names_are_unique():
    assert len(set(cores.NAMES)) == len(cores.NAMES)
    assert cores.find("cortex-m0+").name == "cortex-m0plus"
    with pytest.raises(UsageError, match=r"core must be one of portable, cortex-m0, .*, got 'cortex-m9'"):
        cores.find("cortex-m9")


@pytest.mark.parametrize("core", cores.CORES, ids=lambda core: core.name)
def test_a_row_fits_the_harness(core):
    assert core.kernels in KERNELS
    assert core.is_emulated == (core.board is not None)
    for module in ("unicorn", "capstone", "elftools"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from unicorn import arm_const

    from benchmarks import cycles
    from benchmarks.emulators import boards, firmware, renode_engine

    assert (core.name in firmware.CPUS) == core.is_emulated
    if core.is_emulated:
        assert hasattr(arm_const, f"UC_CPU_ARM_{core.unicorn}")
        assert boards.board_of(core.name).machine == core.board
    if core.renode:
        assert (renode_engine.FOLDER / f"{core.renode}.resc").is_file()
    if core.cycles:
        assert cycles.block_cost(bytes.fromhex("00bf"), 0, core.name).cycles == 1  # nop


def test_documentation_has_the_same_rows():
    def shown(core: Core) -> str:
        cycles, renode = ("yes" if value else "no" for value in (core.cycles, core.renode))
        names = f"`{core.name}` | `{core.kernels}`"
        return f"| {core.title} | {names} | {cycles} | `{core.unicorn}` | `{core.board}` | {renode} |"

    rows = [line for line in (ROOT / "docs/device.md").read_text().splitlines() if "| `cortex-m" in line]
    assert rows == [shown(core) for core in cores.CORES if core.is_emulated]


def test_a_new_core_is_one_row(monkeypatch):
    """From C source to firmware that runs."""
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    row = Core("cortex-m1", "M1", "cortex-m0plus", unicorn="CORTEX_M0", board="mps2-an385")
    monkeypatch.setattr(cores, "CORES", (*cores.CORES, row))
    model = residual_network(batch=1)
    inputs, _ = device.inputs_for(model, 1, None, 1.0)
    assert device.measure(model, "model", "cortex-m1", 1, inputs).equal
