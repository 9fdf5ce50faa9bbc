# SPDX-License-Identifier: Apache-2.0
"""The tests that every operator inherits whose models say all there is to know: grid, runtimes, stock outputs."""

import numpy as np
import pytest

from tests.helpers import peer, runtimes, signed_digits
from tests.helpers.internals import factors, simulate
from tests.helpers.weighted import WIDTHS
from tflm_export import METHODS, check, narrow
from tflm_export.flatbuffer.model import parse


def constants(data: bytes) -> list[bytes]:
    """The elements of all constant tensors."""
    return [tensor.data.tobytes() for tensor in peer.tensors(data)]


def scale(tensor: peer.Tensor) -> float:
    """A tensor's one scale."""
    (value,) = tensor.scale.astype(np.float64)
    return float(value)


class NarrowedTests:
    """For a subclass that gives models with one operator of a type, all of whose factors can be narrowed.

    Attributes:
      op: the type.
      models: by name.
      change: RMS change of a model's outputs, in units of their spread, that may come with a width.
      spread: standard deviation of the outputs' integers that makes this test one.
      runtimes: what runs the models.
      rounding: whose stock integers the outputs are compared in.
    """

    op = ""
    models: dict[str, bytes] = {}  # noqa: RUF012
    change: dict[int, float] = {1: 0.25, 2: 0.15, 4: 0.06, 8: 0.04}  # noqa: RUF012
    spread = 10
    runtimes = runtimes.RUNTIMES
    rounding = "tflite"

    def factors(self, operator: peer.Operator) -> list[float]:
        """Its factors, from the scales in the file."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc):
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", list(self.models))
        if "runtime" in metafunc.fixturenames:
            metafunc.parametrize("runtime", self.runtimes)

    def found(self, data: bytes) -> peer.Operator:
        (operator,) = [o for o in peer.operators(data) if o.name == self.op]
        return operator

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("bits", [*WIDTHS, "csd2"])
    def test_factors_land_on_the_grid(self, name, bits, method):
        stock = self.models[name]
        narrowed, report = narrow(stock, bits, method)
        before, after = (np.array(self.factors(self.found(data))) for data in (stock, narrowed))
        off = signed_digits.all_off_csd2(after[after > 0]) if bits == "csd2" else peer.off_grids(after[after > 0], bits)
        assert off.max() < 2.0**-22
        assert report.offenders == check(narrowed, bits).offenders == ()
        (row,) = [row for row in report.rows if row.op == self.op]
        assert row.factors == len(after)
        (operator,) = [o for o in parse(narrowed).operators if o.name == self.op]
        np.testing.assert_allclose(factors(operator), after, rtol=2.0**-22)
        assert peer.off_grids(before[before > 0], 8).max() > 2.0**-18  # else there was nothing to do

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("bits", WIDTHS)
    def test_runtimes_equal_the_simulator(self, name, bits, method, runtime):
        narrowed, _ = narrow(self.models[name], bits, method)
        rows = runtimes.random_rows(parse(narrowed), 2, seed=bits)
        assert not runtimes.differences(narrowed, rows, runtime)

    @pytest.mark.parametrize("bits", WIDTHS)
    def test_outputs_stay_near_the_stock_ones(self, name, bits):
        """At the model's border, whose scales do not change; on the runtimes' integers and on narrow ones."""
        stock = self.models[name]
        narrowed, _ = narrow(stock, bits)
        rows = runtimes.batch(runtimes.random_rows(parse(stock), 6))
        before = simulate(stock, rows, self.rounding).outputs[0].astype(np.float64)
        for after in (simulate(narrowed, rows, self.rounding), simulate(narrowed, rows, "narrow", bits)):
            error = np.sqrt(np.square(after.outputs[0] - before).mean())
            assert before.std() > self.spread
            assert error <= self.change[bits] * before.std()

    @pytest.mark.parametrize("bits", [1, 4])
    def test_real_inputs_put_the_factors_on_the_grid_as_well(self, name, bits):
        stock = self.models[name]
        model = parse(stock)
        rows = runtimes.batch(runtimes.random_rows(model, 20, seed=5))
        data = {t.name: array for t, array in zip(model.subgraphs[0].inputs, rows, strict=True)}
        narrowed, report = narrow(stock, bits, calibration=data)
        after = np.array(self.factors(self.found(narrowed)))
        assert peer.off_grids(after[after > 0], bits).max() < 2.0**-22
        assert report.offenders == ()
        before = simulate(stock, rows, self.rounding).outputs[0].astype(np.float64)
        error = np.sqrt(np.square(simulate(narrowed, rows, self.rounding).outputs[0] - before).mean())
        assert error <= self.change[bits] * before.std()

    @pytest.mark.parametrize("bits", [1, 4])
    def test_keep_changes_no_integer(self, name, bits):
        stock = self.models[name]
        assert constants(narrow(stock, bits, "keep")[0]) == constants(stock)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("bits", WIDTHS)
    def test_narrowing_again_changes_nothing(self, name, bits, method):
        narrowed, _ = narrow(self.models[name], bits, method)
        assert narrow(narrowed, bits, method)[0] == narrowed

    @pytest.mark.parametrize("method", METHODS)
    def test_31_bits_change_nothing(self, name, method):
        assert narrow(self.models[name], 31, method)[0] == self.models[name]

    @pytest.mark.parametrize("bits", WIDTHS)
    def test_scales_never_shrink(self, name, bits):
        stock = self.models[name]
        for old, new in zip(peer.tensors(stock), peer.tensors(narrow(stock, bits)[0]), strict=True):
            assert (new.scale >= old.scale * (1 - 2.0**-22)).all()
