# SPDX-License-Identifier: Apache-2.0
"""Modelled cycles of RISC-V code: what the designers of open cores state of each instruction.

Zero wait states. A block's cost is a sum over its instructions, and what leaving it by a branch adds; what depends on
the blocks and the operands before is counted while they run (`Timing.history`, block_counter.c). Sources:

- Ibex (lowRISC, 8b8ee086): doc/03_reference/pipeline_details.rst, two stages. Its multiplier takes 3 cycles ("fast",
  the default) or one a bit of the second operand ("slow", rtl/ibex_multdiv_slow.sv: MD_IDLE, MD_COMP for each bit
  behind the first and MD_LAST; 33 of a negative number). A taken branch takes 3 cycles, 2 with BranchTargetALU.
- CV32E40P (OpenHW, 6033d2b1): docs/source/pipeline.rst, table "Cycle counts per instruction type", and its hazards. A
  division takes 3 to 35 cycles.
- Hazard3 (Luke Wren, 82729101): doc/sections/instruction_timings.adoc, with MULDIV_UNROLL 2, MUL_FAST and MULH_FAST and
  the branch predictor, as the RP2350 has it. A division takes 18 or 19 cycles.

Capstone 5 has no Zba and no Zbb, so instructions are decoded here: of RV32IMC, Zba and Zbb by the fields of the RISC-V
specification, as far as cycles depend on them.
"""

import dataclasses
import functools

SPLIT_TARGETS, PREDICTOR, MULTIPLIER = 1, 2, 4  # TIMING_... in block_counter.c


@dataclasses.dataclass(frozen=True)
class Timing:
    """Cycles of a core, each at its least, typical and most where a range is stated.

    Attributes:
      title: for people.
      load, store, multiply, multiply_high, divide: cycles.
      jump: of JAL and JALR.
      taken: what a conditional branch takes beyond its one cycle.
      load_use, jump_use: cycles that the next instruction waits for what was loaded; and that a JALR waits for its
        address where the instruction before computed it.
      stored_late: whether what a store writes, as opposed to where, may have been loaded just before.
      history: what else is counted while a program runs.
    """

    title: str
    load: int
    store: int
    multiply: int
    multiply_high: int
    divide: tuple[int, int, int]
    jump: int
    taken: tuple[int, int, int]
    load_use: int = 0
    jump_use: int = 0
    stored_late: bool = False
    history: int = 0


_IBEX = Timing("Ibex, fast multiplier", 2, 2, 3, 4, (38, 38, 38), 2, (1, 2, 2))
TIMINGS = {
    "ibex": _IBEX,
    "ibex-slow": dataclasses.replace(
        _IBEX, title="Ibex, slow multiplier", multiply=2, multiply_high=33, history=MULTIPLIER
    ),
    "cv32e40p": Timing("CV32E40P", 1, 1, 1, 5, (3, 19, 35), 2, (2, 2, 2), 1, 1, history=SPLIT_TARGETS),
    "hazard3": Timing(
        "Hazard3", 1, 1, 1, 1, (18, 19, 19), 2, (1, 1, 1), 1, stored_late=True, history=SPLIT_TARGETS | PREDICTOR
    ),
}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction, as far as cycles depend on it.

    Attributes:
      kind: "load", "store", "multiply", "multiply_high", "divide", "branch", "jump", "jump_register", "system"
        or "other".
      size: bytes.
      written: the register that it writes, 0 for none.
      read: registers whose values it computes with.
      stored: the register whose value it stores, None where it stores nothing.
    """

    kind: str
    size: int
    written: int = 0
    read: tuple[int, ...] = ()
    stored: int | None = None


class IllegalInstructionError(ValueError):
    """Bits that are no instruction of RV32IMC, Zba or Zbb."""


def instructions(code: bytes) -> list[Instruction]:
    """The instructions of a basic block.

    Raises:
      IllegalInstructionError: there are bits that are none.
    """
    found, at = [], 0
    while at < len(code):
        low = int.from_bytes(code[at : at + 2], "little")
        is_long = low & 3 == 3
        made = _long(int.from_bytes(code[at : at + 4], "little")) if is_long else _short(low)
        if made is None or at + made.size > len(code):
            raise IllegalInstructionError(f"{code[at : at + 4].hex()} at byte {at} of {code.hex()}")
        found.append(made)
        at += made.size
    return found


_ALU, _ALU_IMMEDIATE, _LUI, _AUIPC, _FENCE, _SYSTEM = 0x33, 0x13, 0x37, 0x17, 0x0F, 0x73
_LOAD, _STORE, _BRANCH, _JAL, _JALR = 0x03, 0x23, 0x63, 0x6F, 0x67
_OPERATIONS = {  # funct7 -> the funct3 there are
    0x00: range(8), 0x20: (0, 4, 5, 6, 7), 0x10: (2, 4, 6), 0x05: (4, 5, 6, 7), 0x30: (1, 5), 0x04: (4,),
}  # fmt: skip


@functools.lru_cache(1 << 16)
def _long(word: int) -> Instruction | None:
    opcode, rd, function, a, b = word & 0x7F, word >> 7 & 31, word >> 12 & 7, word >> 15 & 31, word >> 20 & 31
    if opcode == _ALU:
        high = word >> 25
        if high == 1:
            kind = "multiply" if function == 0 else "multiply_high" if function < 4 else "divide"
            return Instruction(kind, 4, rd, (a, b))
        return Instruction("other", 4, rd, (a, b)) if function in _OPERATIONS.get(high, ()) else None
    kinds = {
        _ALU_IMMEDIATE: Instruction("other", 4, rd, (a,)),
        _LUI: Instruction("other", 4, rd),
        _AUIPC: Instruction("other", 4, rd),
        _LOAD: Instruction("load", 4, rd, (a,)),
        _STORE: Instruction("store", 4, 0, (a,), b),
        _BRANCH: Instruction("branch", 4, 0, (a, b)),
        _JAL: Instruction("jump", 4, rd),
        _JALR: Instruction("jump_register", 4, rd, (a,)),
        _SYSTEM: Instruction("system", 4, rd, (a,)),
        _FENCE: Instruction("system", 4),
    }
    return kinds.get(opcode)


@functools.lru_cache(1 << 16)
def _short(half: int) -> Instruction | None:
    """Of the C extension, by quadrant and funct3 (RISC-V specification, tables of RVC instructions)."""
    rd, b, near, other = half >> 7 & 31, half >> 2 & 31, 8 + (half >> 7 & 7), 8 + (half >> 2 & 7)
    function = (half & 3) << 3 | half >> 13
    jumps = Instruction("jump_register", 2, half >> 12 & 1, (rd,))  # C.JR, C.JALR
    moves = Instruction("other", 2, rd, (rd, b) if half >> 12 & 1 else (b,))  # C.ADD, C.MV
    arithmetic = Instruction("other", 2, near, (near, other) if half >> 10 & 3 == 3 else (near,))
    kinds = {
        0o00: Instruction("other", 2, other, (2,)) if half else None,  # C.ADDI4SPN
        0o02: Instruction("load", 2, other, (near,)),
        0o06: Instruction("store", 2, 0, (near,), other),
        0o10: Instruction("other", 2, rd, (rd,)),  # C.ADDI
        0o11: Instruction("jump", 2, 1),
        0o12: Instruction("other", 2, rd),  # C.LI
        0o13: Instruction("other", 2, rd, (rd,) if rd == 2 else ()),  # C.LUI, C.ADDI16SP
        0o14: arithmetic,
        0o15: Instruction("jump", 2),
        0o16: Instruction("branch", 2, 0, (near,)),
        0o17: Instruction("branch", 2, 0, (near,)),
        0o20: Instruction("other", 2, rd, (rd,)),  # C.SLLI
        0o22: Instruction("load", 2, rd, (2,)),
        0o24: jumps if not b and rd else Instruction("system", 2) if not b else moves,
        0o26: Instruction("store", 2, 0, (2,), b),
    }
    return kinds.get(function)


def cost(block: list[Instruction], timing: Timing, end: int = 0) -> tuple[int, int]:
    """Cycles of a pass through a block when execution goes on behind it, and what is added when it goes elsewhere.

    Args:
      block: its instructions.
      timing: of the core.
      end: -1, 0 or 1 for the least, the typical or the most of ranges.
    """
    cycles, taken, loaded, computed = 0, 0, None, None
    for instruction in block:
        kind = instruction.kind
        used = instruction.read if timing.stored_late else (*instruction.read, instruction.stored)
        cycles += timing.load_use * (loaded is not None and loaded in used)
        cycles += timing.jump_use * (kind == "jump_register" and computed is not None and computed in used)
        if kind == "divide":
            cycles += timing.divide[1 + end]
        elif kind in ("load", "store", "multiply", "multiply_high"):
            cycles += getattr(timing, kind)
        else:
            cycles += 1
        taken = {"branch": timing.taken[1 + end], "jump": timing.jump - 1, "jump_register": timing.jump - 1}.get(
            kind, 0
        )
        loaded = instruction.written or None if kind == "load" else None
        computed = instruction.written or None
    return cycles, taken


def most_multiplications(timing: Timing, has_multiplier: bool) -> float:
    """Multiplications of inputs and weights that a core can add up in a cycle, if it did nothing else.

    Two in one MUL and an addition, for two inputs in the halves of a word; without a MUL from squares.
    """
    return 2 / (timing.multiply + 1) if has_multiplier else most_from_squares(timing.load)


def most_from_squares(load: int) -> float:
    """As `most_multiplications`, where a product is the difference of two quarter squares from a table.

    Two loads, of so many cycles, at addresses that are a sum and a difference, and two additions.
    """
    return 1 / (2 * load + 4)
