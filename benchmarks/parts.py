# SPDX-License-Identifier: Apache-2.0
"""Microcontrollers as the cycle model sees them: a core, a clock, and flash that makes it wait.

docs/device.md shows this table with the sources. Prefetch is as the manufacturer's own library sets it by default
(`PREFETCH_ENABLE` of ST's stm32XXxx_hal_conf_template.h).
"""

import dataclasses

from benchmarks.emulators.flash import NO_WAIT, Flash


@dataclasses.dataclass(frozen=True)
class Part:
    """A part, or just a memory.

    Attributes:
      name: how it is asked for; empty for a memory that the command line describes.
      title: for people.
      cpu: its core; empty for any.
      mhz: its clock; 0 for any.
      flash: what code and constants are in.
      source: the documents that say so, and their sections.
      assumed: what they leave open, and what is taken for it.
    """

    name: str = ""
    title: str = ""
    cpu: str = ""
    mhz: int = 0
    flash: Flash = NO_WAIT
    source: str = ""
    assumed: str = ""

    def milliseconds(self, cycles: float) -> float | None:
        """How long so many cycles take; None without a clock."""
        return cycles / self.mhz / 1e3 if self.mhz else None


IDEAL = Part()
_LINES = "where a line of the caches is several reads of the flash, each read is a line of its own"
PARTS = {
    part.name: part
    for part in (
        Part(
            "stm32l4", "STM32L47x, L48x", "cortex-m4", 80, Flash(4, 8, 1024, 256),
            "RM0351, section 3.3; ART Accelerator as in RM0440, section 3.3.4", _LINES,
        ),
        Part(
            "stm32l4plus", "STM32L4R5 (NUCLEO-L4R5ZI), single bank", "cortex-m4", 120, Flash(5, 16, 1024, 256),
            "RM0432, section 3.3; ART Accelerator as in RM0440, section 3.3.4",
            f"{_LINES}; dual bank, as it leaves the factory, is --flash_line_bytes 8",
        ),
        Part(
            "stm32g4", "STM32G4, dual bank, boost mode", "cortex-m4", 170, Flash(4, 8, 1024, 256),
            "RM0440, sections 3.3.3, table 9, and 3.3.4", _LINES,
        ),
        Part(
            "stm32f4", "STM32F405, F407", "cortex-m4", 168, Flash(5, 16, 1024, 128, prefetch=True),
            "RM0090, sections 3.5.1, table 11, and 3.5.2",
            "lines that were prefetched are not cached, as the text has it; ST's claim of no wait states in effect "
            "suggests that they are: --noprefetch is the other end",
        ),
        Part(
            "stm32g0", "STM32G0 (NUCLEO-G0B1RE)", "cortex-m0plus", 64, Flash(2, 8, 16, 0, prefetch=True),
            "RM0444, section 3.3; prefetch and cache as in RM0490 (STM32C0), section 4.3.3",
            "every read of a constant waits, as there is no data cache",
        ),
        Part(
            "rp2040", "RP2040, QSPI flash W25Q at half the clock", "cortex-m0plus", 125,
            Flash(80, 8, 16384, 0, ways=2, is_shared=True),
            "RP2040 datasheet, sections 2.6.3.1 and 2.6.3.2; boot2_w25q080.S of pico-sdk: 8 clocks of address and "
            "mode, 4 dummy, 8 of data for each word, at half of the core's clock",
            "a miss reads both words of a line before the core goes on; least recently used out first; no time for "
            "selecting the chip and crossing the bus",
        ),
    )
}  # fmt: skip
