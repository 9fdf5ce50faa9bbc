# SPDX-License-Identifier: Apache-2.0
"""Flash memory that makes a core wait: its reads, the lines that are kept of them, and their replay in Python.

What the reference manuals of STM32 say (RM0090 3.5.2, RM0440 3.3.4, RM0490 4.3.3; in nearly the same words):

- A read gives a line. Instructions of the line that was read last, the current one, are there without delay.
- Other lines come from a cache without delay, or else from flash: "the penalty in terms of number of cycles is at least
  equal to the number of wait states". That least is what a miss costs here. The line is then copied into the cache, in
  place of the one that was least recently used.
- With prefetch, the line behind the current one is read while that one executes. A read takes a cycle more than its
  wait states, and the current line takes a cycle an instruction at least, which is what is counted here. A prefetched
  line is none that is missed, and is not copied into the cache.
- Constants have a cache of their own or none. Where there is none, every read of a constant waits.

A core goes on when the whole line is there. Reads of instructions and of constants do not delay each other. Memory that
is not flash never waits. Within a basic block, instructions are fetched first and constants read afterwards, which
matters only where both share a cache. `Replay` does what block_counter.c does, and is held to it by a test.
"""

import dataclasses

from benchmarks.emulators.isa import ISAS, Isa
from tflm_export import UsageError

_LEAST_LINE = 4  # bytes


@dataclasses.dataclass(frozen=True)
class Flash:
    """Flash memory, and what stands between it and the core.

    Attributes:
      wait_states: cycles that a read takes beyond its first; 0 where flash is as fast as the core.
      line_bytes: of a read, a power of two from 4 on; 0 without wait states.
      cache_bytes: of the lines of instructions that are kept.
      data_cache_bytes: of the lines of constants that are kept.
      ways: lines of which an address has the choice, 0 for all.
      is_shared: whether constants are kept in the cache of instructions.
      prefetch: whether the line behind the current one is read ahead of its use.

    Raises:
      UsageError: these do not fit each other.
    """

    wait_states: int = 0
    line_bytes: int = 0
    cache_bytes: int = 0
    data_cache_bytes: int = 0
    ways: int = 0
    is_shared: bool = False
    prefetch: bool = False

    def __post_init__(self):
        line = self.line_bytes
        if not self.wait_states:
            if any(dataclasses.astuple(self)[1:]):
                raise UsageError("lines, caches and prefetch mean nothing without --flash_wait_states")
            return
        if not line:
            raise UsageError("--flash_wait_states needs --flash_line_bytes: how many bytes a read of the flash gives")
        if line < _LEAST_LINE or line & (line - 1):
            raise UsageError(f"--flash_line_bytes must be a power of two from {_LEAST_LINE} on, got {line}")
        for flag in ("cache_bytes", "data_cache_bytes"):
            value = getattr(self, flag)
            lines, rest = divmod(value, line)
            ways = self.ways or lines
            sets = lines // ways if ways else 0
            if rest or sets * ways != lines or sets & (sets - 1):
                sizes = f"{line} bytes times {self.ways} ways times a power of two" if self.ways else f"of {line} bytes"
                raise UsageError(f"--{flag} must be whole lines, {sizes}; got {value}")
        if self.is_shared and self.data_cache_bytes:
            raise UsageError("--shared_cache keeps constants with the instructions; add --data_cache_bytes 0")

    def sets(self, cache_bytes: int) -> tuple[int, int]:
        """How many sets of how many lines a cache has."""
        lines = cache_bytes // self.line_bytes if self.line_bytes else 0
        ways = self.ways or lines
        return (lines // ways if ways else 0), ways


NO_WAIT = Flash()


@dataclasses.dataclass(frozen=True)
class Stalls:
    """What held a core up in a layer.

    Attributes:
      instruction_misses, data_misses: lines that were read from flash for instructions and for constants.
      waited: cycles for them.
      unaligned: cycles for words and halfwords that do not lie at a multiple of their size.
      history: cycles, on a RISC-V core, by operands and by what ran before; fewer than 0 where it helps.
    """

    instruction_misses: int = 0
    data_misses: int = 0
    waited: int = 0
    unaligned: int = 0
    history: int = 0


def unaligned_cycles(address: int, size: int) -> int:
    """Cycles that a load or store on M3 and M4 takes longer where its address is no multiple of its size.

    Cortex-M4 TRM (DDI 0439) 3.3.3: a halfword at an odd address takes one cycle more; a word at an even one takes one
    more, for two halfwords, and at an odd one two, for a byte, a halfword and a byte.
    """
    if size == 2:
        return address & 1
    return (0, 2, 1, 2)[address & 3] if size == 4 else 0


class _Lines:
    """A cache: lists of line numbers, those used last in front."""

    def __init__(self, sets: int, ways: int):
        self._sets: list[list[int]] = [[] for _ in range(sets)]
        self._ways = ways

    def has(self, line: int) -> bool:
        """Whether a line is there, which then is the one used last."""
        if not self._sets:
            return False
        kept = self._sets[line % len(self._sets)]
        if line not in kept:
            return False
        kept.remove(line)
        kept.insert(0, line)
        return True

    def keep(self, line: int) -> None:
        """Puts in a line that is not there."""
        if self._sets:
            kept = self._sets[line % len(self._sets)]
            kept.insert(0, line)
            del kept[self._ways :]


class Replay:
    """Reads of flash, one after the other.

    Args:
      flash: what is read.
      start, end: first address of the flash, and the one behind it.
      isa: of the instructions.
    """

    def __init__(self, flash: Flash, start: int, end: int, isa: Isa = ISAS["arm"]):
        self._flash, self._range, self._isa = flash, range(start, end), isa
        self.forget()

    def forget(self) -> None:
        """Empties caches."""
        flash = self._flash
        self._instructions = _Lines(*flash.sets(flash.cache_bytes))
        self._data = self._instructions if flash.is_shared else _Lines(*flash.sets(flash.data_cache_bytes))
        self._current: int | None = None
        self._begun = 0

    def fetch(self, address: int, code: bytes) -> tuple[int, int]:
        """Instructions that run one after the other: lines read for them, and cycles waited."""
        if not self._flash.wait_states or address not in self._range:
            return 0, 0
        misses, waited, at = 0, 0, 0
        while at < len(code):
            halfwords = 2 if self._isa.is_long(code[at] | code[at + 1] << 8) else 1
            for half in range(halfwords):
                cycles = self._go((address + at + 2 * half) // self._flash.line_bytes)
                misses, waited = misses + (cycles is not None), waited + (cycles or 0)
                self._begun += not half
            at += 2 * halfwords
        return misses, waited

    def _go(self, line: int) -> int | None:
        """Cycles waited for a line of instructions, None where it was there."""
        flash, before, begun = self._flash, self._current, self._begun
        if line == before:
            return None
        self._current, self._begun = line, 0
        if self._instructions.has(line):
            return None
        if flash.prefetch and before is not None and line == before + 1:
            return max(0, flash.wait_states + 1 - begun)
        self._instructions.keep(line)
        return flash.wait_states

    def read(self, address: int, size: int) -> tuple[int, int]:
        """A load: lines read for it, and cycles waited."""
        flash = self._flash
        if not flash.wait_states or address not in self._range:
            return 0, 0
        lines = range(address // flash.line_bytes, (address + size - 1) // flash.line_bytes + 1)
        missed = [line for line in lines if not self._data.has(line)]
        for line in missed:
            self._data.keep(line)
        return len(missed), len(missed) * flash.wait_states
