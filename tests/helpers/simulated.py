# SPDX-License-Identifier: Apache-2.0
"""The test that operators without factors inherit: every integer as the runtimes compute it."""

import pytest

from tests.helpers import runtimes
from tflm_export.flatbuffer.model import parse

BOTH, LITERT, TFLM = runtimes.RUNTIMES, ("tflite",), ("tflm",)


class SimulatedTests:
    """For a subclass that gives models of one operator, by name, with the runtimes that have a kernel for them."""

    models: dict[str, tuple[bytes, tuple[str, ...]]] = {}  # noqa: RUF012

    def pytest_generate_tests(self, metafunc):
        if "runtime" in metafunc.fixturenames:
            pairs = [(name, runtime) for name, (_, runtimes) in self.models.items() for runtime in runtimes]
            metafunc.parametrize(("name", "runtime"), pairs)

    @pytest.mark.parametrize("rows", [1, 4])
    def test_every_integer_equals_the_runtime(self, name, runtime, rows):
        """A batch of rows, which the simulator takes at once where it can."""
        data, _ = self.models[name]
        assert not runtimes.differences(data, runtimes.random_rows(parse(data), rows), runtime)
