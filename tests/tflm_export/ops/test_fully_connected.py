"""FULLY_CONNECTED: per-tensor weights are left alone where the output scale can move instead."""

import exact
import numpy as np
import peer
import pytest

from ops.weighted import WeightedTests, random_input
from tests.tflite_builder import TFLiteBuilder
from tflm_export import narrow


class TestFullyConnected(WeightedTests):
    op = "FULLY_CONNECTED"
    input_shape = (12, 37)
    whole_input_shape = (6, 11)
    weight_steps = 0.5

    def layer(self, b, x, **options):
        return b.fully_connected(x, 9, name="layer", **options)

    def whole(self, b, x, **options):
        return b.fully_connected(x, 6, name="layer", **options)


def chain(layers: int, seed=0) -> bytes:
    b = TFLiteBuilder(seed)
    x = y = b.input([8, 20])
    for i in range(layers):
        y = b.fully_connected(y, 20, name=f"dense{i}", scale=0.05 + 0.013 * i)
    return b.build(x, y)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_chain_moves_activation_scales_and_requantises_the_last_layer_alone(bits):
    data = chain(4)
    narrowed, report = narrow(data, bits)
    assert not report.offenders
    pairs = list(zip(peer.operators(data), peer.operators(narrowed), strict=True))
    for _, new in pairs:
        assert peer.off_grid(new.factors[0], bits) < 2.0**-22
    for old, new in pairs[:-1]:
        assert old.inputs[1].data.tobytes() == new.inputs[1].data.tobytes()
        assert old.inputs[1].scale == new.inputs[1].scale
        assert 1 < new.outputs[0].scale[0] / old.outputs[0].scale[0] < 1 + 2.0 ** (1 - bits)
    old, new = pairs[-1]
    assert old.outputs[0].scale == new.outputs[0].scale
    assert 1 < new.inputs[1].scale[0] / old.inputs[1].scale[0] < 1 + 2.0 ** (1 - bits)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_biases_follow_the_input_scale(bits):
    """Where the layer before has moved, the bias keeps its real value although the weights stay."""
    data = chain(4)
    narrowed, _ = narrow(data, bits)
    for old, new in zip(peer.operators(data), peer.operators(narrowed), strict=True):
        before, after = (o.inputs[2].integers * o.inputs[2].scale.astype(np.float64) for o in (old, new))
        step = float(new.inputs[2].scale[0])
        assert (np.abs(after - before) <= 0.5 * step + np.abs(before) * 2.0**-21).all()
        product = new.inputs[0].scale.astype(np.float64) * new.inputs[1].scale
        np.testing.assert_allclose(new.inputs[2].scale, product, rtol=2.0**-23)


@pytest.mark.parametrize("runtime", exact.RUNTIMES)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_chain_on_the_runtimes(bits, runtime):
    narrowed, _ = narrow(chain(4), bits)
    for comparison in exact.compare(narrowed, random_input((8, 20)), bits, runtime):
        assert comparison.exact.std() > 10
        assert np.abs(comparison.runtime - comparison.exact).max() <= 1
