# SPDX-License-Identifier: Apache-2.0
"""The harness of these tests: what a kernel must not do fails the test that calls it, and only that."""

import functools

import numpy as np
import pytest

from tests.helpers import native

pytestmark = native.requires_gcc

_FUNCTIONS = b"""
#include <stdint.h>

void sound(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[2] = x[2]; y[0] = x[0]; y[1] = scratch[2]; }
void reads_behind(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[0] = y[0] = y[1] = x[3]; }
void reads_before(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[0] = y[0] = y[1] = x[-1]; }
void writes_behind(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[0] = y[0] = y[1] = y[2] = x[0]; }
void writes_before(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[0] = y[0] = y[1] = y[-1] = x[0]; }
void writes_behind_scratch(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[3] = y[0] = y[1] = x[0]; }
void writes_its_input(int8_t *x, int8_t *y, int8_t *scratch) { scratch[0] = y[0] = y[1] = x[0] = 0; }
void reads_scratch(const int8_t *x, int8_t *y, int8_t *scratch) { y[0] = x[0]; y[1] = scratch[1]; }
void forgets_an_output(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[0] = y[0] = x[0]; }
void overflows(const int8_t *x, int8_t *y, int8_t *scratch) {
  scratch[0] = y[0] = y[1] = (int8_t)((x[0] + INT32_MAX) >> 8);
}
void shifts(const int8_t *x, int8_t *y, int8_t *scratch) { scratch[0] = y[0] = y[1] = (int8_t)(1 << (x[0] + 40)); }
"""


@functools.cache
def functions():
    return native.library({"functions.c": _FUNCTIONS})


def call(function: str) -> list[int]:
    x = np.array([5, 6, 7], np.int8)
    return native.call(function, x, output_size=2, scratch_size=3, library=functions()).tolist()


def test_a_sound_function():
    assert call("sound") == [5, 7]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("reads_behind", "byte 3 of argument 0, which has 3"),
        ("reads_before", "byte -1 of argument 0"),
        ("writes_behind", "byte 2 of output, which has 2"),
        ("writes_before", "output: written before its start"),
        ("writes_behind_scratch", "scratch: written behind its end"),
        ("writes_its_input", "byte 0 of argument 0"),
        ("reads_scratch", "depends on what its memory holds"),
        ("forgets_an_output", "depends on what its memory holds"),
        ("overflows", "overflows: undefined behaviour"),
        ("shifts", "shifts: undefined behaviour"),
    ],
)
def test_what_fails(function, message):
    with pytest.raises(AssertionError, match=message):
        call(function)
