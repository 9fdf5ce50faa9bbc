# SPDX-License-Identifier: Apache-2.0
"""Blocks beside the rescaler in Verilog: sums of two terms, means, and lanes."""

import numpy as np
import pytest

from benchmarks.hardware import cxxrtl
from benchmarks.hardware.cxxrtl import Design
from tests.helpers.rescaler_vectors import Shape, vectors
from tests.helpers.sum_vectors import AddShape, MeanShape
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.program import Origin, Step
from tflm_export.program.reduction import Mean
from tflm_export.program.value import Value
from tflm_export.rescale import IDENTITY
from tflm_export.rtl.means import MeanParameters, averaged

COUNT = 200_000
ADDS = [AddShape(), AddShape(multiplier_bits=1, align_bits=4), AddShape(start_bits=20)]
MEANS = [MeanShape(), MeanShape(multiplier_bits=1)]
LANES = 5
SHAPE = Shape(3, acc_bits=16, shift_bits=4)
DESIGNS = {
    **{shape: Design(shape.block, shape.parameters) for shape in (*ADDS, *MEANS)},
    "own": Design("narrow_lanes", SHAPE.parameters | {"LANES": LANES}),
    "shared": Design("narrow_lanes", SHAPE.parameters | {"LANES": LANES, "SHARED_PARAMETERS": 1}),
}


@pytest.fixture(scope="module")
def blocks() -> dict[str | AddShape | MeanShape, cxxrtl.Block]:
    return dict(zip(DESIGNS, cxxrtl.build_all(list(DESIGNS.values())), strict=True))


@pytest.mark.sweep(3)
@pytest.mark.parametrize("shape", [*ADDS, *MEANS], ids=str)
def test_all_ports_at_random(blocks, shape):
    ports = shape.ports(COUNT)
    np.testing.assert_array_equal(blocks[shape](**ports)["y"], shape.expected(ports))


def test_sums_of_two_are_the_programs(blocks):
    """The form of ADD and SUB that the simulator evaluates, for every pair of int8 inputs."""
    a, b = (grid.reshape(-1) for grid in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    for multipliers, aligns, signs, shift in (((17, 31), (3, 0), (1, 1), 9), ((24, 16), (0, 2), (1, -1), 6)):
        fa, fb = (s * (m << d) for m, d, s in zip(multipliers, aligns, signs, strict=True))
        start = (5 << shift) + (1 << (shift - 1)) - 3 * fa + 7 * fb
        value = Value(key=0, shape=(len(a),), dtype=np.dtype(np.int8))
        form = AlignedSum(
            inputs=(value, value), outputs=(value,), factors=(fa, fb), start=start, shift=shift, clamp=(-100, 127),
            terms=IDENTITY, zero_points=(3, -7),
        )  # fmt: skip
        (wanted,) = form.evaluate(a.astype(np.int8)[None], b.astype(np.int8)[None])
        y = blocks[ADDS[0]](
            a=a, b=b, multiplier_a=multipliers[0] - 16, multiplier_b=multipliers[1] - 16, align_a=aligns[0],
            align_b=aligns[1], negative_a=int(signs[0] < 0), negative_b=int(signs[1] < 0), start=start, shift=shift,
            low=-100, high=127,
        )["y"]  # fmt: skip
        np.testing.assert_array_equal(y, wanted[0])


def test_lanes(blocks):
    """Each lane is a rescaler; lane 0 is the lowest."""
    cases = vectors(SHAPE, 30_000)
    cases = cases[np.random.default_rng(4).permutation(len(cases))[: len(cases) // LANES * LANES]]
    ports, wanted = cases.ports(SHAPE), cases.expected(SHAPE).reshape(-1, LANES)
    bits = {"acc": 16, "multiplier": 2, "shift": 4, "zero_point": 8, "low": 8, "high": 8}
    together = {name: packed(values.reshape(-1, LANES), bits[name]) for name, values in ports.items()}
    np.testing.assert_array_equal(unpacked(blocks["own"](**together)["y"], 8), wanted)
    # The numbers of the first lane for all of them.
    alike = cases[np.repeat(np.arange(0, len(cases), LANES), LANES)]
    alike = type(alike)(cases.accumulator, *(value for name, value in vars(alike).items() if name != "accumulator"))
    one = {name: values[::LANES] for name, values in alike.ports(SHAPE).items()} | {"acc": together["acc"]}
    one = {name: values & ((1 << bits[name]) - 1) if name != "acc" else values for name, values in one.items()}
    y = blocks["shared"](**one)["y"]
    np.testing.assert_array_equal(unpacked(y, 8), alike.expected(SHAPE).reshape(-1, LANES))


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers [vectors, lanes] as one port: integers, or words of 32 bits where it is wider than 64."""
    width = values.shape[1] * bits
    flat = (values[:, :, None] >> np.arange(bits) & 1).reshape(len(values), -1)
    flat = np.pad(flat, ((0, 0), (0, -width % 32))).reshape(len(values), -1, 32)
    words = (flat << np.arange(32)).sum(2)
    return words.astype(np.uint32) if width > 64 else (words << np.arange(0, 32 * words.shape[1], 32)).sum(1)


def unpacked(value: np.ndarray, bits: int) -> np.ndarray:
    """int64 [vectors, lanes] from one port of no more than 64 bits."""
    lanes = value[:, None] >> (bits * np.arange(LANES)) & ((1 << bits) - 1)
    return lanes - ((lanes >> (bits - 1)) << bits)


def mean(count: int, factor: int, start: int, divisor: int) -> Step[Mean]:
    """Of int8 inputs, to int8."""
    x, y = (Value(key=n, shape=(size,), dtype=np.dtype(np.int8)) for n, size in ((0, count), (1, 1)))
    form = Mean(
        inputs=(x,), outputs=(y,), axes=(0,), input_zero_point=0, rescale=IDENTITY,
        factor=factor, start=start, divisor=divisor,
    )  # fmt: skip
    return Step(Origin(0, 0, "MEAN", "y", "a mean"), form)


AVERAGED = [
    averaged(mean(count, *numbers), -128, 127)
    for count, numbers in ((9, (5, 36, 72)), (49, (1, 24, 49)), (64, (1, 32, 64)), (100, (30, -7999, 4096)))
]


def test_means_of_every_sum():
    """With the integers that are written into tables, against the simulator's division."""
    (block,) = cxxrtl.build_all([Design("narrow_mean", MeanParameters.of(AVERAGED).localparams)])
    for each in AVERAGED:
        form, sums = each.step.form, np.arange(each.low, each.high + 1)
        low, high = each.clamp
        shift = each.shift - MeanParameters.of(AVERAGED).shift_min
        y = block(sum=sums, multiplier=each.multiplier, start=each.start, shift=shift, low=low, high=high)["y"]
        inputs = (sums[:, None] + np.arange(form.count)) // form.count  # which add up to the sum
        np.testing.assert_array_equal(inputs.sum(1), sums)
        np.testing.assert_array_equal(y, form.evaluate(inputs.astype(np.int8))[0][:, 0])
