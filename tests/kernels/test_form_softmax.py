# SPDX-License-Identifier: Apache-2.0
"""Softmax of all types, its logarithm and vectors of length one in C: to what the forms evaluate to."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_held, form_of, images_of, value
from tests.helpers.operators import activation, one_operator
from tests.helpers.runtimes import LAYERS
from tflm_export.arithmetic import Tflm
from tflm_export.c.forms import GENERAL
from tflm_export.c.step import UnsupportedError
from tflm_export.program.normalization import Normalization
from tflm_export.program.softmax import LogSoftmax, Softmax, SoftmaxInt16, interpolated

pytestmark = native.requires_gcc

TYPES = (("INT8", "INT8"), ("UINT8", "UINT8"), ("INT8", "INT16"), ("INT16", "INT16"))
LOWEST = {"INT8": -128, "UINT8": 0, "INT16": -32768}
OUTPUT_SCALES = {"INT8": 1 / 256, "UINT8": 1 / 256, "INT16": 1 / 65536}


def softmax(types, scale, shape, beta=1.0) -> bytes:
    zero = 0 if types[0] == "INT16" else 3
    y = activation(1 / 32768, 0, shape, "INT16") if types[0] == "INT16" else None
    y = y or activation(OUTPUT_SCALES[types[1]], LOWEST[types[1]], shape, types[1])
    return one_operator("SOFTMAX", [activation(scale, zero, shape, types[0])], y, 2, "SoftmaxOptions", beta=beta)


def log_softmax(scale, shape) -> bytes:
    y = activation(16 / 256, 127, shape)
    return one_operator("LOG_SOFTMAX", [activation(scale, 9, shape)], y, 2, "LogSoftmaxOptions")


def normalised(type, shape, zero_point) -> bytes:
    y = activation(1 / 128, 128 if type == "UINT8" else 0, shape, type)
    x = activation(0.031, zero_point, shape, type)
    return one_operator("L2_NORMALIZATION", [x], y, 2 if type == "INT8" else 1, "L2NormOptions")


def assert_models_held(models) -> None:
    forms = [form_of(data) for data in models]
    random = np.random.default_rng(len(forms))
    (emit,) = {GENERAL[type(form)] for form in forms}
    near = [np.clip(np.rint(random.normal(0, 4, form.inputs[0].shape)), -128, 127) for form in forms]
    near = [
        x - form.inputs[0].limits[0] // 2 * (form.inputs[0].limits[0] == 0) for x, form in zip(near, forms, strict=True)
    ]
    sets = [
        [*images_of(form, random), [np.clip(x, *form.inputs[0].limits).astype(form.inputs[0].dtype)]]
        for form, x in zip(forms, near, strict=True)
    ]
    assert_held(emit, list(zip(forms, sets, strict=True)))


@pytest.mark.sweep(3)
@pytest.mark.parametrize("types", TYPES[:3], ids="-".join)
def test_softmax(types):
    """From so flat that all exponentials count to so steep that one does."""
    shapes = ((1, 2), (3, 10), (2, 3, 1), (1, 1001))
    assert_models_held(
        softmax(types, scale, shape, beta)
        for scale in (1e-5, 0.003, 0.047, 0.9, 7.0)
        for shape in shapes
        for beta in (1.0, 0.3)
    )


@pytest.mark.parametrize("scale", [1e-6, 0.01, 0.05])
def test_as_many_classes_as_the_sum_has_bits_for(scale):
    """8191 of the largest exponential are 2**32 - 2**19."""
    form = form_of(softmax(("INT8", "INT8"), scale, (2, 8191)))
    assert_held(GENERAL[Softmax], [(form, images_of(form, np.random.default_rng(0)))])
    with pytest.raises(UnsupportedError, match="sum over 8192 classes can leave 32 bits; 8191 classes are sure not to"):
        GENERAL[Softmax](step_of(form_of(softmax(("INT8", "INT8"), scale, (1, 8192)))))


def test_softmax_of_int16():
    shapes = ((1, 2), (3, 10), (2, 3, 1), (1, 1001))
    assert_models_held(
        softmax(("INT16", "INT16"), scale, shape, beta)
        for scale in (1e-6, 1e-4, 10 / 65535, 4e-4, 0.01, 1.0)
        for shape in shapes
        for beta in (1.0, 0.3)
    )


def test_a_mantissa_that_rounds_up_to_two():
    """The table of reciprocals ends where a sum of all ones is rounded to."""
    form = form_of(softmax(("INT16", "INT16"), 4e-4, (1, 9)))
    differences = np.arange(0, -65536, -1)
    places = np.clip(form.rescale.apply(differences) + 32767, -32768, 32767)
    shares = interpolated(form.exponential, places)
    (rest,) = np.flatnonzero(shares == (1 << 18) - 1 - 8 * shares[0])[:1]
    row = np.array([[32767] * 8 + [32767 + differences[rest]]], np.int16)
    assert_held(GENERAL[SoftmaxInt16], [(form, [[row]])])


def test_int16_classes_end_where_31_bits_do():
    form = form_of(softmax(("INT16", "INT16"), 1e-4, (1, 65538)))
    assert_held(GENERAL[SoftmaxInt16], [(form, images_of(form, np.random.default_rng(0)))])
    longer = form_of(softmax(("INT16", "INT16"), 1e-4, (1, 65539)))
    with pytest.raises(UnsupportedError, match="sum over 65539 classes"):
        GENERAL[SoftmaxInt16](step_of(longer))


def test_log_softmax():
    shapes = ((1, 2), (3, 10), (2, 3, 1), (1, 1001), (1, 4095))
    assert_models_held(log_softmax(scale, shape) for scale in (0.0031, 0.047, 0.1, 0.9, 3.7) for shape in shapes)
    with pytest.raises(UnsupportedError, match="4096 classes can leave 32 bits; 4095"):
        GENERAL[LogSoftmax](step_of(form_of(log_softmax(0.1, (1, 4096)))))


def test_log_softmax_rounds_halves_away_from_zero():
    """Of a sum of 1, whose logarithm is 0: differences are then halves of the output's steps."""
    form = form_of(log_softmax(0.1, (1, 3)))
    halves = dataclasses.replace(
        form,
        exponentials=np.array([1 << 19] + [0] * 200),
        rescale=Tflm().stock(2.0 ** (form.shift - 1)),
        back=Tflm().stock(2.0**-22),
    )
    row = np.array([[100, 99, 97]], np.int8)
    assert halves.evaluate(row)[0].tolist() == [[127, 126, 125]]
    assert_held(GENERAL[LogSoftmax], [(halves, [[row]])])


def test_normalization():
    """Rows of zeros and of ones among them, and the longest that the runtimes take."""
    shapes = ((1, 6, 6, 4), (1, 300, 1), (1, 200, 2), (1, 9000), (1, 32767))
    cases = [("INT8", 0), ("INT8", -128), ("INT8", 127), ("UINT8", 121), ("UINT8", 0)]
    forms = [form_of(normalised(type, shape, zero)) for type, zero in cases for shape in shapes]
    random = np.random.default_rng(0)
    sets = []
    for form in forms:
        (x,), zero = form.inputs, form.input_zero_point
        small = np.clip(random.integers(-1, 2, x.shape) + zero, *x.limits).astype(x.dtype)
        sets.append([*images_of(form, random), [np.full(x.shape, zero, x.dtype)], [small]])
    assert_held(GENERAL[Normalization], list(zip(forms, sets, strict=True)))


def test_squares_beyond_32_bits_are_refused():
    form = form_of(normalised("INT8", (1, 4), 0))
    longer = dataclasses.replace(form, inputs=(value("x", np.int16, (2, 4)),), outputs=(value("y", np.int16, (2, 4)),))
    with pytest.raises(UnsupportedError, match="the squares of 4 elements of INT16 can leave 32 bits"):
        GENERAL[Normalization](step_of(longer))


MODELS = {
    "softmax": (softmax(("INT8", "INT8"), 0.047, (1, 40)), ("tflite", "tflm")),
    "softmax of many": (softmax(("INT8", "INT8"), 0.047, (1, 5000)), ("tflite", "tflm")),
    "softmax of uint8": (softmax(("UINT8", "UINT8"), 0.047, (1, 40)), ("tflite",)),
    "softmax to int16": (softmax(("INT8", "INT16"), 0.047, (1, 40)), ("tflm",)),
    "softmax of int16": (softmax(("INT16", "INT16"), 2e-4, (1, 40)), ("tflm",)),
    "log_softmax": (log_softmax(0.047, (1, 40)), ("tflite", "tflm")),
    "normalization": (normalised("INT8", (1, 12, 12), 5), ("tflite", "tflm")),
    "normalization of uint8": (normalised("UINT8", (1, 12, 12), 121), ("tflite",)),
}


def test_runtimes_give_the_same():
    """The C of each model, without the simulator, against every runtime that has a kernel for it.

    Where a row is so flat that all shares round to 0 (all of 1000 classes equal, say), both runtimes abort.
    """
    forms = [form_of(data) for data, _ in MODELS.values()]
    compiled = CompiledSteps([GENERAL[type(form)](step_of(form)) for form in forms])
    for i, (name, (data, runtimes)) in enumerate(MODELS.items()):
        rows = images_of(forms[i], np.random.default_rng(i))
        rows = rows[:1] if "many" in name else rows
        for runtime in runtimes:
            (found,) = LAYERS[runtime](data, rows).values()
            ours = np.stack([compiled.run(i, *row)[0] for row in rows])
            np.testing.assert_array_equal(ours.reshape(found.shape), found, f"{name} on {runtime}")
