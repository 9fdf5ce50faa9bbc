# SPDX-License-Identifier: Apache-2.0
"""The metadata entry: the multipliers it names are those of the file, and nothing else of the file changes."""

import io
import zipfile

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network, unpack
from tflm_export import ModelError, check, metadata, narrow
from tflm_export.__main__ import main
from tflm_export.flatbuffer.metadata_buffers import add_metadata, read_metadata
from tflm_export.flatbuffer.model import parse
from tflm_export.runtimes import LiteRT

NETWORK = residual_network()


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_the_entry_names_every_multiplier(bits):
    narrowed, report = narrow(NETWORK, bits)
    entry = metadata.dump(metadata.attach(narrowed, report))
    assert (entry["version"], entry["bits"], entry["method"]) == (1, bits, "requantize")
    operators = dict(enumerate(peer.subgraphs(narrowed)[0].operators))
    assert [row.index for row in report.rows] == [described["operator"] for described in entry["operators"]]
    for described in entry["operators"]:
        operator = operators[described["operator"]]
        assert described["op"] == operator.name
        pairs = [peer.nearest(factor, bits) for factor in operator.factors]
        assert list(zip(described["multiplier"], described["shift"], strict=True)) == pairs
        assert described["accumulator_bound"] > 0


def test_the_old_file_stands_whole_behind_the_new_tables():
    narrowed, report = narrow(NETWORK, 2)
    described = metadata.attach(narrowed, report)
    assert described.endswith(narrowed)
    assert (len(described) - len(narrowed)) % 64 == 0  # tensors stay aligned
    before, after = unpack(narrowed), unpack(described)
    assert [e.name.decode() for e in after.metadata] == ["keras_rat.rescale", "keras_rat.summary"]
    assert len(after.buffers) == len(before.buffers) + 2
    for old, new in zip(before.buffers, after.buffers, strict=False):
        np.testing.assert_array_equal(
            new.data if new.data is not None else [], old.data if old.data is not None else []
        )
    assert check(described, 2).offenders == ()
    inputs = np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 3), np.int8)
    np.testing.assert_array_equal(LiteRT(described).run(inputs), LiteRT(narrowed).run(inputs))


def test_the_summary_is_a_line_of_text():
    narrowed, report = narrow(NETWORK, 1)
    text = read_metadata(metadata.attach(narrowed, report), "keras_rat.summary").decode("ascii")
    count = sum(operator.rescales for operator in peer.operators(narrowed))
    assert text == f"requantize: {count} of {count} operators with a rescale are at most 1 bit wide"


def test_second_entries_replace_the_first():
    narrowed, report = narrow(NETWORK, 4)
    again, report_again = narrow(metadata.attach(narrowed, report), 1)
    described = metadata.attach(again, report_again)
    assert metadata.dump(described)["bits"] == 1
    assert len(unpack(described).metadata) == 2


def test_narrowing_again_leaves_no_entry_that_is_no_longer_true():
    data = add_metadata(NETWORK, {"min_runtime_version": b"1.5.0"})
    described = metadata.attach(*narrow(data, 8))
    again, _ = narrow(described, 1)
    assert [entry.name for entry in unpack(again).metadata] == [b"min_runtime_version"]
    unchanged, _ = narrow(described, 31)
    assert unchanged == described  # what the entries say still holds
    assert [entry.name for entry in unpack(metadata.detach(described)).metadata] == [b"min_runtime_version"]
    assert metadata.detach(data) == data


def test_nometadata_on_a_model_that_has_some(tmp_path):
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    first.write_bytes(metadata.attach(*narrow(NETWORK, 8)))
    for bits in ("8", "1"):
        flags = [f"--bits={bits}", "--nometadata", "--overwrite", f"--output={second}"]
        assert main(["tflm_export", *flags, str(first)]) == 0
        assert not unpack(second.read_bytes()).metadata


def test_other_entries_and_an_appended_zip_survive():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("labels.txt", "cat\ndog\n")
    data = add_metadata(NETWORK, {"min_runtime_version": b"1.5.0"}) + archive.getvalue()
    narrowed, report = narrow(data, 1)
    described = metadata.attach(narrowed, report)
    assert read_metadata(described, "min_runtime_version") == b"1.5.0"
    with zipfile.ZipFile(io.BytesIO(described)) as file:
        assert file.read("labels.txt") == b"cat\ndog\n"


def test_operators_that_are_not_narrow_are_left_out():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    y = b.unknown(b.conv(x, 3, name="good"), op="CUSTOM:strange")
    narrowed, report = narrow(b.build(x, y), 1)
    assert [op["op"] for op in metadata.dump(metadata.attach(narrowed, report))["operators"]] == ["CONV_2D"]


@pytest.mark.parametrize("content", [b"", b"\0", b"not a flexbuffer", b"\x02\x03\x14\x02\x40\x01\x40"])
def test_a_damaged_entry_is_an_error(content):
    with pytest.raises(ModelError, match=r"keras_rat\.rescale"):
        metadata.dump(add_metadata(NETWORK, {metadata.NAME: content}))


def test_a_model_without_the_entry_is_an_error():
    with pytest.raises(ModelError, match="no metadata entry"):
        metadata.dump(NETWORK)
    assert read_metadata(NETWORK, metadata.NAME) is None


def test_a_bound_beyond_64_bits_is_capped():
    """int64 biases as large as they get: with the products on top they leave int64."""
    b = TFLiteBuilder()
    x = b.input([1, 6], type="INT16", scale=0.001, zero_point=0)
    data = b.build(x, b.fully_connected(x, 7, scale=0.002, zero_point=0))
    bias = next(t for t in parse(data).tensors if t.type == "INT64")
    extreme = np.full(7, np.iinfo(np.int64).min).tobytes()
    data = data[: bias.data_offset] + extreme + data[bias.data_offset + len(extreme) :]
    narrowed, report = narrow(data, 31)
    assert report.rows[0].accumulator == 2**62
    assert metadata.dump(metadata.attach(narrowed, report))["operators"][0]["accumulator_bound"] == 2**62
