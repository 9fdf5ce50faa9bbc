# SPDX-License-Identifier: Apache-2.0
"""What is synthesised: rescalers of several multipliers, and what they are compared with."""

import dataclasses
import pathlib

from tflm_export import MAX_BITS, UsageError, rtl
from tflm_export.grid import grid_of
from tflm_export.rtl.coding import Coding, coding_of

STOCK, CSD, FOLDED, MAC = "stock", "csd2", "folded", "mac"
WIDTHS = (16, 8, 6, 4, 3, 2, 1)
NAMES = ("16", "8", "6", "4", "3", CSD, "2", "1", FOLDED)
QUICK = ("8", "4", "1")
LANES = (16, 32)
# How products are made of gates: by yosys, of a partial product for each bit and a tree of carry-save adders, or of
# Booth's digits (`synth -booth`); or as the Verilog writes them out, of Booth's digits or of digits 0 to 3. The best of
# them counts.
WAYS = CSA, BOOTH, ROWS, RADIX4, NO_MULTIPLIER = "CSA", "Booth", "Booth rows", "radix 4", "none"
WRITTEN_OUT = {ROWS: 1, RADIX4: 2}  # the parameter PRODUCT of narrow_multiply.v; 0 leaves it to yosys
_LARGEST_PLAIN = 3  # bits of a multiplier that digits do not make smaller
OUT_BITS = 8
_HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """What a rescaler takes.

    Attributes:
      bits: of the accumulator.
      shift_bits: of the run-time shift.
    """

    bits: int = 32
    shift_bits: int = 5

    def __str__(self):
        return f"{self.bits}-bit accumulator, {self.shift_bits}-bit shift"


WIDE, NARROW = Accumulator(), Accumulator(24, 4)


@dataclasses.dataclass(frozen=True)
class Design:
    """A module with its parameters.

    Attributes:
      name: "stock", a width such as "8", "csd2" (two signed digits), "folded" (k = 1, with rounding and zero point in
        the accumulator) or "mac".
      top: the module.
      parameters: of the module, those that differ from its defaults.
      accumulator: what it takes.
      lanes: how many rescales at once.
    """

    name: str
    top: str
    parameters: tuple[tuple[str, int], ...]
    accumulator: Accumulator = WIDE
    lanes: int = 1

    @property
    def label(self) -> str:
        """For people."""
        if self.name == STOCK:
            return "stock: 31 bits, two roundings"
        named = {CSD: "two signed digits", FOLDED: "k = 1, folded", MAC: "int8 MAC, 32-bit register"}
        return named.get(self.name, f"k = {self.name}")

    @property
    def bits(self) -> int | None:
        """Width of the multiplier; None where there is none."""
        if self.name.isdigit():
            return int(self.name)
        return {STOCK: MAX_BITS, FOLDED: 1}.get(self.name)

    @property
    def grid(self):
        """The factors that it takes: a grid, or None where it takes any."""
        return None if self.name in (STOCK, MAC) else grid_of(CSD if self.name == CSD else self.bits)

    @property
    def coding(self) -> Coding:
        """How it holds multipliers, where it has one."""
        return Coding(MAX_BITS) if self.grid is None else coding_of(self.grid)

    @property
    def key(self) -> str:
        """Unique among designs, and fit for a file's name."""
        return f"{self.name}_acc{self.accumulator.bits}_lanes{self.lanes}"

    @property
    def multipliers(self) -> tuple[str, ...]:
        """The ways in which its products can be made."""
        if self.name in (CSD, FOLDED) or self.bits == 1:
            return (NO_MULTIPLIER,)
        if self.lanes > 1:  # which take long: the module's own choice
            plain = CSA if self.bits <= _LARGEST_PLAIN else RADIX4
            return (ROWS if self.name == STOCK else plain,)
        return (CSA, BOOTH) if self.name == MAC else (CSA, BOOTH, ROWS, RADIX4)

    def made(self, multiplier: str) -> dict[str, int]:
        """The parameters, with those that say how products are made."""
        has_choice = multiplier != NO_MULTIPLIER and self.name != MAC
        return dict(self.parameters) | ({"PRODUCT": WRITTEN_OUT.get(multiplier, 0)} if has_choice else {})

    @property
    def sources(self) -> list[pathlib.Path]:
        """The Verilog."""
        return [_HERE / "int8_mac.v"] if self.name == MAC else list(rtl.sources())

    @property
    def shift_min(self) -> int:
        """What the run-time shift counts from: the largest factors are below 1."""
        return 1 if self.name == CSD else self.bits

    def table_bytes(self, factors: int) -> int | None:
        """What so many factors take: a shift and a multiplier, whose top bit, which is always 1, is not stored.

        For the stock rescaler as in TensorFlow Lite Micro, two int32. None of a MAC.
        """
        if self.name == MAC:
            return None
        if self.name == STOCK:
            return 8 * factors
        return -(-factors * (self.accumulator.shift_bits + self.coding.factor_bits) // 8)


def design(name: str, accumulator: Accumulator = WIDE, lanes: int = 1) -> Design:
    """A rescaler, or the MAC, by its name.

    Raises:
      UsageError: there is none of that name.
    """
    if name == MAC:
        return Design(MAC, "int8_mac", ())
    if name != STOCK and name not in NAMES:
        raise UsageError(f"no design {name}; there are {', '.join(NAMES)}")
    made = Design(name, "", (), accumulator, lanes)
    given = {
        "ACC_BITS": accumulator.bits, "SHIFT_BITS": accumulator.shift_bits, "SHIFT_MIN": made.shift_min,
        "OUT_BITS": OUT_BITS,
    }  # fmt: skip
    if name == FOLDED:
        given["FOLDED"] = 1
    if name not in (STOCK, CSD):
        given["MULTIPLIER_BITS"] = made.bits
    top = {STOCK: "tflm_rescale", CSD: "narrow_rescale_csd"}.get(name, "narrow_rescale")
    if lanes > 1:
        top, given["LANES"] = "narrow_lanes", lanes
    return dataclasses.replace(made, top=top, parameters=tuple(sorted(given.items())))
