# SPDX-License-Identifier: Apache-2.0
"""The kernels that read weights as they stand in a file: plain C on the host, assembly on emulated cores."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.helpers import definition, native
from tests.helpers.cases import check, dense_cases, depthwise_cases_of_fours, windowed_cases
from tflm_export import kernels

pytestmark = native.requires_gcc


def depth4(depth: int) -> int:
    return -(-depth // 4) * 4


@given(windowed_cases(depthwise=False))
@settings(max_examples=100)
def test_conv_2d(case):
    window, layer, image = case
    view = definition.centred(definition.windows(image, window), layer.input_zero)
    rows = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    accumulators = view.reshape(*view.shape[:3], -1) @ rows.T + layer.bias
    check("narrow_conv_2d_in_place", (window,), layer, image, accumulators, 9 * depth4(rows.shape[1]))


@given(dense_cases())
@settings(max_examples=100)
def test_fully_connected(case):
    layer, rows, accumulators = case
    check("narrow_fully_connected_in_place", (*rows.shape, len(layer.weights)), layer, rows, accumulators)


@given(depthwise_cases_of_fours())
@settings(max_examples=100)
def test_depthwise_conv_2d(case):
    window, layer, image, accumulators = case
    check("narrow_depthwise_conv_2d_in_place", (window,), layer, image, accumulators, layer.weights.size, np.transpose)


def c_array(name: str, values: np.ndarray) -> str:
    return f"static const {values.dtype}_t {name}[] = {{{', '.join(map(str, values.reshape(-1).tolist()))}}};\n"


# Depths of whole blocks of 16, with words and with bytes left over; pixels left over; an odd number of channels.
@pytest.mark.sweep(3)
@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m7"])
@pytest.mark.parametrize(
    ("inputs", "kernel", "outputs", "size"), [(16, 1, 5, 6), (8, 3, 3, 7), (5, 3, 4, 5), (12, 2, 8, 4)]
)
def test_assembly(cpu, inputs, kernel, outputs, size, tmp_path):
    for module in ("unicorn", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks.emulators import firmware, unicorn_engine

    random = np.random.default_rng(7)
    pad = kernel // 2
    side = size - kernel + 1 + 2 * pad
    depth, pixels = kernel * kernel * inputs, side * side
    image = random.integers(-128, 128, (3, size, size, inputs)).astype(np.int8)
    weights = random.integers(-127, 128, (outputs, depth)).astype(np.int8)
    start, shift = random.integers(-9999, 9999, outputs).astype(np.int32), random.integers(8, 13, outputs)
    window = (
        f"{{1, {size}, {size}, {inputs}, {side}, {side}, {outputs}, {kernel}, {kernel}, 1, 1, 1, 1, {pad}, {pad}, 9}}"
    )
    source = f"""#include "narrow_in_place.h"
#include "layer.h"
{c_array("weights", weights)}{c_array("start", start)}{c_array("shift", shift.astype(np.int8))}
void layer_invoke(const int8_t *input, int8_t *output) {{
  static const narrow_window window = {window};
  static const narrow_rescale rescale = {{.start = start, .shift = shift}};
  static int32_t scratch[{9 * depth4(depth) // 4}];
  narrow_conv_2d_in_place_shift(&window, &rescale, weights, input, output, (int8_t *)scratch);
  narrow_fully_connected_in_place_shift(1, {depth}, {outputs}, &rescale, weights, input, output + {pixels * outputs});
}}
"""
    header = f"""#include <stdint.h>
#define LAYER_INPUT_BYTES {image[0].size}
#define LAYER_OUTPUT_BYTES {(pixels + 1) * outputs}
void layer_invoke(const int8_t *input, int8_t *output);
"""
    files = kernels.sources(["narrow_conv_2d_in_place.c", "narrow_fully_connected_in_place.c"])
    files |= {"layer.c": source.encode(), "layer.h": header.encode()}
    sizes = ("LAYER_INPUT_BYTES", "LAYER_OUTPUT_BYTES")
    built = firmware.link("layer", files, "layer_invoke", sizes, cpu, tmp_path, "zig")
    machine = unicorn_engine.Machine(built, [])
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=9).astype(np.int64)
    taps = [padded[:, y : y + side, x : x + side] for y in range(kernel) for x in range(kernel)]
    columns = np.stack(taps, 3).reshape(len(image), pixels, depth)
    dense = image.reshape(len(image), -1)[:, None, :depth].astype(np.int64)
    sums = np.concatenate([columns, dense], 1) @ weights.T.astype(np.int64) + start
    expected = np.clip(sums >> shift, -128, 127).reshape(len(image), -1)
    for row, outputs_of_row in zip(image, expected, strict=True):
        np.testing.assert_array_equal(machine.infer(row, expected.shape[1]), outputs_of_row)
