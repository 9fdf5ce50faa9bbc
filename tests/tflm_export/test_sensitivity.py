# SPDX-License-Identifier: Apache-2.0
"""Gradients of forms: of those that are linear in integers, the change of the output itself, to the last bit."""

import numpy as np
import pytest

from tflm_export.arithmetic import Narrow, Target, Terms
from tflm_export.kept.sensitivity import propagate, pulled
from tflm_export.program.move import joined, padded, regrouped, repeated, same
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.product import Product
from tflm_export.program.program import Origin, Step
from tflm_export.program.requantize import Requantize
from tflm_export.program.softmax import LogSoftmax
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Windows, axis_of, transposed_axis_of

CLAMP = (-(1 << 15), (1 << 15) - 1)
RANDOM = np.random.default_rng(0)


def value(name: str, *shape: int) -> Value:
    return Value(name, np.dtype(np.int16), shape, name)


def weighted(groups: int, channels: int, depth: int, view: Windows, factors) -> WeightedSum:
    weights = RANDOM.integers(-9, 10, (groups, channels, view.height.kernel, view.width.kernel, depth)).astype(np.int8)
    return WeightedSum(
        inputs=(value("x", 1, view.height.size, view.width.size, groups * depth),),
        outputs=(value("y", 1, view.height.output, view.width.output, groups * channels),),
        weights=weights,
        bias=RANDOM.integers(-9, 10, groups * channels),
        input_zero_point=3,
        windows=view,
        rescale=Narrow().rescale(np.broadcast_to(np.float64(factors), (groups * channels,))),
        zero_point=-2,
        clamp=CLAMP,
    )


SAME = Windows(axis_of(5, 3, 2, 1, True), axis_of(6, 3, 1, 1, True))
DILATED = Windows(axis_of(7, 2, 1, 2, False), axis_of(5, 3, 1, 1, False))
TRANSPOSED = Windows(transposed_axis_of(3, 3, 2, 6, True), transposed_axis_of(4, 3, 2, 8, True))
POOLED = Windows(axis_of(4, 2, 2, 1, False), axis_of(6, 2, 2, 1, False))
A, B, C = value("a", 2, 3, 4), value("b", 3, 1), value("c", 2, 3, 4)

FORMS = {
    "convolution": weighted(1, 4, 3, SAME, [1, 2, 4, 1]),
    "dilated": weighted(1, 2, 3, DILATED, 2),
    "grouped": weighted(2, 3, 2, SAME, 1),
    "depthwise": weighted(3, 2, 1, SAME, [1, 2, 1, 4, 1, 2]),
    "transposed": weighted(1, 3, 2, TRANSPOSED, 1),
    "sum": Narrow().sum(Terms((A, B), (4.0, 2.0), (1, -5), (1, -1), np.array([4.0, 2.0])), Target(C, 1.0, 7, CLAMP)),
    "product": Product(
        inputs=(A, B),
        outputs=(C,),
        zero_points=(2, -3),
        rescale=Narrow().rescale(np.float64(2)),
        zero_point=1,
        clamp=CLAMP,
    ),
    "requantize": Requantize(
        inputs=(A,),
        outputs=(C,),
        input_zero_point=110,  # is not crossed by the changes below
        rescale=Narrow().rescale(np.float64(4)),
        below=Narrow().rescale(np.float64(2)),
        below_sign=-1,
        zero_point=1,
        clamp=CLAMP,
    ),
    "average": AveragePool(
        inputs=(value("x", 1, 4, 6, 2),), outputs=(value("y", 1, 2, 3, 2),), windows=POOLED, clamp=CLAMP
    ),
    "maximum": MaxPool(
        inputs=(value("x", 1, 4, 6, 2),), outputs=(value("y", 1, 2, 3, 2),), windows=POOLED, clamp=CLAMP
    ),
    "mean": Narrow().mean(value("x", 2, 4, 3), (1,), 5, 2.0, Target(value("y", 2, 3), 1.0, -4, CLAMP)),
    "same": same(A, value("y", 24)),
    "turned": regrouped(A, value("y", 4, 2, 3), (2, 3, 4), (2, 0, 1)),
    "repeated": repeated(B, value("y", 2, 3), (2, 3), (0, 1)),
    "joined": joined((A, C), value("y", 2, 6, 4), 1),
    "padded": padded(A, value("y", 3, 5, 4), (1, 1, 0), 9),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_change_of_an_output_is_the_gradient_times_that_of_an_input(name):
    form = FORMS[name]
    # Where elements stay the largest, or are divided, they are 24 apart, which no number of them rounds.
    apart = 24 if name in ("average", "mean", "maximum", "requantize") else 1
    inputs = [(apart * (RANDOM.permutation(3 * v.size) - v.size)).reshape(3, *v.shape) for v in form.inputs]
    inputs = [array.astype(np.int16) for array in inputs]
    (output,) = form.evaluate(*inputs)
    gradient = RANDOM.integers(-3, 4, output.shape).astype(np.float32)
    found = pulled(form, gradient, inputs, output)
    assert len(found) == len(inputs)
    for i, part in enumerate(found):
        assert part.shape == inputs[i].shape
        # Means are exact where all of their elements change alike.
        shape = (3, *(1,) * (inputs[i].ndim - 1)) if name in ("average", "mean") else inputs[i].shape
        change = np.broadcast_to(max(1, apart // 3) * RANDOM.integers(0, 2, shape), inputs[i].shape).astype(np.int16)
        (moved,) = form.evaluate(*(x + change if j == i else x for j, x in enumerate(inputs)))
        expected = (gradient * (moved.astype(np.float64) - output)).sum((*range(1, output.ndim),))
        np.testing.assert_allclose((part * change).sum((*range(1, change.ndim),)), expected, rtol=1e-5)


def test_a_clamp_lets_nothing_through_at_its_ends():
    form = FORMS["convolution"]
    inputs = RANDOM.integers(-30, 30, (2, *form.inputs[0].shape)).astype(np.int16)
    gradient = np.ones((2, *form.output.shape), np.float32)
    for end in CLAMP:
        output = np.full(gradient.shape, end, np.int16)
        assert not pulled(form, gradient, [inputs], output)[0].any()


def test_gradients_add_up_over_all_ways_and_end_where_none_is_known():
    x, y, z, w, v = (value(name, 1, 4) for name in "xyzwv")
    unknown = LogSoftmax.__new__(LogSoftmax)  # a form without a gradient here
    object.__setattr__(unknown, "inputs", (z,))
    object.__setattr__(unknown, "outputs", (v,))
    terms = Narrow().sum(Terms((y, x), (1.0, 2.0), (0, 0), (1, 1), np.array([1.0, 2.0])), Target(z, 1.0, 0, CLAMP))
    double = Requantize(
        inputs=(x,),
        outputs=(y,),
        input_zero_point=0,
        rescale=Narrow().rescale(np.float64(4)),
        zero_point=0,
        clamp=CLAMP,
    )
    origin = Origin(0, 0, "", "", "")
    steps = [Step(origin, double), Step(origin, terms), Step(origin, same(z, w)), Step(origin, unknown)]
    values = {name: np.full((2, 1, 4), 1, np.int16) for name in "xyzwv"}
    seen = []
    one = np.ones((2, 1, 4), np.float32)
    propagate(steps, values, {"w": one, "v": one}, lambda step, gradient: seen.append((step.form, gradient[0, 0, 0])))
    assert seen == [(unknown, 1), (steps[2].form, 1), (terms, 1), (double, 1)]


def test_factors_that_saturate_every_output_let_nothing_through():
    """They may be beyond float32."""
    form = weighted(1, 3, 3, SAME, [1, 2.0**140, 2])
    inputs = RANDOM.integers(-99, 99, (1, *form.inputs[0].shape)).astype(np.int16)
    output = np.zeros((1, *form.output.shape), np.int16)
    gradient = np.zeros(output.shape, np.float32)
    gradient[..., 1] = 1
    (found,) = pulled(form, gradient, (inputs,), output)
    assert not found.any()
    assert np.isfinite(pulled(form, np.ones_like(gradient), (inputs,), output)[0]).all()
