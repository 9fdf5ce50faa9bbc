# SPDX-License-Identifier: Apache-2.0
"""The page of operators in C says what the back end does."""

import pytest

from tests import c_operators
from tests.helpers.random_graphs import OPERATORS
from tflm_export.ops import known


@pytest.mark.slow
def test_the_page_is_that_of_the_code():
    found = c_operators.page()
    assert c_operators.PAGE.read_text(encoding="utf-8") == found, "run `python -m tests.c_operators`"
    rows = [line.split(" | ") for line in found.splitlines() if line.startswith("| ")][2:]
    assert [row[0].removeprefix("| ") for row in rows] == list(known())
    kinds = {c_operators.OWN, c_operators.FAST, c_operators.ANY, c_operators.NOTHING, c_operators.NOT_SIMULATED}
    for name, *cells in rows:
        if name.removeprefix("| ") in OPERATORS:  # with C of every type that is simulated, on every core
            assert {kind for cell in cells for kind in cell.removesuffix(" |").split(", ")} <= kinds, name
