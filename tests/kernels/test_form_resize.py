# SPDX-License-Identifier: Apache-2.0
"""Means of four neighbours in C: to what the form evaluates to, and to LiteRT, whatever the compiler may merge."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_held, form_of, images_of, value
from tests.helpers.operators import activation, indices, one_operator
from tests.helpers.runtimes import LAYERS
from tflm_export.c.forms import GENERAL
from tflm_export.c.step import UnsupportedError
from tflm_export.program.resize import Neighbours, Resize

pytestmark = native.requires_gcc

MODES = ((False, False), (True, False), (False, True))
SIZES = ((13, 9), (3, 5), (1, 1), (7, 8), (29, 16))
# What -ffast-math has of it; that itself would have the whole process flush subnormal numbers to 0.
MERGING = (
    "-O3 -march=native -ffp-contract=fast -fassociative-math -freciprocal-math -fno-signed-zeros -fno-trapping-math"
).split()


def resized(type, size, mode, shape=(2, 7, 8, 3)) -> bytes:
    corners, centres = mode
    zero = 0 if type == "INT16" else 9
    x, y = (activation(0.031, zero, s, type) for s in (shape, (shape[0], *size, shape[3])))
    options = {"alignCorners": corners, "halfPixelCenters": centres}
    return one_operator("RESIZE_BILINEAR", [x, indices(size)], y, 2, "ResizeBilinearOptions", **options)


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
def test_all_modes(type):
    random = np.random.default_rng(0)
    forms = [form_of(resized(type, size, mode)) for size in SIZES for mode in MODES]
    assert_held(GENERAL[Resize], [(form, images_of(form, random)) for form in forms])


@pytest.mark.parametrize("flags", [(), MERGING], ids=["plain", "merging"])
def test_real_weights_are_rounded_one_by_one(flags):
    """Photos' worth of pixels at awkward ratios; multiply-adds or another order would change some of the means."""
    random = np.random.default_rng(1)
    sizes = (((1, 16, 16, 40), (35, 41)), ((1, 33, 17, 40), (65, 65)), ((1, 5, 7, 64), (13, 61)))
    forms = [form_of(resized("UINT8", size, mode, shape)) for shape, size in sizes for mode in MODES]
    assert_held(GENERAL[Resize], [(form, images_of(form, random)[:2]) for form in forms], *flags)


def test_runtimes_give_the_same():
    random = np.random.default_rng(2)
    models = [(resized(type, size, mode), type) for type in ("INT8", "UINT8") for size in SIZES for mode in MODES]
    forms = [form_of(data) for data, _ in models]
    compiled = CompiledSteps([GENERAL[Resize](step_of(form)) for form in forms])
    for i, (data, type) in enumerate(models):
        rows = images_of(forms[i], random)
        for runtime in ("tflite", "tflm") if type == "INT8" else ("tflite",):
            (found,) = LAYERS[runtime](data, [[x] for x, *_ in rows]).values()
            ours = np.concatenate([compiled.run(i, *row)[0] for row in rows])
            np.testing.assert_array_equal(ours.reshape(found.shape), found, runtime)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_any_unit(dtype):
    """Also weights below 0 and beyond the unit, and sums of more than 32 bits."""
    random = np.random.default_rng(3)
    cases = []
    for unit in (2, 3, 1000, 1 << 10, 1 << 20):
        sides = []
        for before, after in ((4, 9), (6, 5)):
            low, high = random.integers(0, before, (2, after))
            weight = random.integers(0, unit + 1, after)
            sides.append(Neighbours(low, high, weight))
        x, y = value("x", dtype, (2, 4, 6, 3)), value("y", dtype, (2, 9, 5, 3))
        form = Resize(inputs=(x,), outputs=(y,), rows=sides[0], columns=sides[1], unit=unit)
        cases.append((form, images_of(form, random)))
    assert_held(GENERAL[Resize], cases)


def test_sums_beyond_64_bits_are_refused():
    side = Neighbours(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    x = value("x", np.int8, (1, 1, 1, 1))
    form = Resize(inputs=(x,), outputs=(x,), rows=side, columns=side, unit=1 << 30)
    with pytest.raises(UnsupportedError, match="its sums leave 64 bits"):
        GENERAL[Resize](step_of(form))
