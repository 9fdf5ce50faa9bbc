# SPDX-License-Identifier: Apache-2.0
"""Modelled cycles of code: what the published instruction tables say of each executed basic block, here of Cortex-M.

RISC-V's are in riscv_cycles.py. Zero wait states (emulators/flash.py adds what flash takes), no contention between
fetch and data. A block's cost is a sum over its instructions, and what leaving it by a branch adds. Sources, by Arm:

- Cortex-M0+ Technical Reference Manual r0p1 (DDI 0484C), table 3-1. The multiplier takes 1 or 32 cycles, an option of
  the chip; 1 unless told otherwise.
- Cortex-M0 Technical Reference Manual r0p0 (DDI 0432C), table 3-1.
- Cortex-M3 Technical Reference Manual r2p1 (DDI 0337I), table 3-1 and section 3.3.3, load/store timings.
- Cortex-M4 Technical Reference Manual r0p1 (DDI 0439), table 3-1 and section 3.3.3.

The M3 and M4 tables leave ranges: a pipeline refill is 1 to 3 cycles, a division 2 to 12, a long multiplication on the
M3 3 to 7. `Assumptions` says which value is taken; a report gives both ends. LDR to PC and table branches take the "at
least" five and six cycles of section 3.3.3, whatever the refill. There are no published tables for the Cortex-M7 and
M33, which issue two instructions at a time or overlap them: for those, instructions are all there is.
Instructions in an IT block whose condition fails are costed as if it held.
"""

import dataclasses
import functools

import capstone
from capstone import arm

from benchmarks import riscv_cycles
from tflm_export import cores


@dataclasses.dataclass(frozen=True)
class Assumptions:
    """Values within the ranges of the tables.

    Attributes:
      refill: cycles to refill the pipeline after a taken branch on M3 and M4, 1 to 3.
      divide: SDIV and UDIV on M3 and M4, 2 to 12.
      long_multiply, long_accumulate: SMULL, UMULL (3 to 5) and SMLAL, UMLAL (4 to 7) on the M3.
      multiply: MULS on M0 and M0+, 1 or 32.
      timing: of a RISC-V core, a key of `riscv_cycles.TIMINGS`; empty for the first one of its row.
      end: -1, 0 or 1 for the least, the typical or the most of its ranges.
    """

    refill: int = 2
    divide: int = 7
    long_multiply: int = 4
    long_accumulate: int = 5
    multiply: int = 1
    timing: str = ""
    end: int = 0


SMALL_MULTIPLIER = 32  # cycles of MULS
TYPICAL = Assumptions()
LEAST = Assumptions(1, 2, 3, 4, end=-1)
MOST = Assumptions(3, 12, 5, 7, end=1)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cycles of one pass through a basic block.

    Attributes:
      instructions: how many it has.
      cycles: when execution goes on behind it.
      taken: what is added when it goes elsewhere.
    """

    instructions: int
    cycles: int
    taken: int


class UnknownInstructionError(ValueError):
    """An instruction that the tables of the core do not have."""


def _ids(names: str) -> frozenset[int]:
    return frozenset(getattr(arm, f"ARM_INS_{name}") for name in names.split())


_LOADS = _ids("LDR LDRB LDRH LDRSB LDRSH")
_STORES = _ids("STR STRB STRH")
_DOUBLES = _ids("LDRD STRD")
_MULTIPLES = _ids("LDM LDMDB STM STMDB PUSH POP")
_LINKS, _EXCHANGES, _JUMPS, _COMPARE_JUMPS = _ids("BL"), _ids("BX BLX"), _ids("B"), _ids("CBZ CBNZ")
_TABLE_JUMPS = _ids("TBB TBH")
_RELOAD = 3  # cycles to refill the pipeline after a branch to an address that was loaded
_SYSTEM = _ids("MRS MSR DMB DSB ISB")
_MULTIPLY, _DIVIDE = _ids("MUL"), _ids("SDIV UDIV")
_ACCUMULATE = _ids("MLA MLS")
_LONG_MULTIPLY, _LONG_ACCUMULATE = _ids("SMULL UMULL"), _ids("SMLAL UMLAL")
_V6M = _ids("""
    ADC ADD ADR AND ASR BIC CMN CMP EOR LSL LSR MOV MVN NOP ORR REV REV16 REVSH ROR RSB SBC SUB SXTB SXTH TST UXTB UXTH
    CPS SEV YIELD MOVS
""") | _ids("HINT")  # fmt: skip
_V7M = _V6M | _MULTIPLY | _ids("""
    BFC BFI CLZ IT MOVT MOVW ORN RBIT RRX SBFX SSAT TEQ UBFX USAT
""") | _ids("ADDW SUBW")  # fmt: skip
_DSP = _ids("""
    PKHBT PKHTB QADD QADD16 QADD8 QDADD QDSUB QSUB QSUB16 QSUB8 SADD16 SADD8 SEL SMLABB SMLABT SMLATB SMLATT SMLAD
    SMLADX SMLALBB SMLALBT SMLALTB SMLALTT SMLALD SMLALDX SMLAWB SMLAWT SMLSD SMLSDX SMMLA SMMLAR SMMLS SMMLSR SMMUL
    SMMULR SMUAD SMUADX SMULBB SMULBT SMULTB SMULTT SMULWB SMULWT SMUSD SMUSDX SSAT16 SSUB16 SSUB8 SXTAB SXTAB16 SXTAH
    SXTB16 UADD16 UADD8 USAT16 USUB16 USUB8 UXTAB UXTAB16 UXTAH UXTB16 USAD8 USADA8 UHADD8 UHADD16 SHADD8 SHADD16
""") | _ids("UMAAL")  # fmt: skip


@functools.cache
def _disassembler() -> capstone.Cs:
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    disassembler.detail = True
    return disassembler


def _writes_pc(instruction) -> bool:
    return arm.ARM_REG_PC in instruction.regs_access()[1]


def _registers(instruction) -> int:
    """How many registers a load or store of several moves."""
    return len(instruction.operands) - (instruction.id not in _ids("PUSH POP"))


def _armv6m(instructions, assumptions: Assumptions, plus: bool) -> tuple[int, int]:
    cycles, taken = 0, 0
    refill = 1 if plus else 2  # what a taken branch costs beyond its first cycle
    for instruction in instructions:
        kind = instruction.id
        if kind in _LOADS | _STORES:
            cycles += 2
        elif kind in _MULTIPLES:
            cycles += 1 + _registers(instruction)
            taken += (2 if plus else 3) if _writes_pc(instruction) else 0
        elif kind in _JUMPS | _EXCHANGES:
            cycles, taken = cycles + 1, refill
        elif kind in _LINKS:
            cycles, taken = cycles + 1, refill + 1
        elif kind in _SYSTEM:
            cycles += 3 if plus else 4
        elif kind in _MULTIPLY:
            cycles += assumptions.multiply
        elif kind in _V6M:
            cycles += 1
            taken += refill if _writes_pc(instruction) else 0
        else:
            raise _unknown(instruction)
    return cycles, taken


def _armv7m(instructions, assumptions: Assumptions, dsp: bool) -> tuple[int, int]:
    cycles, taken = 0, 0
    loaded: set | None = None  # registers of a load that the next load or store overlaps with
    computed: set = set()  # registers of a data-processing result, which addresses wait for
    for instruction in instructions:
        kind, written = instruction.id, set(instruction.regs_access()[1])
        address = {o.mem.base for o in instruction.operands if o.type == arm.ARM_OP_MEM}
        address |= {o.mem.index for o in instruction.operands if o.type == arm.ARM_OP_MEM and o.mem.index}
        single = kind in _LOADS | _STORES
        indexed = any(o.type == arm.ARM_OP_MEM and o.mem.index for o in instruction.operands)
        if kind in _MULTIPLES:
            implied = arm.ARM_REG_SP if kind in _ids("PUSH POP") else instruction.operands[0].reg
            address = {implied}
        cost = 1
        if single:
            overlapped = loaded is not None and not loaded & address
            cost = 1 if overlapped or (kind in _STORES and not indexed) else 2
        elif kind in _DOUBLES:
            cost = 3
        elif kind in _MULTIPLES:
            cost = 1 + _registers(instruction)
        elif kind in _TABLE_JUMPS:
            cost = 3  # the load and the addition
        elif kind in _DIVIDE:
            cost = assumptions.divide
        elif kind in _ACCUMULATE:
            cost = 1 if dsp else 2
        elif kind in _LONG_MULTIPLY:
            cost = 1 if dsp else assumptions.long_multiply
        elif kind in _LONG_ACCUMULATE:
            cost = 1 if dsp else assumptions.long_accumulate
        elif kind not in _V7M | _JUMPS | _LINKS | _EXCHANGES | _COMPARE_JUMPS | _SYSTEM | (_DSP if dsp else set()):
            raise _unknown(instruction)
        cycles += cost + bool(address & computed)
        jumps = kind in _JUMPS | _LINKS | _EXCHANGES | _COMPARE_JUMPS | _TABLE_JUMPS
        if kind in _TABLE_JUMPS or (kind in _LOADS and _writes_pc(instruction)):
            taken = _RELOAD
        elif jumps or _writes_pc(instruction):
            taken = assumptions.refill
        moves = single or kind in _DOUBLES | _MULTIPLES
        loaded = {instruction.operands[0].reg} if kind in _LOADS and not _writes_pc(instruction) else None
        computed = set() if moves else written
    return cycles, taken


def _unknown(instruction) -> UnknownInstructionError:
    text = f"{instruction.mnemonic} {instruction.op_str}".strip()
    return UnknownInstructionError(f"the core's instruction table has no {text} (at {instruction.address:#x})")


def _with_small_multiplier(assumptions: Assumptions) -> Assumptions:
    return dataclasses.replace(assumptions, multiply=SMALL_MULTIPLIER)


_TABLES = {  # by `Core.cycles`
    "cortex-m0": lambda block, a: _armv6m(block, a, plus=False),
    "cortex-m0-small-multiplier": lambda block, a: _armv6m(block, _with_small_multiplier(a), plus=False),
    "cortex-m0plus": lambda block, a: _armv6m(block, a, plus=True),
    "cortex-m3": lambda block, a: _armv7m(block, a, dsp=False),
    "cortex-m4": lambda block, a: _armv7m(block, a, dsp=True),
}
_SMALL = ("cortex-m0", "cortex-m0-small-multiplier", "cortex-m0plus")
CORES = tuple(core.name for core in cores.CORES if core.cycles)
WITHOUT_TABLE = "there is no table of its instructions' cycles; Arm publishes none of cores that overlap them"


def multiplier_cycles(cpu: str, asked: int = 1) -> int | None:
    """Cycles of MULS on an M0 or M0+, which chips have the choice of; None of other cores.

    Args:
      cpu: one of CORES.
      asked: of a core that is not for one of both.
    """
    table = cores.find(cpu).cycles
    if table not in _SMALL:
        return None
    return SMALL_MULTIPLIER if table == "cortex-m0-small-multiplier" else asked


def timing_name(cpu: str, timing: str = "") -> str:
    """Whose cycles a RISC-V core is modelled with, a key of `riscv_cycles.TIMINGS`; empty for others.

    Args:
      cpu: one of CORES.
      timing: what was asked for; empty for that of its row.
    """
    core = cores.find(cpu)
    return (timing or core.cycles or "") if core.isa == "riscv" else ""


def timing_of(cpu: str, timing: str = "") -> riscv_cycles.Timing | None:
    """What the cycles of a RISC-V core are by, None of others; arguments as for `timing_name`."""
    name = timing_name(cpu, timing)
    return riscv_cycles.TIMINGS[name] if name else None


def _riscv(code: bytes, address: int) -> list[riscv_cycles.Instruction]:
    try:
        return riscv_cycles.instructions(code)
    except riscv_cycles.IllegalInstructionError as error:
        raise UnknownInstructionError(f"no RISC-V instructions at {address:#x}: {error}") from error


def _block(code: bytes, address: int) -> list:
    block = list(_disassembler().disasm(code, address))
    if sum(len(instruction.bytes) for instruction in block) != len(code):
        raise UnknownInstructionError(f"no Thumb instructions at {address:#x}: {code.hex()}")
    return block


def count(code: bytes, address: int, cpu: str = "cortex-m0") -> int:
    """How many instructions a basic block has.

    Args:
      code, address: as for `block_cost`.
      cpu: of cores with one instruction set, any one.
    """
    return len((_riscv if cores.find(cpu).isa == "riscv" else _block)(code, address))


def block_cost(code: bytes, address: int, cpu: str, assumptions: Assumptions = TYPICAL) -> Cost:
    """Cost of a basic block.

    Args:
      code: its instructions.
      address: where it stands.
      cpu: one of CORES.
      assumptions: values within the ranges of the tables.

    Raises:
      UnknownInstructionError: an instruction is not in the core's table, or is no instruction.
    """
    timing = timing_of(cpu, assumptions.timing)
    if timing is not None:
        block = _riscv(code, address)
        return Cost(len(block), *riscv_cycles.cost(block, timing, assumptions.end))
    block = _block(code, address)
    return Cost(len(block), *_TABLES[cores.find(cpu).cycles](block, assumptions))


def most_multiplications(cpu: str, multiply: int = 1, timing: str = "") -> float:
    """Multiplications of inputs and weights that a core can add up in a cycle, if it did nothing else.

    With the DSP extension SMLAD, two a cycle. Without it MULS and ADDS, or MLA in as many cycles, for two inputs in the
    halves of a word; or, where MULS is slow, from squares.

    Args:
      cpu: one of CORES.
      multiply: cycles of MULS on an M0 or M0+.
      timing: as for `timing_of`.
    """
    riscv = timing_of(cpu, timing)
    if riscv is not None:
        return riscv_cycles.most_multiplications(riscv, "m" in cores.find(cpu).extensions)
    if cores.find(cpu).cycles == "cortex-m4":
        return 2.0
    return max(2 / ((multiplier_cycles(cpu, multiply) or 1) + 1), riscv_cycles.most_from_squares(load=2))


def executed(block, cpu: str, assumptions: Assumptions = TYPICAL) -> int:
    """Cycles of all executions of a basic block.

    Args:
      block: an emulators.execution.Block.
      cpu, assumptions: as for `block_cost`.
    """
    cost = block_cost(block.code, block.address, cpu, assumptions)
    return block.entries * cost.cycles + (block.entries - block.continued) * cost.taken
