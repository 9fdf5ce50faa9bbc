# SPDX-License-Identifier: Apache-2.0
"""Damaged, cut and foreign files: only ever a ModelError."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import ModelError, check, narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.flatbuffer.reader import UINT16, UINT32, Reader


def small_model() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    y = b.add(b.conv(x, 2, 1, name="a"), b.depthwise(x, name="b"))
    return b.build(x, b.softmax(b.fully_connected(b.mean(y), 3)))


SMALL, NETWORK = small_model(), residual_network()


def attempt(data: bytes) -> bool:
    """Runs all of the library on bytes; whether it accepted them. Anything but a ModelError is a failure."""
    try:
        parse(data)
        narrowed, _ = narrow(data, 2)
        check(narrowed, 2)
    except ModelError:
        return False
    assert len(data) <= len(narrowed) <= 4 * len(data)  # as it was, or with copies of shared constants in front
    return True


@pytest.mark.parametrize(
    "function", [parse, lambda d: narrow(d, 4), lambda d: check(d, 4)], ids=["parse", "narrow", "check"]
)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x1c", "not a TFLite model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "not a TFLite model"),
        (b"TFL3", "not a TFLite model"),
        (b"\x1c\0\0\0TFL2" + bytes(100), "not a TFLite model"),
        (b"\x1c\0\0\0TFL3", "damaged or cut short"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "damaged or cut short"),
        (b"PK\x03\x04" + bytes(64), "not a TFLite model"),
    ],
)  # fmt: skip
def test_no_model(function, data, message):
    with pytest.raises(ModelError, match=message):
        function(data)


@pytest.mark.parametrize("data", [SMALL, NETWORK], ids=["small", "network"])
def test_truncation(data):
    """A cut in the first half always loses what the root points at; a later one may lose nothing but padding."""
    lengths = sorted({*range(64), *np.linspace(0, len(data) - 1, 300).astype(int).tolist(), len(data) - 1})
    assert not any(attempt(data[:length]) for length in lengths if length < len(data) // 2)
    for length in lengths:
        attempt(data[:length])
    assert attempt(data)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=1500)
def test_flipped_bytes(flips):
    damaged = bytearray(SMALL)
    for position, mask in flips:
        damaged[position] ^= mask
    attempt(bytes(damaged))


@pytest.mark.slow
@given(
    st.integers(0, len(SMALL) // 4 - 1), st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31), 2**16, 2**30, 4, 0x7F7F7F7F])
)
@settings(max_examples=1500)
def test_overwritten_words(word, value):
    """Whole offsets and lengths: far outside, negative, pointing at themselves."""
    damaged = bytearray(SMALL)
    struct.pack_into("<i", damaged, 4 * word, value)
    attempt(bytes(damaged))


@given(st.binary(max_size=300))
def test_random_bytes_after_the_identifier(tail):
    assert not attempt(b"\x08\0\0\0TFL3" + tail)


def test_every_single_byte_of_the_structure():
    """All bytes of the smallest model, each set to the values most likely to mislead."""
    b = TFLiteBuilder()
    x = b.input([1, 2])
    data = b.build(x, b.fully_connected(x, 2))
    for position in range(len(data)):
        for value in (0x00, 0x7F, 0xFF):
            attempt(data[:position] + bytes([value]) + data[position + 1 :])


def test_reads_are_bounded():
    reader = Reader(bytes(range(8)))
    assert reader.unpack(UINT32, 4) == 0x07060504
    for offset in (-1, 5, 8, 2**40):
        with pytest.raises(ModelError, match=f"offset {offset} leaves its 8 bytes"):
            reader.unpack(UINT32, offset)
    assert reader.unpack(UINT16, 6) == 0x0706


def test_vectors_are_bounded_views():
    data = struct.pack("<I4f", 4, 1, 2, 3, 4)
    vector = Reader(data).vector(0, "<f4")
    assert vector.offset == 4
    np.testing.assert_array_equal(vector.values, [1, 2, 3, 4])
    assert not vector.values.flags.writeable
    for length in (5, 2**31, 2**32 - 1):
        with pytest.raises(ModelError, match=f"vector of {length} x 4 bytes"):
            Reader(struct.pack("<I", length) + data[4:]).vector(0, "<f4")
