# SPDX-License-Identifier: Apache-2.0
"""Registers between the stages change when outputs come, and nothing else: a new vector with every clock."""

import itertools

import numpy as np
import pytest

from benchmarks.hardware import cxxrtl
from benchmarks.hardware.cxxrtl import Design
from tests.helpers.hardware import ALL
from tests.helpers.rescaler_vectors import Shape

SMALL = {"ACC_BITS": 12, "OUT_BITS": 4, "SHIFT_BITS": 3}
BLOCKS = {"narrow_rescale": SMALL | {"MULTIPLIER_BITS": 2}}
if ALL:
    BLOCKS |= {
        "narrow_rescale_csd": SMALL,
        "tflm_rescale": SMALL | {"SHIFT_MIN": 31},
        "narrow_add": {"MULTIPLIER_BITS": 3, "IN_BITS": 6, "START_BITS": 14, "OUT_BITS": 4, "SHIFT_BITS": 3},
        "narrow_mean": {"SUM_BITS": 8, "MULTIPLIER_BITS": 3, "START_BITS": 12, "OUT_BITS": 4, "SHIFT_BITS": 3},
        "narrow_lanes": Shape(2, acc_bits=8, shift_bits=2, out_bits=4).parameters | {"LANES": 3},
    }
REGISTERS = [f"REGISTER_{stage}" for stage in ("PRODUCT", "SHIFT", "OUTPUT")]
COMBINATIONS = [dict(zip(REGISTERS, values, strict=True)) for values in itertools.product((0, 1), repeat=3)]


@pytest.mark.parametrize("top", BLOCKS)
def test_pipelined_is_combinational(top):
    blocks = cxxrtl.build_all([Design(top, BLOCKS[top] | registers) for registers in COMBINATIONS])
    generator, inputs = np.random.default_rng(3), {}
    for port in blocks[0].ports:
        if port.is_input:
            low = -(1 << (port.bits - 1)) if port.is_signed else 0
            inputs[port.name] = generator.integers(low, low + (1 << port.bits), 3_000)
    wanted = blocks[0](**inputs)["y"]
    assert len(np.unique(wanted)) >= 16
    for registers, block in zip(COMBINATIONS[1:], blocks[1:], strict=True):
        late = sum(registers.values()) - 1
        np.testing.assert_array_equal(block(**inputs)["y"][late:], wanted[: len(wanted) - late], str(registers))


def test_numbers_travel_with_their_accumulator():
    """Where one number would not go through all registers, the outputs above would be those of mixed vectors."""
    registers = dict.fromkeys(REGISTERS, 1)
    (block,) = cxxrtl.build_all([Design("narrow_rescale", BLOCKS["narrow_rescale"] | registers)])
    still = {"acc": 100, "multiplier": 1, "shift": 3, "zero_point": 1, "low": -8, "high": 7}
    for name, other in (("shift", 7), ("zero_point", -3), ("low", 6), ("high", -5), ("multiplier", 0), ("acc", -9)):
        pulse = np.where(np.arange(9) == 4, other, still[name])
        changed = np.flatnonzero(np.diff(block(**still | {name: pulse})["y"][2:]))
        assert set(changed) <= {3, 4}
