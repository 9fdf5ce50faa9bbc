# SPDX-License-Identifier: Apache-2.0
"""ABS between two layers, and at the border."""

from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder


def between(type="INT8", zero_points=(7, -60), free=True) -> bytes:
    b = TFLiteBuilder()
    small, zeros = (1 / 256, (0, 0)) if type == "INT16" else (1.0, zero_points)
    x = b.input((1, 6, 6, 4), type=type, scale=0.0371 * small, zero_point=zeros[0])
    y = b.conv(x, 4, scale=0.0311 * small, zero_point=zeros[0]) if free else x
    y = b.derived("ABS", [y], scale=0.0271 * small, zero_point=zeros[1])
    return b.build(x, b.conv(y, 3, name="last", scale=0.0529 * small, zero_point=0))


class TestAbs(NarrowedTests):
    op = "ABS"
    models = {  # noqa: RUF012
        "free": between(),
        "only positive": between(zero_points=(-128, -128)),
        "of the input": between(free=False),
        "int16": between("INT16"),
    }

    def factors(self, operator):
        return [scale(operator.inputs[0]) / scale(operator.outputs[0])]
