# SPDX-License-Identifier: Apache-2.0
"""The general kernels at several levels of optimisation, as C99 and as C++17, without a warning."""

import shutil

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import source, step_of
from tests.helpers.held_forms import form_of
from tests.helpers.random_forms import Draw
from tests.kernels import test_form_gather as gather
from tests.kernels import test_form_matrix_product as matrix_product
from tests.kernels import test_form_recurrence as recurrence
from tests.kernels import test_form_reduction as reduction
from tests.kernels import test_form_resize as resize
from tests.kernels import test_form_softmax as softmax
from tests.kernels import test_form_weighted_sum as weighted_sum
from tests.kernels import test_form_window_pools as window_pools
from tflm_export import kernels
from tflm_export.c.forms import GENERAL

WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror".split()
COMPILERS = {
    "gcc": ("gcc", "-std=c99"),
    "g++": ("g++", "-std=c++17"),
    "Cortex-M0+": ("arm-none-eabi-gcc", "-std=c99", "-mthumb", "-mcpu=cortex-m0plus"),
}
DRAWS = (
    *[weighted_sum.random_form] * 2,
    matrix_product.random_form,
    *[window_pools.random_form] * 2,
    recurrence.random_svdf,
    recurrence.random_lstm,
)


def forms() -> list:
    """One of each kind and more: what differs by type, several times."""
    draw, random = Draw(7), np.random.default_rng(7)
    kinds, shape = ("narrow mean", "stock mean", "narrow total"), (2, 3, 4, 5)
    return [
        *(drawn(draw) for drawn in DRAWS),
        *(form_of(data) for data, _ in softmax.MODELS.values()),
        *(form_of(resize.resized(type, (3, 5), resize.MODES[2])) for type in ("INT8", "UINT8", "INT16")),
        *(reduction.rescaled(dtype, shape, (1, 3), random, kind) for dtype in reduction.INTEGERS for kind in kinds),
        *(reduction.extreme(dtype, shape, (0, 2), True) for dtype in reduction.ALL),
        *(reduction.position(dtype, np.int64, shape, 1, False) for dtype in (*reduction.ALL, np.float32)),
        gather.gather(np.int8, np.int64, *gather.GATHERS[3]),
        gather.gather_nd(np.int16, np.int16, *gather.GATHERS_ND[1]),
        gather.update(np.int32, np.int32, *gather.UPDATES[0]),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All forms as C, and as C++."""
    steps = [GENERAL[type(form)](step_of(form)) for form in forms()]
    path = tmp_path_factory.mktemp("forms")
    for name, text in kernels.sources(sorted({kernel for step in steps for kernel in step.kernels})).items():
        (path / name).write_bytes(text)
    for name in ("steps.c", "steps.cc"):
        (path / name).write_text(source(steps))
    return path


@pytest.mark.parametrize(
    ("compiler", "level"),
    [("gcc", "-O0"), ("gcc", "-Og"), ("gcc", "-O3"), ("g++", "-O2"), ("Cortex-M0+", "-Os")],
    ids=["gcc -O0", "gcc -Og", "gcc -O3", "g++ -O2", "Cortex-M0+ -Os"],
)
def test_builds_without_a_warning(folder, compiler, level):
    command = COMPILERS[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    unit = "steps.cc" if compiler == "g++" else "steps.c"
    native.run([*command, *WARNINGS, level, "-c", "-o", folder / "steps.o", folder / unit])
