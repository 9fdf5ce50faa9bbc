# SPDX-License-Identifier: Apache-2.0
"""In-place edits: they land where they should, nowhere else, and contradictions are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflm_export import ModelError
from tflm_export.flatbuffer.writer import Edits

DATA = bytes(range(64))


def test_nothing():
    assert Edits(DATA).finish() == DATA


@given(st.sampled_from(["<f4", "i1", "<i4"]), st.integers(0, 40), st.integers(1, 6), st.integers(0, 2**32))
def test_an_edit_changes_its_bytes_alone(dtype, offset, count, seed):
    old = np.frombuffer(DATA, dtype, count, offset)
    new = np.random.default_rng(seed).integers(-100, 100, count)
    edits = Edits(DATA)
    edits.set(offset, old, new, "scales")
    edited = edits.finish()
    end = offset + old.nbytes
    assert (edited[:offset], edited[end:]) == (DATA[:offset], DATA[end:])
    np.testing.assert_array_equal(np.frombuffer(edited, dtype, count, offset), new)
    assert bytes(range(64)) == DATA


def test_values_are_stored_in_the_old_type_and_any_layout():
    old = np.frombuffer(DATA, "<f4", 4, 8).reshape(2, 2)
    new = np.array([[0.1, 0.2], [0.3, 0.4]])
    edits = Edits(DATA)
    edits.set(8, old, new.T, "scales")
    expected = new.T.astype(np.float32).ravel()
    np.testing.assert_array_equal(np.frombuffer(edits.finish(), "<f4", 4, 8), expected)


def test_the_same_edit_twice_is_one():
    old = np.frombuffer(DATA, "i1", 4, 8)
    edits = Edits(DATA)
    for _ in range(2):
        edits.set(8, old, np.array([1, 2, 3, 4]), "weights")
    assert edits.finish() == DATA[:8] + bytes([1, 2, 3, 4]) + DATA[12:]


def test_users_that_disagree_are_refused_by_name():
    old = np.frombuffer(DATA, "i1", 4, 8)
    edits = Edits(DATA)
    edits.set(8, old, np.array([1, 2, 3, 4]), "weights a")
    with pytest.raises(ModelError, match="weights b: its bytes are shared"):
        edits.set(8, old, np.array([1, 2, 3, 5]), "weights b")


@pytest.mark.parametrize(("offset", "count"), [(6, 4), (10, 4), (8, 2), (9, 2), (0, 32)])
def test_overlapping_edits_that_disagree_are_refused(offset, count):
    """Not only equal offsets: a damaged file may let two vectors overlap."""
    edits = Edits(DATA)
    edits.set(8, np.frombuffer(DATA, "i1", 4, 8), np.array([1, 2, 3, 4]), "weights a")
    with pytest.raises(ModelError, match=r"weights b|overlap at offset"):  # noqa: PT012
        edits.set(offset, np.frombuffer(DATA, "i1", count, offset), np.full(count, 9), "weights b")
        edits.finish()


@pytest.mark.parametrize("offset", [4, 12])
def test_neighbouring_edits_are_fine(offset):
    edits = Edits(DATA)
    for place in (8, offset):
        edits.set(place, np.frombuffer(DATA, "i1", 4, place), np.full(4, 9), "weights")
    assert {i for i, (a, b) in enumerate(zip(DATA, edits.finish(), strict=True)) if a != b} == (
        {*range(8, 12), *range(offset, offset + 4)} - {9}
    )


def test_another_size_is_a_programming_error():
    with pytest.raises(ValueError, match=r"scales: 12 bytes cannot replace 8"):
        Edits(DATA).set(8, np.frombuffer(DATA, "<f4", 2, 8), np.ones(3), "scales")
