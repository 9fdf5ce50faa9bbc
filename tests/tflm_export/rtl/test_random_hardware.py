# SPDX-License-Identifier: Apache-2.0
"""Random small models: what the tables of --rtl come to is what the simulator computes, bit for bit."""

import pathlib
import re

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import dead_channels, hardware_folder
from tests.helpers.hardware import ALL
from tests.helpers.random_graphs import OPERATORS, graph
from tflm_export import ModelError, UsageError, narrow, rtl

BITS = st.sampled_from((1, 2, 4, 8, "csd2", "folded"))
SETTINGS = {"deadline": None, "phases": tuple(Phase) if ALL else (Phase.generate,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("hardware")


def written(stock: bytes, bits, folder: pathlib.Path, accumulators: int | None = None) -> rtl.Hardware | None:
    """Narrows a model and writes its hardware; None where there is nothing to narrow, or no block for what there is."""
    grid = 1 if bits == "folded" else bits
    try:
        data, _ = narrow(stock, grid, synthetic="none")
    except ModelError:
        return None
    try:
        wanted = rtl.Wanted(accumulators, is_folded=bits == "folded")
        hardware = rtl.translate(data, "model", grid, wanted, inferences=2)
    except UsageError as error:
        enough = int(re.search(r"--rtl_accumulator_bits (\d+) makes wider hardware", str(error))[1])
        assert accumulators is None  # what the message says is enough
        return written(stock, bits, folder, enough)
    except ModelError as error:
        if re.search("no rescale of the model is one that hardware|cannot be simulated", str(error)):
            return None
        raise
    for name, content in hardware.files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return hardware


@given(st.integers(0, (1 << 32) - 1), BITS)
@settings(max_examples=300 if ALL else 20, **SETTINGS)
def test_dead_channels(folder, seed, bits):
    """Which would take accumulators of up to 30 bits; all but a few do without."""
    if written(dead_channels.network(seed), bits, folder) is not None:
        assert hardware_folder.wrong(folder) == []


@given(st.lists(st.sampled_from(sorted(OPERATORS)), min_size=4, max_size=12), st.integers(0, (1 << 32) - 1), BITS)
@settings(max_examples=600 if ALL else 30, **SETTINGS)
def test_all_operators(folder, operators, seed, bits):
    """Of int8, int16 and uint8; each has a block, or is named with the reason."""
    if written(graph(operators, seed), bits, folder, accumulators=48) is not None:
        assert hardware_folder.wrong(folder) == []
