# SPDX-License-Identifier: Apache-2.0
"""Models in another form, read with TensorFlow Lite Micro's own schema bindings and run."""

import numpy as np
import pytest

from tests.helpers.runtimes import RUNTIMES, differences, random_rows
from tests.helpers.tflite_builder import TFLiteBuilder, schema, unpack
from tflm_export import ModelError
from tflm_export.flatbuffer.metadata_buffers import add_metadata, read_metadata
from tflm_export.flatbuffer.model import parse
from tflm_export.flatbuffer.rewrite import NewTensor, Rewrite


def chain() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3])
    return b.build(x, b.pool(b.conv(x, 4)))


def quantisation(tensor) -> dict:
    return {"scale": tensor.quantization.scale.values, "zero_point": tensor.quantization.zero_point}


def test_without_changes_every_part_stays():
    data = add_metadata(chain(), {"notes": b"kept"})
    again = Rewrite(parse(data)).finish()
    assert again.endswith(data)
    assert read_metadata(again, "notes") == b"kept"
    before, after = parse(data), parse(again)
    assert [t.name for t in after.tensors] == [t.name for t in before.tensors]
    assert [o.name for o in after.operators] == [o.name for o in before.operators]
    rows = random_rows(before, 2)
    for runtime in RUNTIMES:
        assert not differences(again, rows, runtime)


def test_operators_come_before_the_one_at_their_position():
    model = parse(chain())
    conv, pool = model.operators
    changed = Rewrite(model)
    y = conv.outputs[0]
    scaled = NewTensor(y, "INT8", np.float32([0.11]), np.array([5]), name="scaled")
    back = NewTensor(y, "INT8", name="back", **quantisation(y))
    first, second = changed.add(scaled), changed.add(back)
    changed.insert(0, 1, "QUANTIZE", y.index, first)
    changed.insert(0, 1, "QUANTIZE", first, second)
    changed.read(pool, 0, second)
    changed.require_version("QUANTIZE", 2)
    changed.require_version("CONV_2D", 1)  # it has 3
    data = changed.finish()
    after = parse(data)
    assert [o.name for o in after.operators] == ["CONV_2D", "QUANTIZE", "QUANTIZE", "MAX_POOL_2D"]
    assert [[t.name for t in o.outputs] for o in after.operators] == [["conv"], ["scaled"], ["back"], ["pool"]]
    versions = {code.builtinCode: code.version for code in unpack(data).operatorCodes}
    assert versions[schema.BuiltinOperator.QUANTIZE] == 2
    assert versions[schema.BuiltinOperator.CONV_2D] == 3
    rows = random_rows(after, 3)
    for runtime in RUNTIMES:
        assert not differences(data, rows, runtime)


def two_constants(values: np.ndarray) -> bytes:
    """Two constants with one buffer."""
    b = TFLiteBuilder()
    x = b.input([1, 4])
    first = b.tensor("first", [1, 4], scale=0.1, zero_point=3, data=values)
    second = b.tensor("second", [1, 4], scale=0.2, zero_point=3, buffer=b.buffer(first))
    return b.build(x, b.add(b.add(x, first, name="a"), second, name="b"))


@pytest.mark.parametrize("alike", [True, False])
def test_elements_stay_in_place_where_all_that_share_them_agree(alike):
    data = two_constants(np.array([1, 2, 3, 4]))
    model = parse(data)
    changed = Rewrite(model)
    for i, name in enumerate(["first", "second"]):
        tensor = next(t for t in model.tensors if t.name == name)
        new = np.array([[5, 6, 7, 8 + (0 if alike else i)]], np.int8)
        assert changed.replace(NewTensor(tensor, "INT8", data=new, **quantisation(tensor)))
    after = changed.finish()
    found = {t.name: t for t in parse(after).tensors}
    np.testing.assert_array_equal(found["first"].data, [[5, 6, 7, 8]])
    np.testing.assert_array_equal(found["second"].data, [[5, 6, 7, 8 if alike else 9]])
    assert (found["first"].buffer == found["second"].buffer) == alike
    assert len(unpack(after).buffers) == len(unpack(data).buffers) + (0 if alike else 2)


def test_what_others_use_as_it_was_stays():
    model = parse(two_constants(np.array([1, 2, 3, 4])))
    changed = Rewrite(model)
    first = next(t for t in model.tensors if t.name == "first")
    new = NewTensor(first, "INT8", data=np.array([[5, 6, 7, 8]], np.int8), **quantisation(first))
    assert changed.replace(new)
    assert changed.replace(new)
    other = NewTensor(first, "INT8", data=np.array([[5, 6, 7, 7]], np.int8), **quantisation(first))
    assert not changed.replace(other)
    found = {t.name: t for t in parse(changed.finish()).tensors}
    np.testing.assert_array_equal(found["first"].data, [[5, 6, 7, 8]])
    np.testing.assert_array_equal(found["second"].data, [[1, 2, 3, 4]])


def test_operators_that_share_their_lists_of_tensors_cannot_go_apart():
    model = parse(chain())
    conv = next(iter(model.operators))
    changed = Rewrite(model)
    changed.read(conv, 0, 1)
    with pytest.raises(ModelError, match="shared with another tensor"):
        changed.read(conv, 0, 2)
