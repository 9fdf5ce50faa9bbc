# SPDX-License-Identifier: Apache-2.0
"""The cores there are: one row each, for the C back end, compilers, emulators, cycle tables and documents alike.

A core without kernels of its own is one row here and nothing else.
"""

import dataclasses

from tflm_export.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Core:
    """A core.

    Attributes:
      name: how it is asked for; of an Arm core, also what compilers call it.
      title: for people.
      kernels: whose kernels suit it: a back end of `tflm_export.c.lowering.KERNELS`. On the M3, which has no DSP
        extension, those for the M0+ take fewer cycles than the portable ones and than the M4's in plain C.
      aliases: other names for it.
      features: what to add to its name for zig, which leaves them out.
      architectures: Tag_CPU_arch of the Arm ABI's build attributes, in ELF files that it runs.
      unicorn: its model in the Unicorn emulator, UC_CPU_ARM_...; None where there is none, nor firmware for it.
      board: whose memory map firmware has, a name of `benchmarks.emulators.boards.BOARDS`; None likewise.
      renode: its board in benchmarks/emulators/renode; None where there is none.
      cycles: its table in `benchmarks.cycles`; None where there is none.
    """

    name: str
    title: str
    kernels: str
    aliases: tuple[str, ...] = ()
    features: str = ""
    architectures: tuple[int, ...] = ()
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
        return self.name.replace("-", "_") + self.features


_V6M = "cortex-m0plus"
_DSP = "cortex-m4"
CORES = (
    Core("portable", "any", "portable"),
    Core(
        "cortex-m0", "M0", _V6M, architectures=(11, 12),
        unicorn="CORTEX_M0", board="mps2-an385", renode="cortex_m0plus", cycles="cortex-m0",
    ),
    Core(
        "cortex-m0plus", "M0+", _V6M, aliases=("cortex-m0+",), architectures=(11, 12),
        unicorn="CORTEX_M0", board="mps2-an385", renode="cortex_m0plus", cycles="cortex-m0plus",
    ),
    Core(
        "cortex-m3", "M3", _V6M, architectures=(10,),
        unicorn="CORTEX_M3", board="mps2-an385", cycles="cortex-m3",
    ),
    Core(
        "cortex-m4", "M4", _DSP, architectures=(13,),
        unicorn="CORTEX_M4", board="mps2-an386", renode="cortex_m4", cycles="cortex-m4",
    ),
    Core("cortex-m7", "M7", _DSP, architectures=(13,), unicorn="CORTEX_M7", board="mps2-an500"),
    # Emulated as an M33, of whose instructions ARMv8-M Baseline is a subset.
    Core("cortex-m23", "M23", _V6M, architectures=(16,), unicorn="CORTEX_M33", board="mps2-an505"),
    Core(
        "cortex-m33", "M33", _DSP, features="+dsp", architectures=(17,),
        unicorn="CORTEX_M33", board="mps2-an505",
    ),
)  # fmt: skip
NAMES = tuple(name for core in CORES for name in (core.name, *core.aliases))


def find(name: str) -> Core:
    """The core of a name or an alias.

    Raises:
      UsageError: there is none.
    """
    for core in CORES:
        if name in (core.name, *core.aliases):
            return core
    raise UsageError(f"core must be one of {', '.join(NAMES)}, got {name!r}")
