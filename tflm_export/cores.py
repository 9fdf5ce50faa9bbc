# SPDX-License-Identifier: Apache-2.0
"""The cores there are: one row each, for the C back end, compilers, emulators, cycle tables and documents alike.

A core without kernels of its own is one row here and nothing else.
"""

import dataclasses
import re

from tflm_export.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Core:
    """A core.

    Attributes:
      name: how it is asked for; of an Arm core, also what compilers call it but for `compiler`, of a RISC-V one its
        -march.
      title: for people.
      kernels: whose kernels suit it: a back end of `tflm_export.c.lowering.KERNELS`. On the M3, which has no DSP
        extension, those for the M0+ take fewer cycles than the portable ones and than the M4's in plain C.
      aliases: other names for it; those of cores whose row it is, too.
      runs: regular expression of how other names start by which people ask for it, in small letters and digits only:
        of cores that run its code, architectures, families of devices.
      compiler: what compilers call an Arm core, where that is another name.
      features: what to add to its name for zig, which leaves them out.
      architectures: Tag_CPU_arch of the Arm ABI's build attributes, in ELF files that it runs.
      isa: "arm" or "riscv": whose instructions, a key of `benchmarks.emulators.isa.ISAS`.
      unicorn: its model in the Unicorn emulator, UC_CPU_ARM_... or UC_CPU_RISCV32_...; None where there is none, nor
        firmware for it.
      board: whose memory map firmware has, a name of `benchmarks.emulators.boards.BOARDS`; None likewise.
      renode: its board in benchmarks/emulators/renode; None where there is none.
      cycles: its table in `benchmarks.cycles`; of a RISC-V core, which many others run the code of, the first of those
        that there are; None where there is none.
    """

    name: str
    title: str
    kernels: str
    aliases: tuple[str, ...] = ()
    runs: str = "(?!)"  # none
    compiler: str = ""
    features: str = ""
    architectures: tuple[int, ...] = ()
    isa: str = "arm"
    unicorn: str | None = None
    board: str | None = None
    renode: str | None = None
    cycles: str | None = None

    @property
    def is_emulated(self) -> bool:
        """Whether firmware for it can be built and run."""
        return self.unicorn is not None

    @property
    def zig_mcpu(self) -> str:
        """The -mcpu of zig."""
        if self.isa == "riscv":
            return "+".join(["generic_rv32", *sorted(self.extensions - {"i"})])
        return self.mcpu.replace("-", "_") + self.features

    @property
    def mcpu(self) -> str:
        """The -mcpu of an Arm core for gcc."""
        return self.compiler or self.name

    @property
    def extensions(self) -> frozenset[str]:
        """Of a RISC-V core: those in its name, "i" or "e" among them; empty for others."""
        if self.isa != "riscv":
            return frozenset()
        letters, *named = self.name.removeprefix("rv32").split("_")
        return frozenset([*letters, *named])


_FAMILY = "cortex-"
_V6M = "cortex-m0plus"
_DSP = "cortex-m4"
CORES = (
    Core(
        "portable", "any", "portable",
        runs=r"esp(32|8266)|riscv|rv64|xtensa|avr|at(mega|tiny)|uno|(cortex)?[ar]\d|arm(64|v8a)|aarch64|"
        r"x86|amd64|i[3-6]86|hexagon|arc|pic|msp430|host|pc|native",
    ),
    Core(
        "cortex-m0", "M0", _V6M, aliases=("cortex-m1",), architectures=(11, 12),
        runs=r"(cortex)?m[01]|sc000|stm32f0|nrf51|microbit(v1)?|xmc1",
        unicorn="CORTEX_M0", board="mps2-an385", renode="cortex_m0", cycles="cortex-m0",
    ),
    # The small multiplier that the chip may have takes 32 cycles: products come from a table, as where there is none.
    Core(
        "cortex-m0-small-multiplier", "M0, small multiplier", "rv32ic", aliases=("cortex-m0plus-small-multiplier",),
        architectures=(11, 12),
        runs=r"(cortex)?m0(plus|p)?small(multiplier)?", compiler="cortex-m0",
        unicorn="CORTEX_M0", board="mps2-an385", cycles="cortex-m0-small-multiplier",
    ),
    Core(
        "cortex-m0plus", "M0+", _V6M, aliases=("cortex-m0+",), architectures=(11, 12),
        runs=r"(cortex)?m0(plus|p)|armv6s?m|thumbv6m|rp2040|(raspberrypi|rpi)?pico|stm32[cglu]0|sam([cdhl]2|r21)|"
        r"atsamd21|mkl|kl\d|lpc8|arduinozero",
        unicorn="CORTEX_M0", board="mps2-an385", renode="cortex_m0plus", cycles="cortex-m0plus",
    ),
    Core(
        "cortex-m3", "M3", _V6M, architectures=(10,),
        runs=r"(cortex)?m3|sc300|armv7m|thumbv7m|stm32(f[12]|l1)|bluepill|at?sam3|arduinodue|cc26[45]0|lpc1[37]|gd32f1",
        unicorn="CORTEX_M3", board="mps2-an385", renode="cortex_m3", cycles="cortex-m3",
    ),
    Core(
        "cortex-m4", "M4", _DSP, architectures=(13,),
        runs=r"(cortex)?m4f?|armv7em|thumbv7em|stm32([fgl][34]|w[bl])|nrf52|(at)?sam(4|[de]5)|apollo[34]|max7800|max3266|"
        r"tm4c|msp432|xmc4|gd32f4|microbitv2|nano33|cc13[15]2|cc2652",
        unicorn="CORTEX_M4", board="mps2-an386", renode="cortex_m4", cycles="cortex-m4",
    ),
    Core(
        "cortex-m7", "M7", _DSP, architectures=(13,), runs=r"(cortex)?m7f?|stm32[fh]7|i?mxrt1|(at)?sam[esv]7|teensy4",
        unicorn="CORTEX_M7", board="mps2-an500", renode="cortex_m7",
    ),
    # Emulated as an M33, of whose instructions ARMv8-M Baseline is a subset.
    Core(
        "cortex-m23", "M23", _V6M, architectures=(16,),
        runs=r"(cortex)?m23|armv8mbase|thumbv8mbase|(at)?saml1[01]|gd32e23",
        unicorn="CORTEX_M33", board="mps2-an505",
    ),
    # What those of ARMv8.1-M have besides, such as vectors (Helium), is not used.
    Core(
        "cortex-m33", "M33", _DSP, aliases=("cortex-m35p", "cortex-m55", "cortex-m85"), features="+dsp",
        architectures=(17,),
        runs=r"(cortex)?(m33|m35p|m5[25]|m85|star)|armv8(1?m|mmain|1mmain)|thumbv8mmain|stm32([hlu]5|u3|wba|n6)|"
        r"nrf(53|54|91)|rp2350|(raspberrypi|rpi)?pico2|i?mxrt[567]|lpc55|mcxn|apollo5|alif|ra8|gd32e5",
        unicorn="CORTEX_M33", board="mps2-an505", renode="cortex_m33",
    ),
    # Loops for the M0+ in plain C: they take fewer cycles than the portable ones on every RISC-V core with a table.
    Core(
        "rv32imc", "RV32IMC", _V6M,
        aliases=("ibex", "cv32e40p", "esp32-c3", "esp32-c6", "ch32v307", "bl602", "gd32vf103"),
        runs=r"rv32(im[acfdn]*|g)|riscv32|ibex|opentitan|earlgrey|cv32e4\w*|esp32[chp]\d|ch32v[23]|bl[67]\d|gd32vf|fe310|"
        r"hifive1",
        isa="riscv", unicorn="ANY", board="virt", renode="rv32imc", cycles="ibex",
    ),
    # Unicorn 2.1.4 has neither Zba nor Zbb: zb_instructions.c stands in for it.
    Core(
        "rv32imc_zba_zbb", "RV32IMC, Zba, Zbb", _V6M, aliases=("hazard3", "rp2350-riscv"),
        runs=r"rv32(im[acfdn]*|g)(zicsr|zifencei)*zb\w*|hazard3|rp2350(riscv|hazard)|(raspberrypi|rpi)?pico2riscv",
        isa="riscv", unicorn="ANY", board="virt", renode="rv32imc_zba_zbb", cycles="hazard3",
    ),
    # Without a multiplier. In Renode as a core with 32 registers, of which code for 16 knows no others.
    Core(
        "rv32ec", "RV32EC", "rv32ic", aliases=("ch32v003",), runs=r"rv32e|ch32v00|qingkev2",
        isa="riscv", unicorn="ANY", board="virt", renode="rv32ic", cycles="ibex",
    ),
    Core(
        "rv32ic", "RV32IC", "rv32ic", aliases=("picorv32",), runs=r"rv32i|picorv|serv|qerv|femtorv",
        isa="riscv", unicorn="ANY", board="virt", renode="rv32ic", cycles="ibex",
    ),
)  # fmt: skip
NAMES = tuple(name for core in CORES for name in (core.name, *core.aliases))


def find(name: str) -> Core:
    """The core of a name or an alias, either of them also without "cortex-".

    Raises:
      UsageError: there is none; the message names the one that other names of cores and devices stand for.
    """
    for core in CORES:
        if {name, _FAMILY + name} & {core.name, *core.aliases}:
            return core
    raise UsageError(
        f"core must be one of {', '.join(NAMES)}, with or without {_FAMILY}, got {name!r}: {_advice(name)}"
    )


def _advice(name: str) -> str:
    """Which core to ask for where another name was given: that of the longest piece of it that a row knows."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))
    found = [(match.end(), core.name) for core in CORES if (match := re.match(core.runs, plain))]
    if not found:
        return "take that of your device, or portable, which runs on any machine"
    suited = max(found)[1]
    return f"take {suited}" + (", which runs on any machine" if suited == CORES[0].name else "")
