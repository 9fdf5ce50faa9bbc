# SPDX-License-Identifier: Apache-2.0
"""The cycle model, instruction class by instruction class, against the manuals' tables and examples."""

import pytest

pytest.importorskip("capstone", reason="capstone is not installed")

from benchmarks import cycles
from benchmarks.cycles import LEAST, MOST, TYPICAL

# code, what it is, cycles on the M0, M0+, M3, M4 when execution goes on behind it; None where the core lacks it.
STRAIGHT = [
    ("8818", "adds r0, r1, r2", 1, 1, 1, 1),
    ("c0b2", "uxtb r0, r0", 1, 1, 1, 1),
    ("00bf", "nop", 1, 1, 1, 1),
    ("4843", "muls r0, r1, r0", 1, 1, 1, 1),
    ("0868", "ldr r0, [r1]", 2, 2, 2, 2),
    ("8854", "strb r0, [r1, r2]", 2, 2, 2, 2),
    ("4860", "str r0, [r1, #4]", 2, 2, 1, 1),
    ("30b5", "push {r4, r5, lr}", 4, 4, 4, 4),
    ("30bc", "pop {r4, r5}", 3, 3, 3, 3),
    ("0ec8", "ldm r0!, {r1, r2, r3}", 4, 4, 4, 4),
    ("0a48", "ldr r0, [pc, #40]", 2, 2, 2, 2),
    ("c85e", "ldrsh r0, [r1, r3]", 2, 2, 2, 2),
    ("4871", "strb r0, [r1, #5]", 2, 2, 1, 1),
    ("0ec0", "stm r0!, {r1, r2, r3}", 4, 4, 4, 4),
    ("0aa0", "adr r0, #40", 1, 1, 1, 1),
    ("c841", "rors r0, r1", 1, 1, 1, 1),
    ("4042", "rsbs r0, r0, #0", 1, 1, 1, 1),
    ("00ba", "rev r0, r0", 1, 1, 1, 1),
    ("72b6", "cpsid i", 1, 1, 1, 1),
    ("bff34f8f", "dsb sy", 4, 3, 1, 1),
    ("40f20100", "movw r0, #1", None, None, 1, 1),
    ("61f30700", "bfi r0, r1, #0, #8", None, None, 1, 1),
    ("b1fa81f0", "clz r0, r1", None, None, 1, 1),
    ("01fb1230", "mls r0, r1, r2, r3", None, None, 2, 1),
    ("a1fb0302", "umull r0, r2, r1, r3", None, None, 4, 1),
    ("11fb0230", "smlabb r0, r1, r2, r3", None, None, None, 1),
    ("eff31080", "mrs r0, primask", 4, 3, 1, 1),
    ("01fb0230", "mla r0, r1, r2, r3", None, None, 2, 1),
    ("82fb0301", "smull r0, r1, r2, r3", None, None, 4, 1),
    ("c2fb0301", "smlal r0, r1, r2, r3", None, None, 5, 1),
    ("91fbf2f0", "sdiv r0, r1, r2", None, None, 7, 7),
    ("21fb0200", "smlad r0, r1, r2, r0", None, None, None, 1),
    ("2ffa91f0", "sxtb16 r0, r1, ror #8", None, None, None, 1),
    ("21f3c700", "ssat r0, #8, r1, asr #3", None, None, 1, 1),
    ("d2e90001", "ldrd r0, r1, [r2]", None, None, 3, 3),
    ("08bf401c", "it eq; addeq r0, r0, #1", None, None, 2, 2),
    # Sequences: M0 and M0+ just add up; the others follow section 3.3.3.
    ("08681a686c68", "ldr r0, [r1]; ldr r2, [r3]; ldr r4, [r5, #4]", 6, 6, 4, 4),
    ("88585861", "ldr r0, [r1, r2]; str r0, [r3, #20]", 4, 4, 3, 3),
    ("88589950", "ldr r0, [r1, r2]; str r1, [r3, r2]", 4, 4, 3, 3),
    ("08680268", "ldr r0, [r1]; ldr r2, [r0]", 4, 4, 4, 4),
    ("51f8040b51f8042b", "ldr r0, [r1], #4; ldr r2, [r1], #4", None, None, 3, 3),
    ("48601a68", "str r0, [r1, #4]; ldr r2, [r3]", 4, 4, 3, 3),
    ("091d0868", "adds r1, r1, #4; ldr r0, [r1]", 3, 3, 4, 4),
]

# code, what it is, then for each core: cycles when not taken, and what is added when taken.
BRANCHES = [
    ("00d0", "beq", (1, 2), (1, 1), (1, 2), (1, 2)),
    ("00e0", "b", (1, 2), (1, 1), (1, 2), (1, 2)),
    ("00f000f8", "bl", (1, 3), (1, 2), (1, 2), (1, 2)),
    ("7047", "bx lr", (1, 2), (1, 1), (1, 2), (1, 2)),
    ("9f46", "mov pc, r3", (1, 2), (1, 1), (1, 2), (1, 2)),
    ("30bd", "pop {r4, r5, pc}", (4, 3), (4, 2), (4, 2), (4, 2)),
    ("00b1", "cbz r0", None, None, (1, 2), (1, 2)),
    ("dfe800f0", "tbb [pc, r0]", None, None, (3, 3), (3, 3)),
    ("d0f800f0", "ldr pc, [r0]", None, None, (2, 3), (2, 3)),
]


ARM = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4")


def cost(code: str, cpu: str, assumptions=TYPICAL) -> cycles.Cost:
    return cycles.block_cost(bytes.fromhex(code), 0x100, cpu, assumptions)


@pytest.mark.parametrize("row", STRAIGHT, ids=lambda row: row[1])
def test_straight_code(row):
    code, text, *expected = row
    for cpu, wanted in zip(ARM, expected, strict=True):
        if wanted is None:
            if cpu in ("cortex-m0", "cortex-m0plus"):
                continue  # code for another core: not in the table, or without a meaning
            with pytest.raises(cycles.UnknownInstructionError, match=text.split()[0]):
                cost(code, cpu)
        else:
            assert (cost(code, cpu).cycles, cost(code, cpu).taken) == (wanted, 0), cpu
            assert cost(code, cpu).instructions == text.count(";") + 1


@pytest.mark.parametrize("row", BRANCHES, ids=lambda row: row[1])
def test_branches(row):
    code, _, *expected = row
    for cpu, wanted in zip(ARM, expected, strict=True):
        if wanted is not None:
            assert (cost(code, cpu).cycles, cost(code, cpu).taken) == wanted, cpu


def test_the_ranges_of_the_tables():
    assert [cost("91fbf2f0", "cortex-m4", a).cycles for a in (LEAST, TYPICAL, MOST)] == [2, 7, 12]
    assert [cost("82fb0301", "cortex-m3", a).cycles for a in (LEAST, TYPICAL, MOST)] == [3, 4, 5]
    assert [cost("c2fb0301", "cortex-m3", a).cycles for a in (LEAST, TYPICAL, MOST)] == [4, 5, 7]
    assert [cost("00d0", "cortex-m4", a).taken for a in (LEAST, TYPICAL, MOST)] == [1, 2, 3]
    assert [cost("00d0", "cortex-m0plus", a).taken for a in (LEAST, TYPICAL, MOST)] == [1, 1, 1]


def test_the_small_multiplier():
    assert cost("4843", "cortex-m0plus", cycles.Assumptions(multiply=32)).cycles == 32
    assert [cost("4843", cpu).cycles for cpu in ("cortex-m0", "cortex-m0-small-multiplier")] == [1, 32]


def test_what_is_no_code():
    with pytest.raises(cycles.UnknownInstructionError, match="no Thumb instructions at 0x100"):
        cost("ffff", "cortex-m4")
    with pytest.raises(cycles.UnknownInstructionError, match="no udf"):
        cost("00de", "cortex-m4")
