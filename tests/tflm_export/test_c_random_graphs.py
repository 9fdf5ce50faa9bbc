# SPDX-License-Identifier: Apache-2.0
"""Random small models: C, with the sanitizer and beside guard pages, gives what the simulator gives, bit for bit.

`make c-graphs` tries more of them: C_GRAPHS=N in the environment says how many.
"""

import contextlib
import os
import re

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import native
from tests.helpers.programs import Compiled, Context
from tests.helpers.random_graphs import OPERATORS, graph
from tflm_export import ModelError, c, narrow, verify
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import grid_of
from tflm_export.ops import known
from tflm_export.simulator import simulate

pytestmark = native.requires_gcc
GRAPHS = int(os.environ.get("C_GRAPHS", "25"))
# Each smaller case on the way to the smallest one is compiled, too: minutes that the whole suite does not have.
PHASES = tuple(Phase) if "C_GRAPHS" in os.environ else (Phase.generate,)
FRAMES = 3
CORES = ("portable", "portable", "cortex-m4", "cortex-m0plus")
# Everything the simulator computes has C, but what needs integers of more than 64 bits.
REFUSED = re.compile(r"64[ -]bit")


def test_every_operator_is_drawn():
    """All that the package knows; variables come with ASSIGN_VARIABLE, and what starts them is tested elsewhere."""
    assert set(OPERATORS) | {"VAR_HANDLE", "READ_VARIABLE", "CALL_ONCE"} == set(known())


@given(
    st.lists(st.sampled_from(sorted(OPERATORS)), min_size=6, max_size=16),
    st.integers(0, (1 << 32) - 1),
    st.sampled_from((1, 8, "csd2", None)),
    st.sampled_from(CORES),
)
@settings(max_examples=GRAPHS, deadline=None, phases=PHASES)
def test_c_equals_the_simulator(operators, seed, bits, core):
    data, arithmetic = graph(operators, seed), Tflm() if bits is None else Narrow(grid_of(bits))
    if bits is not None:
        with contextlib.suppress(ModelError):  # nothing in it narrows
            data, _ = narrow(data, bits, synthetic="none")
    try:
        program = c.translate(data, "model", arithmetic, core)
    except ModelError as error:
        if all(REFUSED.search(problem) for problem in str(error).split("; ")):
            return
        raise
    inputs = verify.random_inputs(parse(data), FRAMES, seed % 1000)
    expected = simulate(data, inputs, arithmetic).outputs
    compiled = Compiled(program)
    for behind, filling in ((True, 0x5A), (False, 0xA5)):
        context = Context(compiled, behind, filling)
        for frame in range(FRAMES):
            rows = [np.ascontiguousarray(np.split(x, FRAMES)[frame]) for x in inputs]
            for value, found, array in zip(program.outputs, context.invoke(*rows), expected, strict=True):
                wanted = np.split(array, FRAMES)[frame]
                np.testing.assert_array_equal(found.reshape(-1), wanted.reshape(-1), f"{value.name} in frame {frame}")
