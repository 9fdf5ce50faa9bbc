# SPDX-License-Identifier: Apache-2.0
"""CONV_2D: per-channel and per-tensor weights."""

import pytest

from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import WeightedTests, operator
from tflm_export import narrow


class TestConv2D(WeightedTests):
    op = "CONV_2D"
    input_shape = (4, 7, 7, 5)
    whole_input_shape = (6, 3, 3, 4)

    def layer(self, b, x, **options):
        return b.conv(x, 6, name="layer", **options)

    def whole(self, b, x, **options):
        return b.conv(x, 6, name="layer", padding="VALID", **options)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_per_tensor_weights_stay_where_the_output_scale_is_free(bits):
    b = TFLiteBuilder()
    x = b.input([1, 5, 5, 2])
    y = b.conv(x, 3, name="layer", per_channel=False)
    data = b.build(x, b.mean(b.depthwise(y)))
    narrowed, _ = narrow(data, bits)
    old, new = operator(data, "CONV_2D"), operator(narrowed, "CONV_2D")
    for before, after in zip(old.inputs, new.inputs, strict=True):
        assert before.data.tobytes() == after.data.tobytes()
        assert before.scale.tobytes() == after.scale.tobytes()
    assert old.outputs[0].scale < new.outputs[0].scale < 2 * old.outputs[0].scale
