# SPDX-License-Identifier: Apache-2.0
"""Errors that sums and means in Verilog could have: the vectors find each, or the solver proves it to be none."""

import dataclasses

import pytest

from benchmarks.hardware import cxxrtl
from benchmarks.hardware.cxxrtl import Design
from tests.helpers import mutants
from tests.helpers.hardware import ALL
from tests.helpers.sum_vectors import AddShape, MeanShape

COUNT = 20_000
ADD, MEAN = AddShape(), MeanShape()
POWERS = AddShape(multiplier_bits=1, align_bits=4)
TIGHT = AddShape(start_bits=20)  # as wide as its terms, so that the sum takes all of its bits
SMALL = AddShape(4, 3, 2, 12, 3)  # for the solver; its start value is two bits wider than its terms
SWITCH = MeanShape(multiplier_bits=1)


@dataclasses.dataclass(frozen=True)
class Mutant(mutants.Mutant):
    """An error in a block of a shape."""

    shape: AddShape | MeanShape = ADD
    is_harmless: bool = False

    def design(self, folder) -> Design:
        return Design(self.shape.block, self.shape.parameters, self.sources(folder))


_FEWER_BITS = ("narrow_add", "TERM_BITS : START_BITS) + 2;", "TERM_BITS : START_BITS) + 1;")
_NEGATIVE = "{{(SUM_BITS - 1) {1'b0}}, negative_%s}"
_INVERTED = "(extended << align) ^ {TERM_BITS{negative}}"
QUICK = [
    Mutant("a negative term without its 1", "narrow_add", f" + {_NEGATIVE % 'b'}", ""),
    Mutant("a sum one bit short", *_FEWER_BITS, TIGHT),
    Mutant("a bit that wider start values leave free", *_FEWER_BITS, SMALL, is_harmless=True),
    Mutant("inverted, then shifted", "narrow_term", _INVERTED, "(extended ^ {TERM_BITS{negative}}) << align"),
    Mutant("a total one bit short", "narrow_mean", "START_BITS) + 1;", "START_BITS);", MEAN),
    Mutant("quotients without a sign", "rescale_clamp", "{{2{kept[KEPT_BITS-1]}}, kept};", "{2'b00, kept};", MEAN),
]
SLOW = [
    Mutant("the other negative term without its 1", "narrow_add", f"{_NEGATIVE % 'a'} + ", ""),
    Mutant("the first term without its sign", "narrow_add", "{term_a[TERM_BITS-1]}", "{1'b0}"),
    Mutant("the second term without its sign", "narrow_add", "{term_b[TERM_BITS-1]}", "{1'b0}"),
    Mutant("the start value without its sign", "narrow_add", "{start[START_BITS-1]}", "{1'b0}"),
    Mutant("terms one bit short", "narrow_add", "(1 << ALIGN_BITS) - 1;", "(1 << ALIGN_BITS) - 2;"),
    Mutant("terms without a sign", "narrow_term", "{product[PRODUCT_BITS-1]}", "{1'b0}"),
    Mutant("never negative", "narrow_term", _INVERTED, "extended << align"),
    Mutant("never aligned", "narrow_term", "(extended << align)", "extended"),
    Mutant("one multiplier for both", "narrow_add", ".multiplier(multiplier_b)", ".multiplier(multiplier_a)"),
    Mutant("one alignment for both", "narrow_add", ".align(align_b)", ".align(align_a)"),
    Mutant("one sign for both", "narrow_add", ".negative(negative_b)", ".negative(negative_a)"),
    Mutant("one input for both", "narrow_add", ".x(b)", ".x(a)"),
    Mutant("the hidden bit is no bit", "narrow_multiply", "assign m = 1'b1;", "assign m = multiplier;", POWERS),
    Mutant("one limit for both", "narrow_add", ".low(low", ".low(high"),
    Mutant("one limit for both of means", "narrow_mean", ".high(high", ".high(low", MEAN),
    Mutant("sums rounded twice", "narrow_add", ".FOLDED(1)", ".FOLDED(0)"),
    Mutant("means rounded twice", "narrow_mean", ".FOLDED(1)", ".FOLDED(0)", MEAN),
    Mutant("sums of another shift", "rescale_end", "? SHIFT_MIN :", "? SHIFT_MIN + 1 :"),
    Mutant("means of another shift", "narrow_mean", ".SHIFT_MIN(SHIFT_MIN)", ".SHIFT_MIN(0)", MEAN),
    Mutant("sums of one sign", "narrow_mean", "{product[PRODUCT_BITS-1]}", "{1'b0}", MEAN),
    Mutant("starts of one sign", "narrow_mean", "{start[START_BITS-1]}", "{1'b0}", MEAN),
    Mutant(
        "products one bit short",
        "narrow_mean",
        "SUM_BITS + MULTIPLIER_BITS :",
        "SUM_BITS + MULTIPLIER_BITS - 1 :",
        MEAN,
    ),
    Mutant("a mean's hidden bit", "narrow_mean", ".HIDDEN_BIT(0)", ".HIDDEN_BIT(1)", MEAN),
    Mutant("a multiplier of 0 is 1", "narrow_multiply", "acc & {ACC_BITS{m[0]}}", "acc", SWITCH),
]
MUTANTS = QUICK + SLOW if ALL else QUICK


@pytest.fixture(scope="module")
def designs(tmp_path_factory) -> dict[Mutant, Design]:
    return mutants.designs(MUTANTS, tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def blocks(designs) -> dict[Mutant, cxxrtl.Block]:
    return mutants.blocks(designs)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_found_or_harmless(designs, blocks, mutant):
    ports = mutant.shape.ports(COUNT)
    is_found = bool((blocks[mutant](**ports)["y"] != mutant.shape.expected(ports)).any())
    mutants.check(mutant, is_found, designs[mutant])
