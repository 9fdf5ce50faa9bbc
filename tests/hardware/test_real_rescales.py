# SPDX-License-Identifier: Apache-2.0
"""Rescalers in Verilog give the outputs of real models: every rescale of a weighted sum of an inference."""

import numpy as np
import pytest

import tflm_export
from benchmarks.hardware import cxxrtl
from benchmarks.hardware.cxxrtl import Design
from tests.helpers import corpus
from tests.helpers.hardware import ALL
from tests.helpers.real_rescales import any_shift_of_zero, odd, of_width, weighted_rescales
from tests.helpers.rescaler_vectors import Shape
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.grid import grid_of

WIDTHS = (1, 2, 3, 4, 6, 8, 16, "csd", 31) if ALL else (3,)
TINY = ["models/tiny__ad01_int8", "models/tiny__kws_ref_model"]
if ALL:
    TINY += ["models/tiny__pretrainedResnet_quant", "models/tiny__vww_96_int8"]
OTHERS = ["models/mltk__image_example1", "baselines/har_sp_int8"] if ALL else []
# Shifts of all models as they are: up to k + 31, and those that make 0 of everything.
SHAPES = {k: Shape(k, shift_min=24 if k == 31 else 1, shift_bits=6) for k in WIDTHS}


@pytest.fixture(scope="module")
def blocks() -> dict:
    # The stock multipliers have zeros among them.
    designs = [Design(s.block, s.parameters | ({"HIDDEN_BIT": 0} if s.k == 31 else {})) for s in SHAPES.values()]
    return dict(zip(SHAPES, cxxrtl.build_all(designs), strict=True))


def rescaled(block: cxxrtl.Block, shape: Shape, data: bytes) -> tuple[int, int]:
    """How many outputs of a model there are, and how many of them are wrong."""
    if shape.k == 31:
        cases, wanted = weighted_rescales(data, Tflm())
        cases = any_shift_of_zero(cases, shape)
        ports = cases.ports(shape) | {"multiplier": cases.multiplier}
    else:
        grid = grid_of("csd2" if shape.k == "csd" else shape.k)
        narrowed, _ = tflm_export.narrow(data, grid)
        cases, wanted = weighted_rescales(narrowed, Narrow(grid))
        cases = odd(any_shift_of_zero(cases, shape)) if shape.k == "csd" else of_width(cases, shape.k, shape.shifts[1])
        ports = cases.ports(shape)
    return len(wanted), np.count_nonzero(block(**ports)["y"] != wanted)


@pytest.mark.parametrize("k", WIDTHS)
def test_outputs_of_real_models(blocks, k):
    counts = {name: rescaled(blocks[k], SHAPES[k], corpus.read(name)) for name in TINY + OTHERS}
    assert {name: wrong for name, (_, wrong) in counts.items() if wrong} == {}
    assert sum(counts[name][0] for name in TINY) >= (390_000 if ALL else 50_000)
