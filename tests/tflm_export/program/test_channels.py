# SPDX-License-Identifier: Apache-2.0
"""Channels that are constant or that nobody reads: gone, and all that is left is what it was."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import corpus, native
from tests.helpers.dead_channels import network
from tests.helpers.programs import Compiled, Context
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import c, narrow
from tflm_export.arithmetic import LiteRTReference, Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.lowering import lower
from tflm_export.program.passes import drop_channels, simplified
from tflm_export.program.program import Program
from tflm_export.program.weighted_sum import WeightedSum

ARITHMETICS = (Narrow(Grid(1)), Narrow(Grid(8)), Narrow(), Tflm(), LiteRTReference())
NARROW_AND_STOCK = (Narrow(), Tflm())


def rows(program: Program, seed: int = 0) -> list[np.ndarray]:
    """Inputs: everywhere the smallest integer, the largest one, one of both, and random ones."""
    random, arrays = np.random.default_rng(seed), []
    for value in program.main.inputs:
        low, high = value.limits
        integers = random.integers(low, high, (6, *value.shape), endpoint=True)
        integers[0], integers[1], integers[2] = low, high, np.where(integers[2] < (low + high) // 2, low, high)
        arrays.append(integers.astype(value.dtype))
    return arrays


def dropped(data: bytes, arithmetic, multiple: int = 1, seed: int = 0) -> Program:
    """The program after the passes; its outputs, and all channels that are left, are those of the program before."""
    before = simplified(lower(parse(data), arithmetic))
    after = drop_channels(before, multiple)
    arrays = rows(before, seed)
    expected, found = before.run(arrays), after.run(arrays)
    for value in before.main.outputs:
        np.testing.assert_array_equal(found[value.key], expected[value.key], value.label)
    for step in after.main.steps:
        for value in step.form.outputs:
            selection = value.selection
            whole = expected[value.key] if selection is None else expected[selection.key][..., selection.indices]
            np.testing.assert_array_equal(found[value.key], whole, value.label)
    return after


def widths(program: Program) -> list[int]:
    """The channels of all values that the program computes."""
    return [step.form.output.shape[-1] for step in program.main.steps]


@pytest.mark.slow
@given(st.integers(0, (1 << 32) - 1), st.sampled_from(ARITHMETICS), st.sampled_from((1, 2, 4)))
@settings(max_examples=300, deadline=None)
def test_random_networks_are_what_they_were(seed, arithmetic, multiple):
    after = dropped(network(seed), arithmetic, multiple, seed % 1000)
    again = drop_channels(after, multiple)
    assert widths(again) == widths(after)  # once is enough


class Net(TFLiteBuilder):
    """A builder whose layers can be told which channels live."""

    def living(self, y: int, channels, constant: int = 0) -> int:
        """The output of the latest layer, with weights for some channels only; the others' bias is a constant."""
        _, weights, bias = self.graph.operators[-1].inputs
        axis = 3 if self.graph.operators[-1].builtinOptionsType == 2 else 0
        held = self.model.buffers[self.buffer(weights)]
        integers = np.moveaxis(held.data.view(np.int8).reshape(self.shape(weights)).copy(), axis, 0)
        dead = np.setdiff1d(np.arange(len(integers)), channels)
        integers[dead] = 0
        held.data = np.ascontiguousarray(np.moveaxis(integers, 0, axis)).reshape(-1).view(np.uint8)
        held = self.model.buffers[self.buffer(bias)]
        sums = held.data.view(np.int32).copy()
        sums[dead] = constant
        held.data = sums.view(np.uint8)
        return y


def chain(constant: int = 0, zero_point: int = 7, kernel: int = 3) -> bytes:
    """8 channels of which 3 live, through a depthwise layer and a convolution."""
    b = Net()
    x = b.living(b.conv(b.input([1, 6, 5, 3]), 8, name="first", zero_point=zero_point), (1, 2, 6), constant)
    y = b.depthwise(x, name="second", kernel=kernel)
    return b.build(0, b.conv(y, 4, 1, name="last"))


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("multiple", "kept"), [(1, 3), (2, 4), (4, 4)])
def test_a_chain_shrinks_with_its_producer_and_its_consumer(multiple, kept, arithmetic):
    program = dropped(chain(), arithmetic, multiple)
    assert widths(program) == [kept, kept, 4]
    assert [step.form.multiplications for step in program.main.steps] == [30 * 27 * kept, 30 * 9 * kept, 30 * kept * 4]


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
def test_a_constant_that_is_not_the_zero_point_stays_behind_padding(arithmetic):
    assert widths(dropped(chain(constant=1 << 20), arithmetic)) == [8, 8, 4]
    assert widths(dropped(chain(constant=1 << 20, kernel=1), arithmetic)) == [3, 3, 4]  # there is no border


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("activation", "expected"), [("RELU6", [3, 1, 2]), ("NONE", [3, 3, 2])])
def test_channels_that_always_round_to_one_integer_are_constant(activation, expected, arithmetic):
    """Over what the clamp of the layer before leaves: 4 inputs of 0 to 6 and |weights| of 127 give 3,048 at most."""
    b = Net()
    x = b.input([1, 4, 4, 2], scale=1.0, zero_point=0)
    factors = 2.0 ** np.array([-24, -9, -9, -9])  # 2 inputs of 128 are not half of the first step
    real = {"scale": 1.0, "per_channel": True, "bias": False}
    y = b.conv(x, 4, 1, name="first", zero_point=-128, activation=activation, weight_scale=factors, **real)
    z = b.conv(y, 3, 1, name="second", zero_point=0, weight_scale=2.0 ** np.array([-13, -13, -7]), **real)
    assert widths(dropped(b.build(x, b.conv(z, 2, 1, name="last")), arithmetic)) == expected


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
def test_channels_that_nobody_reads_go(arithmetic):
    b = Net()
    x = b.input([1, 4, 4, 3])
    y = b.depthwise(b.conv(x, 8, name="first"), name="second")
    z = b.conv(y, 4, 1, name="last")
    held = b.model.buffers[b.buffer(b.graph.operators[-1].inputs[1])]
    weights = held.data.view(np.int8).reshape(4, 8).copy()
    weights[:, [0, 3, 4]] = 0
    held.data = weights.reshape(-1).view(np.uint8)
    assert widths(dropped(b.build(x, z), arithmetic)) == [5, 5, 4]


def branches(join, living=((0, 1, 2), (2, 3))) -> bytes:
    """Two convolutions of 8 channels, joined, and a layer that reads what they are together."""
    b = Net()
    x = b.input([1, 4, 4, 3])
    parts = [
        b.living(b.conv(x, 8, 1, name=f"part {i}", scale=0.05, zero_point=7), channels, 1 << 12)
        for i, channels in enumerate(living)
    ]
    return b.build(x, b.conv(join(b, parts), 5, 3, name="last"))


JOINS = [
    # Constant in both: gone. In one of them: computed.
    pytest.param(lambda b, parts: b.add(*parts), [4, 4, 4, 5], id="sum"),
    pytest.param(lambda b, parts: b.derived("MUL", parts), [4, 4, 4, 5], id="product"),
    pytest.param(lambda b, parts: b.concat(parts), [3, 2, 5, 5], id="concatenation"),
    pytest.param(lambda b, parts: b.add(parts[0], b.constant([8])), [3, 3, 5], id="sum with a constant"),
    pytest.param(lambda b, parts: b.quantize(b.pool(parts[0])), [3, 3, 3, 5], id="pool and requantize"),
    pytest.param(lambda b, parts: b.conv(parts[0], 4, 1), [3, 4, 5], id="convolution"),
]


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("join", "expected"), JOINS)
def test_joined_channels(join, expected, arithmetic):
    """Behind the joint there is padding, so that constants other than the zero point would stay there."""

    def joined(b, parts):
        y = join(b, parts)
        return b.conv(y, 4, 1, name="between")

    program = dropped(branches(joined), arithmetic)
    assert widths(program) == [*expected[:-1], 4, 5]


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("head", ["mean", "flatten"])
def test_into_a_dense_layer(head, arithmetic):
    b = Net()
    x = b.input([1, 4, 5, 3])
    y = b.living(b.conv(x, 8), (0, 5), 1 << 12)
    flat = b.mean(y) if head == "mean" else b.flatten(y)
    program = dropped(b.build(x, b.fully_connected(flat, 6)), arithmetic)
    assert widths(program) == [2, 2 if head == "mean" else 40, 6]


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
def test_what_is_constant_as_a_whole_vanishes(arithmetic):
    b = Net()
    x = b.input([1, 4, 4, 4])
    dead = b.depthwise(b.living(b.conv(x, 4, name="dead"), ()), name="behind it")
    y = b.add(b.conv(x, 4, name="alive"), dead)
    program = dropped(b.build(x, y), arithmetic)
    assert [step.origin.name for step in program.main.steps] == ["CONV_2D", "ADD"]
    (constant,) = (v for v in program.main.steps[-1].form.inputs if v.is_constant)
    assert constant.shape in ((4,), (1, 4, 4, 4))  # the border may differ


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
def test_outputs_and_several_readers_keep_what_they_need(arithmetic):
    b = Net()
    x = b.input([1, 4, 4, 3])
    y = b.living(b.conv(x, 8, name="shared"), (0, 1, 2, 3))
    first, second = b.conv(y, 2, 1, name="first"), b.softmax(b.reshape(y, [16, 8]))
    assert widths(dropped(b.build(x, [first, second]), arithmetic)) == [8, 2, 8, 8]
    assert widths(dropped(b.build(x, [first, y]), arithmetic)) == [8, 2]
    assert widths(dropped(b.build(x, [first]), arithmetic)) == [4, 2]


@pytest.mark.parametrize("arithmetic", NARROW_AND_STOCK, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("seed", range(20))
def test_no_bound_on_a_sum_grows(seed, arithmetic):
    """What fits 32 bits before does so after, whatever was folded into the bias."""
    before = simplified(lower(parse(network(seed)), arithmetic))
    forms = {s.form.output.key: s.form for s in before.main.steps if isinstance(s.form, WeightedSum)}
    for step in drop_channels(before).main.steps:
        form, selection = step.form, step.form.output.selection
        if isinstance(form, WeightedSum):
            whole = forms[form.output.key if selection is None else selection.key]
            kept = slice(None) if selection is None else selection.indices
            assert (_farthest(form) <= _farthest(whole)[kept]).all()


def _farthest(form: WeightedSum) -> np.ndarray:
    """|start| and the largest |partial sum| of raw int8 inputs."""
    return np.abs(form.start) + 128 * np.abs(form.rows.astype(np.int64)).sum(1)


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("core", ["portable", "cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize("bits", [1, 8, None])
@pytest.mark.parametrize("seed", [3, 14, 29, 47])
def test_c_equals_the_simulator(seed, bits, core):
    data = network(seed)
    data, arithmetic = (data, Tflm()) if bits is None else (narrow(data, bits)[0], Narrow(Grid(bits)))
    before = lower(parse(data), arithmetic)
    inputs = rows(before)
    expected = before.run(inputs)
    context = Context(Compiled(c.translate(data, "model", arithmetic, core)))
    for i in range(len(inputs[0])):
        found = context.invoke(*(np.ascontiguousarray(x[i]) for x in inputs))
        for value, array in zip(before.main.outputs, found, strict=True):
            np.testing.assert_array_equal(array, expected[value.key][i], value.label)


def test_the_c_says_what_is_not_in_it():
    program = c.translate(chain(), "model", Tflm(), "cortex-m4")
    assert "4 of 8 channels, the others are constant or unread" in program.files()["model.c"].decode()
    assert "8 of 20 channels of weighted sums are constant or unread, and left out" in program.summary()


@pytest.mark.sweep(3)
@pytest.mark.parametrize("bits", [1, 4, 8, None])
def test_visual_wake_words_is_half_of_it(bits):
    """971 of its channels have only zero weights; with what follows from them 1,724 of 2,738 need no computation."""
    data = corpus.read("models/tiny__vww_96_int8")
    data, arithmetic = (data, Tflm()) if bits is None else (narrow(data, bits)[0], Narrow(Grid(bits)))
    program = dropped(data, arithmetic)
    forms = [step.form for step in program.main.steps]
    assert sum(form.channels for form in forms if isinstance(form, WeightedSum)) == 1014
    assert math.fsum(form.multiplications for form in forms) == 3_727_313


@pytest.mark.parametrize("name", ["models/tinyengine__vww", "models/tiny__kws_ref_model", "baselines/fsdd_int8"])
@pytest.mark.parametrize("bits", [1, None])
def test_real_models_are_what_they_were(name, bits):
    data = corpus.read(name)
    data, arithmetic = (data, Tflm()) if bits is None else (narrow(data, bits)[0], Narrow(Grid(bits)))
    before = simplified(lower(parse(data), arithmetic))
    arrays = [np.random.default_rng(0).normal(0, 1, (2, *x.shape)) for x in before.main.inputs]
    arrays = [
        array.astype(x.dtype) if x.dtype.kind == "f" else (64 * array).clip(*x.limits).astype(x.dtype)
        for array, x in zip(arrays, before.main.inputs, strict=True)
    ]
    expected, found = before.run(arrays), drop_channels(before, 4).run(arrays)
    for value in before.main.outputs:
        np.testing.assert_array_equal(found[value.key], expected[value.key])
