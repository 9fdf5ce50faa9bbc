# SPDX-License-Identifier: Apache-2.0
"""Headers side by side: a model may need any of them in one file."""

import pytest

from tests.helpers import native
from tflm_export import kernels

pytestmark = native.requires_gcc

LOOPS = {"narrow_each_window.h", "narrow_pool.h"}  # around a function that each source with them defines for itself


@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
@pytest.mark.parametrize("suffix", ["c", pytest.param("cc", marks=native.requires_gpp)])
def test_no_two_define_one_name(order, suffix):
    names = sorted(path.name for path in kernels.FOLDER.glob("*.h") if path.name not in LOOPS)[::order]
    lines = [f'#include "{name}"' for name in names]
    native.library({f"all.{suffix}": "\n".join([*lines, ""]).encode()} | kernels.sources(names))
