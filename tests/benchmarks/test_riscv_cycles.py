# SPDX-License-Identifier: Apache-2.0
"""Cycles of RISC-V code, instruction by instruction, against the tables of the cores' manuals."""

import pathlib

import numpy as np
import pytest

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

import capstone  # noqa: E402

from benchmarks import cycles, riscv_cycles  # noqa: E402
from benchmarks.emulators import firmware, unicorn_engine  # noqa: E402

TIMINGS = ("ibex", "ibex-slow", "cv32e40p", "hazard3")
# code, what it is, cycles of each of TIMINGS when execution goes on behind it, and what is added where it does not.
ROWS = [
    ("3385b500", "add a0, a1, a1", (1, 1, 1, 1), 0),
    ("3305b502", "mul a0, a0, a1", (3, 2, 1, 1), 0),
    ("3315b502", "mulh a0, a0, a1", (4, 33, 5, 1), 0),
    ("3345b502", "div a0, a0, a1", (38, 38, 19, 19), 0),
    ("03a50500", "lw a0, 0(a1)", (2, 2, 1, 1), 0),
    ("2300a500", "sb a0, 0(a0)", (2, 2, 1, 1), 0),
    ("8841", "c.lw a0, 0(a1)", (2, 2, 1, 1), 0),
    ("2a95", "c.add a0, a0", (1, 1, 1, 1), 0),
    ("33a5b520", "sh1add a0, a1, a1", (1, 1, 1, 1), 0),
    ("33c5b50a", "min a0, a1, a1", (1, 1, 1, 1), 0),
    ("884105 05".replace(" ", ""), "c.lw a0, 0(a1); c.addi a0, 1", (3, 3, 3, 3), 0),
    ("88418505", "c.lw a0, 0(a1); c.addi a1, 1", (3, 3, 2, 2), 0),
    ("884188c1", "c.lw a0, 0(a1); c.sw a0, 0(a1)", (4, 4, 3, 2), 0),
    ("01e5", "c.bnez a0", (1, 1, 1, 1), (2, 2, 2, 1)),
    ("6304b500", "beq a0, a1", (1, 1, 1, 1), (2, 2, 2, 1)),
    ("11a0", "c.j", (1, 1, 1, 1), (1, 1, 1, 1)),
    ("8280", "c.jr ra", (1, 1, 1, 1), (1, 1, 1, 1)),
    ("92908280", "c.add ra, tp; c.jr ra", (2, 2, 3, 2), (1, 1, 1, 1)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_instructions(row):
    code, text, spent, taken = row
    for timing, wanted, more in zip(TIMINGS, spent, taken or (0,) * 4, strict=True):
        cost = cycles.block_cost(bytes.fromhex(code), 0, "rv32imc", cycles.Assumptions(timing=timing))
        assert (cost.instructions, cost.cycles, cost.taken) == (text.count(";") + 1, wanted, more), timing


def test_ranges():
    def spent(code: str, timing: str) -> list[int]:
        ends = [cycles.Assumptions(timing=timing, end=end) for end in (-1, 0, 1)]
        costs = [cycles.block_cost(bytes.fromhex(code), 0, "rv32imc", assumed) for assumed in ends]
        return [cost.cycles + cost.taken for cost in costs]

    assert spent("3345b502", "cv32e40p") == [3, 19, 35]
    assert spent("3345b502", "hazard3") == [18, 19, 19]
    assert spent("01e5", "ibex") == [2, 3, 3]


def test_what_is_no_code():
    with pytest.raises(cycles.UnknownInstructionError, match="no RISC-V instructions at 0x100: 0000"):
        cycles.count(b"\0\0", 0x100, "rv32imc")


def test_lengths_and_kinds_are_capstones():
    """Random words: whatever Capstone reads as one of these instructions is read alike here."""
    decoder = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC)
    kinds = {"lw": "load", "lb": "load", "lbu": "load", "lh": "load", "lhu": "load", "sw": "store", "sb": "store"}
    kinds |= {"sh": "store", "lwsp": "load", "swsp": "store", "mul": "multiply", "mulh": "multiply_high"}
    kinds |= {"beq": "branch", "bne": "branch", "blt": "branch", "bge": "branch", "bltu": "branch", "bgeu": "branch"}
    kinds |= {"beqz": "branch", "bnez": "branch", "j": "jump", "jal": "jump", "jr": "jump_register"}
    kinds |= {"jalr": "jump_register", "div": "divide", "divu": "divide", "rem": "divide", "remu": "divide"}
    kinds |= dict.fromkeys("add sub addi li lui mv slli srli srai and or xor andi sll srl sra".split(), "other")
    seen = set()
    for word in np.random.default_rng(0).integers(0, 1 << 32, 20000).tolist():
        code = word.to_bytes(4, "little")
        for decoded in decoder.disasm(code, 0, 1):
            name = decoded.mnemonic.removeprefix("c.")
            if name in kinds:
                own = riscv_cycles.instructions(code[: decoded.size])[0]
                assert (own.size, own.kind) == (decoded.size, kinds[name]), (decoded.mnemonic, decoded.op_str)
                seen.add(name)
    assert len(seen) > 30


HEADER = b"#include <stdint.h>\nvoid probe_invoke(const int8_t *input, int8_t *output);\n"


def spent(assembly: str, timing: str, folder: pathlib.Path) -> int:
    """What is counted while a program runs, beyond its blocks."""
    code = (
        f'#include "probe.h"\nvoid probe_invoke(const int8_t *x, int8_t *y) {{ *y = *x; __asm__ volatile("{assembly}"'
    )
    code += ' : : : "a0", "a1", "a2", "memory"); }\n'
    built = firmware.link(
        "probe", {"probe.h": HEADER, "probe.c": code.encode()}, "probe_invoke", (4, 1), "rv32imc", folder, "zig"
    )
    history = riscv_cycles.TIMINGS[timing].history
    ran = unicorn_engine.execute(built, ["probe_invoke"], np.zeros((1, 4), np.int8), 1, timing=history)
    return ran.stalls[1].history


@pytest.mark.parametrize(("operand", "more"), [(0, 0), (1, 0), (2, 1), (3, 1), (255, 7), (-1, 31)])
def test_the_slow_multiplier_takes_a_cycle_a_bit(operand, more, tmp_path):
    """rtl/ibex_multdiv_slow.sv: MD_IDLE, MD_COMP while bits are left behind the first, MD_LAST."""
    code = f"li a0, 5\\n li a1, {operand}\\n mul a2, a0, a1\\n"
    assert spent(code, "ibex-slow", tmp_path) == more


def test_the_predictor(tmp_path):
    """Nine times back: predicted from the second on; the tenth is not taken, against what was predicted."""
    code = ".option norelax\\n li a0, 10\\n .balign 4\\n 1: addi a0, a0, -1\\n bnez a0, 1b\\n"
    assert spent(code, "hazard3", tmp_path) == -8 + 1


def test_targets_across_words(tmp_path):
    across = ".balign 4\\n j 1f\\n c.nop\\n c.nop\\n .balign 4\\n c.nop\\n 1: lui a0, 0x12345\\n c.nop\\n"
    assert (
        spent(across, "cv32e40p", tmp_path) - spent(across.replace("lui a0, 0x12345", "c.nop"), "cv32e40p", tmp_path)
        == 1
    )
