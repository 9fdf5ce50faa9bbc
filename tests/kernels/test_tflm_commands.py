# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/tflm.md, run as they are printed: what they link runs on an emulated Cortex-M4."""

import numpy as np

from tests.helpers import tflm_application
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import narrow
from tflm_export.simulator import simulate


def test_the_printed_commands_link(tmp_path):
    tflm_application.tflm()
    b = TFLiteBuilder()
    x = b.input([1, 8, 8, 3])
    model, _ = narrow(b.build(x, b.fully_connected(b.mean(b.depthwise(b.conv(x, 6))), 5)), 1)
    program = tflm_application.build_as_printed(model, tmp_path)
    inputs = np.random.default_rng(0).integers(-128, 128, (4, 1, 8, 8, 3)).astype(np.int8)
    outputs = tflm_application.emulate(program, model, inputs, "cortex-m4")
    assert (outputs == simulate(model, inputs[:, 0], "narrow", 1).outputs[0]).all()
