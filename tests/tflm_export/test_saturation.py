# SPDX-License-Identifier: Apache-2.0
"""Activations for which the limits of a type stand: written where a scale grows, on every runtime, and nowhere else."""

import io
import zipfile

import flatbuffers
import numpy as np
import pytest

from tests.helpers.runtimes import RUNTIMES, differences, random_rows
from tests.helpers.tflite_builder import TFLiteBuilder, pack, schema, unpack
from tflm_export import check, narrow, runtimes
from tflm_export.c import emit
from tflm_export.flatbuffer.model import parse
from tflm_export.metadata import attach, dump
from tflm_export.saturation import implied

SIX = 6 / 255
WRITERS = ("conv", "depthwise", "fully_connected", "add", "sub", "mul")
LOWEST = {"INT8": -128, "UINT8": 0, "INT16": 0}


def model(kind="conv", type="INT8", scale=SIX, zero_point=None, activation="NONE", copies=1) -> TFLiteBuilder:
    """Layers whose outputs saturate and whose scales are free, each followed by one that reads it."""
    b = TFLiteBuilder()
    x = b.input(
        [1, 16] if kind == "fully_connected" else [1, 6, 6, 4], type=type, zero_point=0 if type == "INT16" else 5
    )
    ends = []
    for _ in range(copies):
        end = {
            "scale": scale,
            "zero_point": LOWEST[type] if zero_point is None else zero_point,
            "activation": activation,
        }
        if kind == "fully_connected":
            y = b.fully_connected(x, 16, weight_scale=0.09, **end)
        elif kind == "conv":
            y = b.conv(x, 4, weight_scale=0.03, per_channel=False, **end)
        elif kind == "depthwise":
            y = b.depthwise(x, weight_scale=0.05, per_channel=False, **end)
        elif kind == "transpose_conv":
            y = b.transpose_conv(x, 4, weight_scale=0.03, per_channel=False, **end)
        else:
            options = {} if kind == "mul" else {"potScaleInt16": False}
            y = b.derived(kind.upper(), [x, b.constant([1, 6, 6, 4], scale=0.0573)], **options, **end)
        last = b.fully_connected if kind == "fully_connected" else b.conv
        zero_point = 0 if type == "INT16" else 6
        ends.append(last(y, 4, scale=0.31, per_channel=type != "UINT8", zero_point=zero_point, name="last"))
        zero_point = end["zero_point"]
    b.graph.inputs, b.graph.outputs = [x], ends
    return b


def written(data: bytes) -> list[str]:
    """The fused activations of the operators, read with TFLM's own schema."""
    names = {code: name for name, code in vars(schema.ActivationFunctionType).items() if name.isupper()}
    operators = unpack(data).subgraphs[0].operators
    return [names[getattr(o.builtinOptions, "fusedActivationFunction", 0)] for o in operators]


def scales(data: bytes) -> list[float]:
    return [float(o.outputs[0].scale) for o in parse(data).operators]


def real_outputs(data: bytes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Real values of the first operator's output and of the model's, on LiteRT's reference kernels."""
    graph = parse(data).subgraphs[0]
    tensors = [graph.operators[0].outputs[0], graph.outputs[0]]
    runtime = runtimes.LiteRT(data, reference=True, keep_tensors=True)
    found = runtimes.all_tensors(runtime, tensors, [rows], data)
    return tuple(t.scale * (found[t.index].astype(float) - t.zero_point) for t in tensors)


def rows_of(data: bytes, count=8) -> np.ndarray:
    return np.concatenate([row[0] for row in random_rows(parse(data), count)])


def on_runtimes(data: bytes, names=RUNTIMES) -> None:
    """Every layer on LiteRT's reference kernels and TFLM, which verify the file, equals the simulation."""
    for runtime in names:
        assert not differences(data, random_rows(parse(data), 2), runtime)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_what_saturated_at_six_still_does(kind, bits):
    data = pack(model(kind).model)
    narrowed, report = narrow(data, bits)
    assert not report.offenders
    assert scales(narrowed)[0] > scales(data)[0]
    assert written(narrowed) == ["RELU6", "NONE"]
    assert [row.activation for row in report.rows] == ["RELU6", ""]
    assert "RELU6 written" in report.table().splitlines()[1]
    assert report.to_dict()["rows"][0]["activation"] == "RELU6"
    assert len(data) < len(narrowed) < len(data) + 600
    layer, end = real_outputs(narrowed, rows_of(data))
    stock, stock_end = real_outputs(data, rows_of(data))
    assert (stock > 5.98).mean() > 0.02  # it does saturate
    assert abs(layer.max() - 6) <= scales(narrowed)[0] / 2
    assert np.sqrt(((layer - stock) ** 2).mean()) <= 2 * scales(narrowed)[0]  # constants are rounded to other scales
    assert np.sqrt(((end - stock_end) ** 2).mean()) < 0.3 * stock_end.std()
    on_runtimes(narrowed)


@pytest.mark.parametrize("type", ["UINT8", "INT16"])
def test_types(type):
    """INT16 is symmetric: a RELU with a range that ends at 6."""
    scale, activation = (6 / 32767, "RELU") if type == "INT16" else (SIX, "NONE")
    data = pack(model(type=type, scale=scale, activation=activation).model)
    narrowed, _ = narrow(data, 1)
    assert written(narrowed) == ["RELU6", "NONE"]
    layer, _ = real_outputs(narrowed, rows_of(data))
    assert abs(layer.max() - 6) <= scales(narrowed)[0] / 2
    on_runtimes(narrowed, ["tflite"] if type == "UINT8" else RUNTIMES)


@pytest.mark.parametrize("zero_point", [-1, 0])
def test_one_on_both_sides(zero_point):
    """255 steps about 0 have no integer for both of -1 and 1."""
    data = pack(model(scale=2 / 255, zero_point=zero_point).model)
    narrowed, _ = narrow(data, 1)
    assert written(narrowed) == ["RELU_N1_TO_1", "NONE"]
    layer, _ = real_outputs(narrowed, rows_of(data))
    assert np.abs([layer.min() + 1, layer.max() - 1]).max() <= scales(narrowed)[0] / 2
    on_runtimes(narrowed)


NO_LIMIT = {
    "a calibrated end": {"scale": 5.3 / 255},
    "an end two steps off": {"scale": 6 / 253},
    "RELU6 itself": {"activation": "RELU6"},
    "RELU with another end": {"activation": "RELU", "scale": 7.1 / 255},
    "negative numbers": {"zero_point": -100, "scale": 6 / 227},
    "one on one side": {"zero_point": -128, "scale": 1 / 255},
}


@pytest.mark.parametrize("end", NO_LIMIT.values(), ids=NO_LIMIT)
def test_other_ranges_grow_as_they_are(end):
    data = pack(model(**end).model)
    narrowed, report = narrow(data, 1)
    assert scales(narrowed)[0] > scales(data)[0]
    assert len(narrowed) == len(data)
    assert written(narrowed) == written(data)
    assert not any(row.activation for row in report.rows)


def test_nothing_is_written_where_no_range_grows():
    data = pack(model().model)
    assert narrow(data, 31)[0] == data
    for kept in (narrow(data, 1, "keep"), narrow(data, 1, rules={0: {"bits": 1, "method": "keep"}})):
        assert scales(kept[0])[0] == pytest.approx(SIX)
        assert len(kept[0]) == len(data)
        assert written(kept[0]) == ["NONE", "NONE"]


@pytest.mark.parametrize("bits", [1, 4])
def test_the_old_file_follows_the_new_tables(bits):
    """Equal in every byte to what the same network with an activation that was there becomes, options left out."""
    data = pack(model(copies=2).model)
    narrowed, _ = narrow(data, bits)
    bare = narrowed[-len(data) :]
    assert written(narrowed) == ["RELU6", "NONE"] * 2
    assert written(bare) == ["NONE"] * 4  # a model of its own still
    assert parse(bare).operators is not None
    explicit, _ = narrow(pack(model(copies=2, activation="RELU6").model), bits)
    assert scales(narrowed) == scales(explicit)
    rows = rows_of(data)
    np.testing.assert_array_equal(real_outputs(narrowed, rows), real_outputs(explicit, rows))


def forced(builder: TFLiteBuilder) -> bytes:
    """The file with every option stored, defaults too."""
    packer = flatbuffers.Builder(1 << 16)
    packer.ForceDefaults(True)
    packer.Finish(builder.model.Pack(packer), file_identifier=b"TFL3")
    return bytes(packer.Output())


@pytest.mark.parametrize("kind", WRITERS)
def test_an_activation_that_has_a_byte_is_written_there(kind):
    data = forced(model(kind))
    narrowed, report = narrow(data, 1)
    assert written(narrowed) == ["RELU6", "NONE"]
    assert report.rows[0].activation == "RELU6"
    assert len(narrowed) == len(data)
    rows = rows_of(data)
    np.testing.assert_array_equal(
        real_outputs(narrowed, rows)[1], real_outputs(narrow(pack(model(kind).model), 1)[0], rows)[1]
    )


def sharing_options(data: bytes) -> bytes:
    """A file whose first operator has the option table of its last, as far as FlatBuffers can tell."""
    operators = list(parse(data).operators)
    positions = [operator.table.position(4) for operator in operators]
    first, last = sorted((0, len(operators) - 1), key=lambda i: positions[i])
    target = max(operators[first].options_offset, operators[last].options_offset)
    edited = bytearray(data)
    for i in (first, last):
        edited[positions[i] : positions[i] + 4] = (target - positions[i]).to_bytes(4, "little")
    return bytes(edited)


@pytest.mark.parametrize("packed", [lambda b: pack(b.model), forced], ids=["absent", "stored"])
def test_a_shared_option_table_stays(packed):
    data = sharing_options(packed(model()))
    assert len({operator.options_offset for operator in parse(data).operators}) == 1
    narrowed, _ = narrow(data, 1)
    assert written(narrowed) == ["RELU6", "NONE"]
    on_runtimes(narrowed)


def test_an_operator_without_options():
    b = model("fully_connected")
    for operator in b.graph.operators:
        operator.builtinOptionsType, operator.builtinOptions = 0, None
    narrowed, _ = narrow(pack(b.model), 1)
    assert written(narrowed) == ["RELU6", "NONE"]
    on_runtimes(narrowed)


def test_what_has_no_place_for_an_activation_keeps_its_scale():
    """TFLM's TRANSPOSE_CONV knows none; its weights are narrowed instead, as they are where the range is a contract."""
    data = pack(model("transpose_conv").model)
    narrowed, report = narrow(data, 1)
    assert not report.offenders
    assert scales(narrowed)[0] == scales(data)[0]
    assert report.rows[0].weight_error > 0
    assert len(narrowed) == len(data)
    assert scales(narrow(pack(model("transpose_conv", scale=5.3 / 255).model), 1)[0])[0] > 5.4 / 255
    layer, _ = real_outputs(narrowed, rows_of(data))
    assert layer.max() == pytest.approx(6)
    on_runtimes(narrowed)


def requantised(source: float) -> bytes:
    """A free output, changed to the range of a ReLU6."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 4])
    x = b.conv(x, 4, weight_scale=0.03, per_channel=False, scale=source, zero_point=-128)
    y = b.quantize(x, scale=SIX, zero_point=-128)
    return b.build(b.graph.operators[0].inputs[0], b.conv(y, 4, scale=0.31, name="last"))


def test_a_change_of_scale_that_cuts_at_six_keeps_it():
    narrowed, report = narrow(requantised(9 / 255), 1)
    assert not report.offenders
    assert scales(narrowed)[1] == pytest.approx(SIX)
    on_runtimes(narrowed)


def test_tied_outputs_grow_together():
    """Both producers of a concatenation, and a pool behind it, which needs nothing."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 4])
    end = {"weight_scale": 0.03, "per_channel": False, "scale": SIX, "zero_point": -128}
    first, second = b.conv(x, 4, name="first", **end), b.conv(x, 4, name="second", activation="RELU6", **end)
    y = b.pool(b.concat([first, second]), "AVERAGE")
    data = b.build(x, b.conv(y, 4, scale=0.31, name="last"))
    narrowed, report = narrow(data, 1)
    assert scales(narrowed)[0] > SIX
    assert scales(narrowed)[:4] == scales(narrowed)[:1] * 4
    assert written(narrowed)[:2] == ["RELU6", "RELU6"]
    assert [row.activation for row in report.rows] == ["RELU6", "", ""]
    on_runtimes(narrowed)


@pytest.mark.parametrize("kind", WRITERS)
def test_narrowing_again(kind):
    data = pack(model(kind).model)
    narrowed, _ = narrow(data, 2)
    again, report = narrow(narrowed, 2)
    assert again == narrowed
    assert not any(row.activation for row in report.rows)
    assert check(narrowed, 2).offenders == ()


def test_metadata_and_an_appended_zip_survive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("labels.txt", "yes")
    whole = attach(*narrow(pack(model().model) + content.getvalue(), 4))
    assert zipfile.ZipFile(io.BytesIO(whole)).read("labels.txt") == b"yes"
    assert len(dump(whole)["operators"]) == 2
    on_runtimes(whole)


def test_every_subgraph():
    first, second = model().model, model().model
    graph = second.subgraphs[0]
    shift = len(first.buffers)
    first.buffers += second.buffers
    for tensor in graph.tensors:
        tensor.buffer += shift
    first.subgraphs.append(graph)
    narrowed, report = narrow(pack(first), 1)
    found = [[o.builtinOptions.fusedActivationFunction for o in g.operators] for g in unpack(narrowed).subgraphs]
    assert found == [[schema.ActivationFunctionType.RELU6, 0]] * 2
    assert [row.activation for row in report.rows] == ["RELU6", ""] * 2
    on_runtimes(narrowed)


@pytest.mark.parametrize("scale", [1e-45, 1e-30, 3e38])
def test_scales_out_of_all_proportion_stand_for_nothing(scale):
    b = model()
    b.graph.tensors[b.graph.operators[0].outputs[0]].quantization.scale = [scale]
    assert implied(next(parse(pack(b.model)).operators)) == ""


@pytest.mark.parametrize("kind", ["conv", "fully_connected", "add", "mul"])
def test_the_c_source_has_it(kind):
    """The clamp of the program part is the RELU6's, as that of a file that had one."""
    narrowed, _ = narrow(pack(model(kind).model), 1)
    explicit, _ = narrow(pack(model(kind, activation="RELU6").model), 1)
    sources = [emit(data, "m", 1) for data in (narrowed, explicit)]
    assert sources[0] == sources[1]
