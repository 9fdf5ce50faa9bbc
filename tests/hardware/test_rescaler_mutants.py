# SPDX-License-Identifier: Apache-2.0
"""Errors that rescalers in Verilog could have: the vectors find each of them, or the solver proves that it is none."""

import dataclasses

import pytest

from benchmarks.hardware import cxxrtl
from benchmarks.hardware.cxxrtl import Design
from tests.helpers import mutants
from tests.helpers.hardware import ALL
from tests.helpers.rescaler_vectors import Shape, vectors

NARROW = Shape(4, acc_bits=16, shift_min=2, shift_bits=3)
FAR = Shape(4, acc_bits=16, shift_min=2, shift_bits=4)  # shifts beyond all of the product
BOOTH = Shape(6, acc_bits=16, shift_min=2, shift_bits=3)
WIDER = Shape(5, acc_bits=16, shift_min=2, shift_bits=3)
STOCK = Shape(31, acc_bits=16, shift_min=31, shift_bits=3)
CSD = Shape("csd", acc_bits=16, shift_min=2, shift_bits=3)


@dataclasses.dataclass(frozen=True)
class Mutant(mutants.Mutant):
    """An error in a rescaler of a shape."""

    shape: Shape = NARROW
    is_harmless: bool = False

    def design(self, folder) -> Design:
        choice = {"PRODUCT": 1} if self.shape is BOOTH else {}
        return Design(self.shape.block, self.shape.parameters | choice, self.sources(folder))


_FAR_BITS = ("rescale_shift", "any_above = |word[WIDE-1:TOP+FAR]", "any_above = 1'b0")
_ZERO_POINT = "{{2{zero_point[OUT_BITS-1]}}, zero_point, 1'b1}"
_OUTPUT = "is_low ? low : is_high ? high : sum[OUT_BITS-1:0]"
QUICK = [
    Mutant("rounding has no carry", "rescale_clamp", _ZERO_POINT, _ZERO_POINT.replace("1'b1", "1'b0")),
    Mutant("no smallest output", "rescale_clamp", "is_low ? low : ", ""),
    Mutant("shift off by one", "rescale_end", ": SHIFT_MIN - 1;", ": SHIFT_MIN;"),
    Mutant("hidden bit dropped", "narrow_multiply", "m = {1'b1, multiplier}", "m = {1'b0, multiplier}"),
    Mutant("sign not extended", "rescale_shift", "aligned[i] = negative", "aligned[i] = 1'b0", FAR),
    Mutant("zero point after the clamp", "rescale_clamp", _OUTPUT, f"zero_point + ({_OUTPUT} - zero_point)"),
    Mutant("far bits, which are signs, are forgotten", *_FAR_BITS, FAR, is_harmless=True),
]
SLOW = [
    Mutant("no largest output", "rescale_clamp", "is_high ? high : ", ""),
    Mutant("sum one bit short", "rescale_clamp", "SUM_BITS = OUT_BITS + 2;", "SUM_BITS = OUT_BITS + 1;"),
    Mutant("bits above are forgotten", "rescale_clamp", "beyond ? negative :", ""),
    Mutant("clamped to the other side", "rescale_clamp", "beyond ? ~negative :", "beyond ? negative :"),
    Mutant(
        "one bit above is not looked at",
        "rescale_shift",
        "TOP = KEEP_BITS - 1 + FAR - 1;",
        "TOP = KEEP_BITS + FAR - 1;",
    ),
    Mutant("negative numbers are never beyond", "rescale_shift", "~stage[SHIFT_BITS-1].all :", "1'b0 :"),
    Mutant("all bits look at any", "rescale_shift", "(moves | &word", "(moves | |word"),
    Mutant("bits that move are dropped, too", "rescale_shift", "(~moves & |word[TOP+FAR", "(|word[TOP+FAR"),
    Mutant("stages in the other order", "rescale_shift", "moves = shift[SHIFT_BITS-1-i]", "moves = shift[i]"),
    Mutant("far bits are forgotten", *_FAR_BITS),
    Mutant("rows are not completed", "narrow_multiply", "ones[i] = bits[i+2]", "ones[i] = 1'b0", BOOTH),
    Mutant("signs of rows are not made up for", "narrow_multiply", "-(FOURS << ACC_BITS)", "0", BOOTH),
    Mutant("doubled rows are single", "narrow_multiply", "{acc, 1'b0} & ", "{acc[ACC_BITS-1], acc} & ", BOOTH),
    Mutant("the hidden row is dropped", "narrow_multiply", "{acc[ACC_BITS-1], acc, {PORT_BITS{1'b0}}} + ", "", BOOTH),
    Mutant("three is two", "multiply_radix4", "thrice = once + twice", "thrice = twice", WIDER),
    Mutant("one is three, too", "multiply_radix4", "d == 2'd1", "d[0]", WIDER),
    Mutant(
        "an odd row is left out",
        "multiply_radix4",
        "else assign two_rows = digit[2*i].placed",
        "else assign two_rows = 0",
        WIDER,
    ),
    Mutant("subtraction without its 1", "narrow_rescale_csd", " + {{(PRODUCT_BITS - 1) {1'b0}}, negative}", "", CSD),
    Mutant("addition for subtraction", "narrow_rescale_csd", "extended ^ {PRODUCT_BITS{negative}}", "extended", CSD),
    Mutant("halves up, not away", "rescale_end", "(~negative | lost)", "1'b1", STOCK),
    Mutant("halves towards zero", "rescale_end", "(~negative | lost)", "(negative | lost)", STOCK),
    Mutant("one rounding", "tflm_rescale", ".HALF_AT(31)", ".HALF_AT(0)", STOCK),
    Mutant("lost bits of one stage alone", "rescale_shift", "lost_before | (moves", "(moves", STOCK),
]
MUTANTS = QUICK + SLOW if ALL else QUICK


@pytest.fixture(scope="module")
def designs(tmp_path_factory) -> dict[Mutant, Design]:
    return mutants.designs(MUTANTS, tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def blocks(designs) -> dict[Mutant, cxxrtl.Block]:
    return mutants.blocks(designs)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_found_or_harmless(designs, blocks, mutant):
    cases = vectors(mutant.shape, 20_000)
    wrong = cases.wrong(blocks[mutant](**cases.ports(mutant.shape))["y"], mutant.shape)
    mutants.check(mutant, bool(wrong), designs[mutant])
