# SPDX-License-Identifier: Apache-2.0
"""Vectors for the blocks of sums and means: all ports at random, and what integers make of them."""

import dataclasses
from collections.abc import Mapping

import numpy as np

OUT_BITS = 8


@dataclasses.dataclass(frozen=True)
class AddShape:
    """Parameters of a `narrow_add`."""

    in_bits: int = 8
    multiplier_bits: int = 5
    align_bits: int = 3
    start_bits: int = 24
    shift_bits: int = 5
    block = "narrow_add"

    @property
    def parameters(self) -> dict[str, int]:
        return {name.upper(): bits for name, bits in dataclasses.asdict(self).items()}

    def ports(self, count: int) -> dict[str, np.ndarray]:
        """int64 [count] by port."""
        factor = {"multiplier": max(1, self.multiplier_bits - 1), "align": self.align_bits, "negative": 1}
        unsigned = {f"{name}_{term}": bits for term in "ab" for name, bits in factor.items()}
        signed = {"a": self.in_bits, "b": self.in_bits, "start": self.start_bits}
        return drawn(signed, unsigned | {"shift": self.shift_bits}, count)

    def expected(self, ports: Mapping[str, np.ndarray]) -> np.ndarray:
        """The outputs, int64 [count]."""
        total = ports["start"]
        for term in "ab":
            hidden = 1 << (self.multiplier_bits - 1)  # with one bit, there is no other
            multiplier = hidden + (ports[f"multiplier_{term}"] if self.multiplier_bits > 1 else 0)
            factor = multiplier << ports[f"align_{term}"]
            total = total + ports[term] * np.where(ports[f"negative_{term}"], -factor, factor)
        return np.clip(total >> ports["shift"], ports["low"], ports["high"])


@dataclasses.dataclass(frozen=True)
class MeanShape:
    """Parameters of a `narrow_mean`."""

    sum_bits: int = 16
    multiplier_bits: int = 12
    start_bits: int = 28
    shift_min: int = 4
    shift_bits: int = 4
    block = "narrow_mean"

    @property
    def parameters(self) -> dict[str, int]:
        return {name.upper(): bits for name, bits in dataclasses.asdict(self).items()}

    def ports(self, count: int) -> dict[str, np.ndarray]:
        """int64 [count] by port."""
        unsigned = {"multiplier": self.multiplier_bits, "shift": self.shift_bits}
        return drawn({"sum": self.sum_bits, "start": self.start_bits}, unsigned, count)

    def expected(self, ports: Mapping[str, np.ndarray]) -> np.ndarray:
        """The outputs, int64 [count]."""
        total = (ports["sum"] * ports["multiplier"] + ports["start"]) >> (ports["shift"] + self.shift_min)
        return np.clip(total, ports["low"], ports["high"])


def drawn(signed: Mapping[str, int], unsigned: Mapping[str, int], count: int) -> dict[str, np.ndarray]:
    """Integers of all magnitudes by port, given the ports' bits; in a tenth of the vectors all are at their ends.

    `low` and `high` are among them.
    """
    generator = np.random.default_rng(1)
    are_ends = generator.random(count) < 0.1

    def one(low: int, high: int) -> np.ndarray:
        values = generator.integers(low, high + 1, count) >> generator.integers(0, (high - low).bit_length(), count)
        values = np.where(generator.random(count) < 0.05, generator.choice([low, high, 0], count), values)
        return np.where(are_ends, generator.choice([low, high], count), values)

    def any_signed(bits: int) -> np.ndarray:
        return one(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    ports = {name: any_signed(bits) for name, bits in signed.items()}
    ports |= {name: one(0, (1 << bits) - 1) for name, bits in unsigned.items()}
    ports["low"], ports["high"] = np.sort([any_signed(OUT_BITS), any_signed(OUT_BITS)], axis=0)
    return ports
