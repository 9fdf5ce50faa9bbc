# SPDX-License-Identifier: Apache-2.0
"""Every rescale of a weighted sum in an inference of a real model, as the simulator computes it."""

import dataclasses

import numpy as np

from tests.helpers.rescaler_vectors import Shape, Vectors, joined
from tflm_export.arithmetic import Arithmetic
from tflm_export.flatbuffer.model import parse
from tflm_export.lowering import lower
from tflm_export.program.form import wrapped
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.rtl.vectors import random_inputs


def weighted_rescales(data: bytes, arithmetic: Arithmetic) -> tuple[Vectors, np.ndarray]:
    """What rescalers get in an inference on random inputs, with the model's own numbers, and the simulator's outputs.

    Args:
      data: an int8 model.
      arithmetic: the simulator's.
    """
    program = lower(parse(data), arithmetic)
    values = program.run(random_inputs(program))
    parts, outputs = [], []
    for step in program.main.steps:
        form = step.form
        if isinstance(form, WeightedSum) and form.output.dtype == np.int8:
            (image,) = (value.among(values) for value in form.inputs)
            sums = wrapped(form.sums(image.reshape(-1, *form.image_shape[1:])))
            numbers = (form.rescale.multiplier, form.rescale.shift, form.zero_point, *form.clamp)
            columns = [sums, *(np.broadcast_to(number, sums.shape) for number in numbers)]
            parts.append(Vectors(*(np.asarray(column, np.int64).reshape(-1) for column in columns)))
            outputs.append(form.output.among(values).reshape(-1).astype(np.int64))
    return joined(*parts), np.concatenate(outputs)


def of_width(cases: Vectors, k: int, largest: int) -> Vectors:
    """With multipliers of exactly k bits, as a hidden top bit needs them: zeros go behind narrower ones, which changes
    nothing, and 0 is the smallest with a shift that leaves nothing.

    Args:
      cases: with multipliers of up to k bits.
      k: bits.
      largest: shift.
    """
    zero = cases.multiplier == 0
    missing = k - np.frexp(np.where(zero, 1 << (k - 1), cases.multiplier).astype(np.float64))[1]
    multiplier = np.where(zero, 1 << (k - 1), cases.multiplier << missing)
    shift = np.where(zero, largest, cases.shift + missing)
    return dataclasses.replace(cases, multiplier=multiplier, shift=shift)


def odd(cases: Vectors) -> Vectors:
    """With multipliers that have no zeros behind them."""
    zeros = np.frexp((cases.multiplier & -cases.multiplier).astype(np.float64))[1] - 1
    zeros = np.maximum(zeros, 0)  # 0 stays
    return dataclasses.replace(cases, multiplier=cases.multiplier >> zeros, shift=cases.shift - zeros)


def any_shift_of_zero(cases: Vectors, shape: Shape) -> Vectors:
    """With a shift that a block has where the multiplier is 0."""
    return dataclasses.replace(cases, shift=np.where(cases.multiplier == 0, shape.shifts[0], cases.shift))
