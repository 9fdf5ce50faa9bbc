# SPDX-License-Identifier: Apache-2.0
"""The table of cores: every row fits what reads it, and the documentation has the same rows."""

import pathlib
import re

import pytest

from tests.helpers.tflite_builder import residual_network
from tflm_export import UsageError, cores
from tflm_export.c.lowering import KERNELS
from tflm_export.cores import Core

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_names_are_unique():
    assert len(set(cores.NAMES)) == len(cores.NAMES)
    with pytest.raises(UsageError, match=r"one of portable, cortex-m0, .*, with or without cortex-, got 'cortex-m9'"):
        cores.find("cortex-m9")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        *((name, f"cortex-{name}") for name in ("m0", "m0plus", "m3", "m4", "m7", "m23", "m33")),
        ("m0+", "cortex-m0plus"),
        ("m1", "cortex-m0"),
        ("m0-small-multiplier", "cortex-m0-small-multiplier"),
        *((name, "cortex-m33") for name in ("m35p", "m55", "m85")),
    ],
)
def test_short_and_long_names(name, row):
    assert cores.find(name).name == cores.find(f"cortex-{name}").name == row


def test_portable_has_no_long_name():
    assert cores.find("portable").kernels == "portable"
    with pytest.raises(UsageError, match="got 'cortex-portable'"):
        cores.find("cortex-portable")


@pytest.mark.parametrize(
    ("name", "suited"),
    [
        (name, core)
        for core, names in {
            "portable": "esp32 ESP32-S3 riscv rv64gc cortex-a53 cortex-r5 x86_64 host avr atmega328p aarch64",
            "cortex-m0": "M0 Cortex_M0 M1 stm32f030 nrf51822",
            "cortex-m0-small-multiplier": "M0_small m0plus-small Cortex-M0+small",
            "cortex-m0plus": "M0+ rp2040 RP2040 pico pico_w stm32g071 stm32l0 samd21 armv6-m",
            "cortex-m3": "M3 stm32f103 stm32l152 armv7-m",
            "cortex-m4": "M4 cortex-m4f stm32f4 STM32F411 stm32l4 nrf52840 samd51 armv7e-m thumbv7em-none-eabi",
            "cortex-m7": "M7 stm32h743 stm32f7 imxrt1062 teensy4.1 same70",
            "cortex-m23": "M23 saml11 armv8-m.base",
            "cortex-m33": "M33 Cortex-M35P cortex-m52 M55 m85f rp2350 pico2 nrf5340 stm32u5 armv8.1-m.main",
            "rv32imc": "RV32IMAC esp32c3 ESP32-C6 esp32h2 Ibex ch32v203 bl616 gd32vf103cbt6 rv32gc fe310",
            "rv32imc_zba_zbb": "Hazard3 RP2350-Hazard3 rv32imac_zba_zbb_zbs rv32imc-zba pico2_riscv",
            "rv32ec": "RV32E ch32v003f4p6 rv32ec_zmmul",
            "rv32ic": "RV32I rv32iac serv PicoRV32",
        }.items()
        for name in names.split()
    ],
)  # fmt: skip
def test_other_names_are_told_the_row(name, suited):
    with pytest.raises(UsageError, match=rf"got '{re.escape(name)}': take {suited}($|, which runs on any machine$)"):
        cores.find(name)


@pytest.mark.parametrize("name", ["cortex-m9", "sparc", "stm32", "", "☃"])
def test_names_that_nobody_knows(name):
    with pytest.raises(UsageError, match="take that of your device, or portable, which runs on any machine"):
        cores.find(name)


@pytest.mark.parametrize("name", cores.NAMES)
def test_each_row_knows_its_own_names(name):
    """So that a slip in its spelling is told the right one."""
    if name != "portable":
        with pytest.raises(UsageError, match=f"take {cores.find(name).name}$"):
            cores.find(name.upper())


@pytest.mark.parametrize("core", cores.CORES, ids=lambda core: core.name)
def test_a_row_fits_the_harness(core):
    assert core.kernels in KERNELS
    assert core.is_emulated == (core.board is not None)
    for module in ("unicorn", "capstone", "elftools"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from unicorn import arm_const, riscv_const

    from benchmarks import cycles, riscv_cycles
    from benchmarks.emulators import boards, firmware, renode_engine

    assert (core.name in firmware.CPUS) == core.is_emulated
    if core.is_emulated:
        constants, models = {"arm": (arm_const, "ARM"), "riscv": (riscv_const, "RISCV32")}[core.isa]
        assert hasattr(constants, f"UC_CPU_{models}_{core.unicorn}")
        assert boards.board_of(core.name).machine == core.board
    if core.renode:
        assert (renode_engine.FOLDER / f"{core.renode}.repl").is_file()
    if core.cycles:
        assert core.isa == "arm" or core.cycles in riscv_cycles.TIMINGS
        nop = {"arm": "00bf", "riscv": "0100"}[core.isa]
        assert cycles.block_cost(bytes.fromhex(nop), 0, core.name).cycles == 1


def test_documentation_has_the_same_rows():
    def shown(core: Core) -> str:
        cycles, renode = ("yes" if value else "no" for value in (core.cycles, core.renode))
        names = f"`{core.name}` | `{core.kernels}`"
        return f"| {core.title} | {names} | {cycles} | `{core.unicorn}` | `{core.board}` | {renode} |"

    rows = [
        line for line in (ROOT / "docs/device.md").read_text().splitlines() if re.search(r"\| `(cortex-m|rv32)", line)
    ]
    assert rows == [shown(core) for core in cores.CORES if core.is_emulated]


def test_a_new_core_is_one_row(monkeypatch):
    """From C source to firmware that runs."""
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    row = Core("sc000", "SecurCore SC000", "cortex-m0plus", unicorn="CORTEX_M0", board="mps2-an385")
    monkeypatch.setattr(cores, "CORES", (*cores.CORES, row))
    model = residual_network(batch=1)
    inputs, _ = device.inputs_for(model, 1, None, 1.0)
    assert device.measure(model, "model", "sc000", 1, inputs).equal


def test_the_exporters_documentation_names_every_core():
    (row,) = [
        line for line in (ROOT / "docs/exporter.md").read_text().splitlines() if line.startswith("| `--core CORE`")
    ]
    own, others = row.split("those for the M4")[0].split("get kernels tuned for the M0+")
    named = {"cortex-m0plus": own, "cortex-m4": others}
    for kernels, text in named.items():
        names = set(re.findall(r"`(m\d+\w*)`", text))
        arm = [core for core in cores.CORES if core.isa == "arm" and core.kernels == kernels]
        suited = {name for core in arm for name in (core.name, *core.aliases)}
        assert names == {name.removeprefix("cortex-") for name in suited} - {"m0+"}
