# SPDX-License-Identifier: Apache-2.0
"""Rescalers in Verilog are their definition for all inputs there are: proved, as far as the solver gets in seconds."""

import pytest

from benchmarks.hardware.cxxrtl import Design
from tests.helpers.equivalence import LITERAL, is_proved
from tests.helpers.hardware import ALL
from tests.helpers.rescaler_vectors import Shape

QUICK = [Shape(1), Shape(4, acc_bits=16)]
SLOW = [
    Shape(2),
    Shape(2, acc_bits=12, shift_min=-3, shift_bits=4),
    Shape(1, acc_bits=24, out_bits=16),
    Shape("csd", acc_bits=16),
]
SIZES = [(16, 4)] + ([(10, 6), (8, 8)] if ALL else [])  # of accumulators and multipliers


def literal(shape: Shape) -> Design:
    names = {"narrow_rescale": "literal_rescale", "narrow_rescale_csd": "literal_rescale_csd"}
    return Design(names[shape.block], shape.parameters, [LITERAL])


@pytest.mark.sweep(3)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shape", QUICK + SLOW if ALL else QUICK, ids=str)
def test_proved(shape):
    """With the product as the tool makes it: what else there is, see below."""
    choice = {"PRODUCT": 0} if shape.block == "narrow_rescale" else {}
    assert is_proved(literal(shape), Design(shape.block, shape.parameters | choice))


@pytest.mark.sweep(3)
@pytest.mark.parametrize("bits", SIZES, ids=str)
@pytest.mark.parametrize("product", [1, 2])
@pytest.mark.parametrize("hidden", [0, 1])
def test_products_are_alike(product, bits, hidden):
    """However a product is made, with half a unit in it or without."""
    sizes = {"ACC_BITS": bits[0], "MULTIPLIER_BITS": bits[1], "HIDDEN_BIT": hidden, "HALF_AT": 3 * hidden}
    tools, written = (Design("narrow_multiply", sizes | {"PRODUCT": way}) for way in (0, product))
    assert is_proved(tools, written)


def test_the_solver_tells_them_apart():
    """Where shifts differ by one, there is no proof."""
    shape, other = (Shape(1, acc_bits=8, shift_bits=2, shift_min=low) for low in (1, 2))
    assert is_proved(literal(shape), Design(shape.block, shape.parameters))
    assert not is_proved(literal(other), Design(shape.block, shape.parameters))
