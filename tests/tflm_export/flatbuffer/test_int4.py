# SPDX-License-Identifier: Apache-2.0
"""INT4 elements against their definition, and through TensorFlow's own reader of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import nibbles
from tests.helpers.tflite_builder import TFLiteBuilder, pack, unpack
from tflm_export import ModelError
from tflm_export.flatbuffer import int4
from tflm_export.flatbuffer.model import parse

ELEMENTS = st.lists(st.integers(-8, 7), max_size=40)


@given(ELEMENTS)
def test_packing(elements):
    packed = int4.pack(np.array(elements, np.int64))
    assert packed.dtype == np.uint8
    assert packed.tobytes() == nibbles.packed(elements)
    assert packed.size == int4.packed_size(len(elements))


@given(st.binary(max_size=20), st.booleans())
def test_unpacking(data, is_odd):
    """Any bytes; what stands in the half that an odd number of elements leaves over does not matter."""
    count = max(0, 2 * len(data) - is_odd)
    elements = int4.unpack(np.frombuffer(data, np.uint8), (count,))
    assert elements.dtype == np.int8
    assert elements.tolist() == nibbles.unpacked(data, count)


def test_every_byte_there_and_back():
    data = np.arange(256, dtype=np.uint8)
    elements = int4.unpack(data, (2, 256))
    assert (elements.min(), elements.max()) == int4.LIMITS
    np.testing.assert_array_equal(int4.pack(elements), data)
    assert not elements.flags.writeable


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_any_layout_is_packed_in_row_major_order(rows, columns, seed):
    elements = np.random.default_rng(seed).integers(-8, 8, (rows, columns))
    packed = int4.pack(np.asfortranarray(elements, np.float64))
    np.testing.assert_array_equal(int4.unpack(packed, (rows, columns)), elements)


@pytest.mark.parametrize("element", [8, -9, 127])
def test_what_does_not_fit_is_refused(element):
    with pytest.raises(ValueError, match="INT4 holds -8 to 7, got"):
        int4.pack(np.array([0, element]))


def model_of(shape, content: bytes) -> bytes:
    """A model with an INT4 constant of any bytes."""
    b = TFLiteBuilder()
    x = b.input([1, 4])
    b.tensor("packed", shape, type="INT4", scale=0.1, data=[0])
    model = unpack(b.build(x, b.fully_connected(x, 2)))
    model.buffers[model.subgraphs[0].tensors[1].buffer].data = np.frombuffer(content, np.uint8)
    return pack(model)


@pytest.mark.parametrize(("shape", "size"), [((3, 5), 8), ((4, 4), 8), ((1,), 1)])
def test_a_constant_of_a_model(shape, size):
    content = bytes(range(0x17, 0x17 + size))
    tensor = parse(model_of(shape, content)).subgraphs[0].tensors[1]
    assert tensor.stored.tobytes() == content
    assert tensor.data.shape == shape
    assert tensor.data.reshape(-1).tolist() == nibbles.unpacked(content, tensor.data.size)
    assert tensor.limits == (-8, 7)


@pytest.mark.parametrize(("shape", "size"), [((3, 5), 7), ((3, 5), 15), ((4, 4), 9), ((2, -2), 2), ((1 << 30, 8), 1)])
def test_a_buffer_of_another_size_is_damage(shape, size):
    with pytest.raises(ModelError, match=rf"tensor 1 \(packed\) of INT4 .* has a buffer of {size} bytes"):
        parse(model_of(shape, bytes([0x21]) * size))
