# SPDX-License-Identifier: Apache-2.0
"""What builds in tests start from, on standard output.

usage: generate.py model                    a stock model
       generate.py expected DIGITS.tflite   a C header with inputs for a narrowed model and the simulator's outputs
"""

import pathlib
import sys

import numpy as np

from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate

ROWS = 4


def model() -> bytes:
    from tests.helpers.tflite_builder import residual_network

    return residual_network(batch=1)


def expected(data: bytes) -> bytes:
    """`inputs[ROWS][...]` and `outputs[ROWS][...]`, int8."""
    shape = parse(data).subgraphs[0].inputs[0].shape
    rows = np.random.default_rng(0).integers(-128, 128, (ROWS, *shape[1:])).astype(np.int8)
    arrays = {"inputs": rows, "outputs": simulate(data, rows, "narrow").outputs[0]}
    lines = ["#include <stdint.h>", f"enum {{ ROWS = {ROWS} }};"]
    for name, array in arrays.items():
        values = ", ".join("{" + ", ".join(map(str, row.ravel())) + "}" for row in array)
        lines.append(f"static const int8_t {name}[ROWS][{array[0].size}] = {{{values}}};")
    return "\n".join([*lines, ""]).encode()


if __name__ == "__main__":
    what, *path = sys.argv[1:]
    sys.stdout.buffer.write(model() if what == "model" else expected(pathlib.Path(*path).read_bytes()))
