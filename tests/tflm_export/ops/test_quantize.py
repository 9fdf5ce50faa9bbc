# SPDX-License-Identifier: Apache-2.0
"""QUANTIZE between any integers narrows; a change of zero point alone is on every grid in any type."""

import numpy as np
import pytest

from tests.helpers import exact, peer, runtimes
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import WIDTHS, bounds, operator, random_input
from tflm_export import METHODS, ModelError, check, narrow
from tflm_export.flatbuffer.model import parse

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


def from_int32(type="INT8", scale=3.1e-10) -> bytes:
    """Integers of an application, then a layer."""
    b = TFLiteBuilder()
    zero, small = (0, 1 / 256) if type == "INT16" else (-3, 1.0)
    x = b.input([1, 6, 6, 3], type="INT32", scale=scale * small, zero_point=0)
    y = b.quantize(x, scale=0.0073 * small, zero_point=zero, type=type)
    return b.build(x, b.conv(y, 2, name="last", scale=0.00811 * small, zero_point=zero))


def to_int32() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3], type="INT16", scale=0.00031, zero_point=0)
    y = b.conv(x, 2, scale=0.00044, zero_point=0)
    return b.build(x, b.quantize(y, scale=3.1e-7, zero_point=0, type="INT32"))


class TestInt32(NarrowedTests):
    op = "QUANTIZE"
    models = {"to int8": from_int32(), "to int16": from_int32("INT16"), "from int16": to_int32()}  # noqa: RUF012

    def factors(self, operator):
        return [scale(operator.inputs[0]) / scale(operator.outputs[0])]


@pytest.mark.parametrize("bits", WIDTHS)
def test_int32_scales_stay(bits):
    for data in (from_int32(), to_int32()):
        for old, new in zip(peer.tensors(data), peer.tensors(narrow(data, bits)[0]), strict=True):
            assert old.type != "INT32" or old.name.endswith("/bias") or (old.scale == new.scale).all()


def test_int8_to_int32_is_what_tflm_computes():
    """LiteRT has no such kernel."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3])
    data = b.build(x, b.quantize(b.conv(x, 2), scale=3.1e-5, zero_point=0, type="INT32"))
    for file in (data, narrow(data, 2)[0]):
        assert not runtimes.differences(file, runtimes.random_rows(parse(file), 3), "tflm")


def test_int32_with_a_zero_point_is_named():
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3], type="INT32", scale=1e-9, zero_point=5)
    data = b.build(x, b.quantize(x))
    with pytest.raises(ModelError, match=r"QUANTIZE .*\(input\) has zero point 5; INT32 is symmetric"):
        narrow(data, 2)
