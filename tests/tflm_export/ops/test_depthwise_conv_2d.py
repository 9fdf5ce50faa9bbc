# SPDX-License-Identifier: Apache-2.0
"""DEPTHWISE_CONV_2D: the channels are the last axis of the weights."""

import numpy as np

from tests.helpers.weighted import WeightedTests


class TestDepthwiseConv2D(WeightedTests):
    op = "DEPTHWISE_CONV_2D"
    input_shape = (4, 7, 7, 3)
    whole_input_shape = (6, 3, 3, 6)
    channel_axis = 3

    def layer(self, b, x, **options):
        return b.depthwise(x, 2, name="layer", **options)

    def whole(self, b, x, **options):
        return b.depthwise(x, 1, name="layer", padding="VALID", **options)

    def spread(self, extremes):
        """Channels do not meet: one row holds the worst input of each, and the batch repeats it."""
        return np.repeat(extremes, 6, axis=0).astype(np.int8)
