"""QUANTIZE: int8 to int8 narrows; a change of zero point alone is on every grid in any type."""

import exact
import numpy as np
import peer
import pytest

from ops.weighted import WIDTHS, bounds, operator, random_input
from tests.tflite_builder import TFLiteBuilder
from tflm_export import METHODS, check, narrow

SHAPE = (4, 6, 6, 3)


def between_layers() -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    return b.build(x, b.conv(b.quantize(b.conv(x, 4)), 2, name="last"))


def at_the_border() -> bytes:
    """uint8 pixels to int8, as converters put it; and one of real re-scaling that no int8 kernel does."""
    b = TFLiteBuilder()
    x = b.input(SHAPE, type="UINT8", scale=1 / 255, zero_point=0)
    y = b.quantize(x, scale=1 / 255, zero_point=-128, name="border")
    z = b.quantize(x, scale=0.0031, zero_point=-120, name="rescaled")
    return b.build(x, [b.conv(y, 2), z])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_the_factor_lands_on_the_grid(bits, method):
    narrowed, report = narrow(between_layers(), bits, method)
    (factor,) = operator(narrowed, "QUANTIZE").factors
    assert peer.off_grid(factor, bits) < 2.0**-22
    assert report.offenders == check(narrowed, bits).offenders == ()


@pytest.mark.parametrize("runtime", exact.RUNTIMES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_runtimes_compute_the_narrow_arithmetic(bits, method, runtime):
    narrowed, _ = narrow(between_layers(), bits, method)
    x = random_input(SHAPE)
    (found,) = [c for c in exact.compare(narrowed, x, bits, runtime) if c.operator.name == "QUANTIZE"]
    assert found.exact.std() > 10
    assert np.abs(found.runtime - found.exact).max() <= 1


@pytest.mark.parametrize("bits", WIDTHS)
def test_worst_case(bits):
    narrowed, _ = narrow(between_layers(), bits)
    found = operator(narrowed, "QUANTIZE")
    farthest = np.abs(np.arange(-128, 128) - found.inputs[0].zero).max()
    (m,), (s,) = exact.multipliers(found, bits)
    bound = bounds(narrowed, "QUANTIZE", bits)
    assert bound.accumulator == farthest
    assert bound.product >= farthest * int(m) + (2.0 ** (int(s) - 1) if s > 0 else 0)


def test_borders_between_types():
    data = at_the_border()
    narrowed, report = narrow(data, 2)
    border, rescaled = [row for row in report.rows if row.op == "QUANTIZE"]
    assert (border.narrow, border.reason) == (True, "")
    assert "bound on both sides" in rescaled.reason
    assert "(input)" in rescaled.reason
    for old, new in zip(peer.tensors(data), peer.tensors(narrowed), strict=True):
        assert not old.name.startswith(("input", "border", "rescaled")) or old.scale == new.scale


def test_the_bound_at_a_uint8_border_is_true():
    """uint8 with zero point 0 is up to 255 steps from its zero."""
    _, report = narrow(at_the_border(), 2)
    border = next(row for row in report.rows if row.op == "QUANTIZE")
    assert border.accumulator >= 255
