# SPDX-License-Identifier: Apache-2.0
"""uint8 models as int8: held to the uint8 model on LiteRT, to the definition, and to both runtimes' layers."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.helpers import corpus
from tests.helpers.runtimes import RUNTIMES, differences, litert_layers, random_rows
from tests.helpers.tflite_builder import TFLiteBuilder, pack, residual_network, schema, unpack
from tflm_export import ModelError, UsageError, __main__, check, compare, narrow, to_int8
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.ops.statistics import Statistics

KINDS = ("conv", "depthwise", "fully_connected", "transpose_conv")
PER_TENSOR = {"per_channel": False}


def layer(kind: str, seed: int = 0, weight_zero: int = 131, shrunk: int = 1, **options) -> bytes:
    """One uint8 layer; the centred weights are -127 to 124, or that by `shrunk`, or what another zero point makes."""
    b = TFLiteBuilder(seed)
    x = b.input([1, 24] if kind == "fully_connected" else [1, 6, 6, 4], type="UINT8", zero_point=11)
    arguments = {"zero_point": 120, **PER_TENSOR, **options}
    y = b.depthwise(x, 2, **arguments) if kind == "depthwise" else getattr(b, kind)(x, 6, **arguments)
    for tensor in b.graph.tensors:
        if tensor.name.endswith("/weights"):
            tensor.quantization.zeroPoint = [weight_zero]
            buffer = b.model.buffers[tensor.buffer]
            buffer.data = ((buffer.data.astype(int) - 131) // shrunk + 131).astype(np.uint8)
    return b.build(x, y)


def network(concat_scale: float = 0.06) -> bytes:
    """uint8 layers, an addition, a concatenation of unequal scales, pooling and classes."""
    b = TFLiteBuilder(3)
    x = b.input([1, 8, 8, 3], type="UINT8", zero_point=128)
    y = b.conv(x, 4, zero_point=0, **PER_TENSOR)
    z = b.depthwise(y, zero_point=131, **PER_TENSOR)
    y = b.add(y, z, zero_point=90)
    joined = b.tensor("joined", [1, 8, 8, 8], type="UINT8", scale=concat_scale, zero_point=77)
    b.operator("CONCATENATION", [y, z], [joined], axis=3)
    y = b.fully_connected(b.flatten(b.pool(joined)), 5, zero_point=100, **PER_TENSOR)
    end = b.tensor("classes", [1, 5], type="UINT8", scale=1 / 256, zero_point=0)
    b.operator("SOFTMAX", [y], [end], beta=1.0)
    for code in b.model.operatorCodes:
        code.version = 1
    return b.build(x, end)


def stored(model: schema.ModelT, ending: str) -> schema.TensorT:
    """The tensor of a model object whose name ends so."""
    return next(t for t in model.subgraphs[0].tensors if t.name.decode().endswith(ending))


def weights_of(data: bytes, operator: int = 0):
    return next(t for t in parse(data).subgraphs[0].operators[operator].inputs if t is not None and "weights" in t.name)


def centred(tensor) -> np.ndarray:
    return tensor.data.astype(np.int64) - tensor.zero_point


def by_channel(tensor, integers: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(integers, axis, 0).reshape(tensor.shape[axis], -1)


def int8_rows(rows: list) -> list:
    return [[(array.astype(np.int16) - 128).astype(np.int8) for array in row] for row in rows]


def outputs(data: bytes, rows: list) -> np.ndarray:
    """The model's output on LiteRT's reference kernels."""
    return litert_layers(data, rows)[parse(data).subgraphs[0].outputs[0].index].astype(int)


@hypothesis.given(st.sampled_from(KINDS), st.integers(0, 10**6))
@hypothesis.settings(max_examples=30)
def test_where_weights_fit_they_are_the_same_numbers(kind, seed):
    stock = layer(kind, seed)
    converted = to_int8(stock)
    axis = 3 if kind == "depthwise" else 0
    old, new = weights_of(stock), weights_of(converted.data)
    q = by_channel(old, centred(old), axis)
    factor = 127 // np.abs(q).max(1)
    np.testing.assert_array_equal(by_channel(new, new.data.astype(int), axis), q * factor[:, None])
    np.testing.assert_array_equal(new.quantization.scale.values, (np.float64(old.scale) / factor).astype(np.float32))
    assert (new.type, new.quantization.dimension, new.quantization.zero_point.any()) == ("INT8", axis, False)
    old, new = (parse(data).subgraphs[0].operators[0].inputs[-1] for data in (stock, converted.data))
    np.testing.assert_array_equal(new.data, old.data * factor)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_the_uint8_model_less_128(kind):
    """But for ties of the stock rescale's two roundings, which a larger accumulator splits more finely."""
    stock = layer(kind)
    rows = random_rows(parse(stock), 20)
    was, now = outputs(stock, rows), outputs(to_int8(stock).data, int8_rows(rows)) + 128
    assert abs(was - now).max() <= 1
    assert (was != now).mean() < 0.005
    assert len(np.unique(was)) > 50


@pytest.mark.parametrize("kind", KINDS)
def test_where_factors_are_one_every_output_is_the_same(kind):
    def full(data):  # every channel reaches 127
        model = unpack(data)
        w = stored(model, "/weights")
        integers = np.array(model.buffers[w.buffer].data, np.uint8).reshape(w.shape)
        integers[(0, 0, 0) if kind == "depthwise" else (slice(None), *[0] * (integers.ndim - 1))] = 4
        model.buffers[w.buffer].data = integers.reshape(-1)
        return pack(model)

    stock = full(layer(kind))
    rows = random_rows(parse(stock), 20)
    converted = to_int8(stock).data
    np.testing.assert_array_equal(outputs(converted, int8_rows(rows)) + 128, outputs(stock, rows))
    for runtime in RUNTIMES:
        assert not differences(converted, int8_rows(rows), runtime)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight_zero", [0, 40, 255])
def test_larger_weights_are_rounded_to_127_steps(kind, weight_zero):
    stock = layer(kind, weight_zero=weight_zero)
    axis = 3 if kind == "depthwise" else 0
    converted = to_int8(stock).data
    old, new = weights_of(stock), weights_of(converted)
    q, integers = (by_channel(t, t.data.astype(np.int64) - z, axis) for t, z in ((old, weight_zero), (new, 0)))
    largest = np.abs(q).max(1)
    assert (largest > 127).any()
    scale = new.quantization.scale.values.astype(np.float64)
    wanted = np.where(largest > 127, old.scale * largest / 127, old.scale / np.maximum(127 // largest, 1))
    np.testing.assert_array_equal(scale, wanted.astype(np.float32))
    assert (np.abs(scale[:, None] * integers - old.scale * q) <= 2 * scale[:, None]).all()  # one is nearest
    assert np.abs(integers).max() == 127
    rows = random_rows(parse(stock), 4)
    for runtime in RUNTIMES:
        assert not differences(converted, int8_rows(rows), runtime)


def test_structure():
    stock = network()
    converted = to_int8(stock).data
    old, new = unpack(stock).subgraphs[0], unpack(converted).subgraphs[0]
    assert [t.name for t in new.tensors[: len(old.tensors)]] == [t.name for t in old.tensors]
    assert (list(new.inputs), list(new.outputs)) == (list(old.inputs), list(old.outputs))
    assert not [t.name for t in new.tensors if t.type == schema.TensorType.UINT8]
    codes = unpack(converted).operatorCodes
    builtins = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    names = [builtins[codes[operator.opcodeIndex].builtinCode] for operator in new.operators]
    assert names.count("QUANTIZE") == 2
    assert names.index("QUANTIZE") == names.index("CONCATENATION") - 2
    found = {builtins[code.builtinCode]: code.version for code in codes}
    wanted = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "CONCATENATION": 2, "MAX_POOL_2D": 2, "RESHAPE": 1}
    assert found == wanted | {"FULLY_CONNECTED": 4, "SOFTMAX": 2, "QUANTIZE": 1}
    by_name = {t.name: t for t in parse(converted).tensors}
    assert [by_name[name].zero_point for name in ("input", "conv", "classes", "joined")] == [0, -128, -128, 77 - 128]


@pytest.mark.parametrize("io", ["int8", "uint8"])
@pytest.mark.parametrize("bits", [31, 8, 1])
def test_networks_run_layer_by_layer_as_simulated(io, bits):
    stock = network()
    converted = to_int8(stock, io)
    narrowed, report = narrow(converted.data, bits, references=converted.references)
    bound = [row.op for row in report.offenders]  # what the ADD and the CONCATENATION share may be
    assert bound in ([], ["QUANTIZE"])
    assert [row.op for row in check(narrowed, bits).offenders] == bound
    rows = random_rows(parse(stock), 6)
    own = rows if io == "uint8" else int8_rows(rows)
    for runtime in RUNTIMES:
        assert not differences(narrowed, own, runtime)
    was, now = outputs(stock, rows), outputs(narrowed, own) + (0 if io == "uint8" else 128)
    assert np.abs(was - now).max() <= (2 if bits == 31 else 25)
    assert len(np.unique(was)) > 8


def test_uint8_borders_keep_their_tensors():
    stock = network()
    kept, changed = to_int8(stock, "uint8").data, to_int8(stock).data
    graph, old = parse(kept).subgraphs[0], parse(stock).subgraphs[0]
    for ours, theirs in ((graph.inputs, old.inputs), (graph.outputs, old.outputs)):
        assert [(t.index, t.name, t.type, t.zero_point) for t in ours] == [
            (t.index, t.name, t.type, t.zero_point) for t in theirs
        ]
    rows = random_rows(parse(stock), 10)
    np.testing.assert_array_equal(outputs(kept, rows), outputs(changed, int8_rows(rows)) + 128)


def test_at_31_bits_narrowing_changes_nothing():
    converted = to_int8(network())
    assert narrow(converted.data, 31, references=converted.references)[0] == converted.data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize("small", [False, True])
def test_narrowing_rounds_once_at_the_better_of_two_scales(kind, bits, small):
    """The smallest that holds a channel, or that nearest to an exact one, which is better for small integers."""
    stock = layer(kind, seed=1, **({"shrunk": 9} if small else {"weight_zero": 90}))
    axis = 3 if kind == "depthwise" else 0
    converted = to_int8(stock)
    x, y = (getattr(parse(stock).subgraphs[0], side)[0] for side in ("inputs", "outputs"))
    old = weights_of(stock)
    q = by_channel(old, centred(old), axis)

    def error(scales, integers) -> np.ndarray:
        return np.square(integers * scales[:, None] - q * old.scale).sum(1)

    found = []
    for references in (converted.references, {}):
        new = weights_of(narrow(converted.data, bits, references=references)[0])
        scales = new.quantization.scale.values.astype(np.float64)
        found.append((scales, error(scales, by_channel(new, new.data.astype(float), axis))))
    grid, unit = Grid(bits), y.scale / x.scale
    exact = weights_of(converted.data).quantization.scale.values / unit
    smallest = grid.snap(np.abs(q).max(1) * old.scale / 127 / unit, "up") * unit
    near, above = (grid.snap(exact, rounding) * unit for rounding in ("nearest", "up"))
    near = np.where(near > 0.999999 * smallest, near, above)
    one, other = (error(s, np.rint(q * old.scale / s[:, None])) for s in (smallest, near))
    np.testing.assert_allclose(found[0][0], np.where(other < one, near, smallest), rtol=2e-7)
    if not small:
        assert found[0][1].sum() < found[1][1].sum()
    elif bits == 8:
        assert (other < one).all()


def test_shared_weights_are_rounded_from_what_they_were():
    """Layers with one weight tensor get copies, and their references with them."""
    b = TFLiteBuilder(5)
    x = b.input([1, 6, 6, 4], type="UINT8", zero_point=9)
    first = b.conv(x, 4, zero_point=8, scale=0.05, name="first", **PER_TENSOR)
    second = b.tensor("second", [1, 6, 6, 4], type="UINT8", scale=0.083, zero_point=8)
    operator = b.graph.operators[0]
    b.operator("CONV_2D", [first, *operator.inputs[1:]], [second], 1, padding=0, strideW=1, strideH=1)
    stock = b.build(x, second)
    converted = to_int8(stock)
    assert len(converted.references) >= 1
    narrowed, report = narrow(converted.data, 1, references=converted.references)
    assert not report.offenders
    q = by_channel(weights_of(stock), centred(weights_of(stock)), 0)
    for index in (0, 1):
        new = weights_of(narrowed, index)
        error = new.data.reshape(4, -1) * new.quantization.scale.values[:, None] - q * weights_of(stock).scale
        assert (np.abs(error) <= 2 * new.quantization.scale.values[:, None]).all()
    rows = int8_rows(random_rows(parse(stock), 3))
    for runtime in RUNTIMES:
        assert not differences(narrowed, rows, runtime)


@pytest.mark.parametrize("bits", [31, 1])
def test_means_correct_biases(bits):
    """Where inputs never vary, all that the rounding of weights does to their sums is made up for."""
    stock = layer("fully_connected", weight_zero=20, seed=2)
    row = np.random.default_rng(1).integers(0, 256, (1, 24)).astype(np.uint8)
    mean = row[0].astype(float) - 11

    def error(means) -> np.ndarray:
        converted = to_int8(stock, means=means)
        calibration = None if bits == 31 or means is None else {"x": int8_rows([[row]])[0][0]}
        narrowed, _ = narrow(converted.data, bits, calibration=calibration, references=converted.references)
        _, w, bias = parse(narrowed).subgraphs[0].operators[0].inputs
        sums = (w.data.astype(float) @ mean + bias.data) * w.quantization.scale.values
        _, w, bias = parse(stock).subgraphs[0].operators[0].inputs
        return np.abs(sums / w.scale - (centred(w) @ mean + bias.data))

    assert error(lambda operator: Statistics(mean, None)).max() <= 2  # half a step of the new biases
    assert error(None).max() > 20


def test_inputs_are_those_of_the_uint8_model():
    integers = {"input": np.array([[0, 128, 255]], np.uint8)}
    np.testing.assert_array_equal(to_int8(network()).inputs(integers)["input"], [[-128, 0, 127]])
    assert to_int8(network(), "uint8").inputs(integers)["input"].dtype == np.uint8


def colour_network() -> bytes:
    """A network of a colour image, whose weights do not fit as they are."""
    b = TFLiteBuilder(4)
    x = b.input([1, 24, 24, 3], type="UINT8", zero_point=0, scale=1 / 255)
    y = b.conv(x, 8, zero_point=0, stride=2, **PER_TENSOR)
    end = b.conv(y, 4, 1, zero_point=128, name="last", **PER_TENSOR)
    for tensor in b.graph.tensors:
        if tensor.name.endswith("/weights"):
            tensor.quantization.zeroPoint = [30]
    return b.build(x, end)


def test_synthetic_images_correct_biases_of_colour_networks():
    converted, plain = to_int8(colour_network()), to_int8(colour_network(), synthetic="none")
    assert converted.notes == ("in int8, biases of 2 operators corrected by 4 synthetic images",)
    assert plain.notes == ()
    biases = [[o.inputs[2].data for o in parse(c.data).operators] for c in (converted, plain)]
    assert all((a != b).any() for a, b in zip(*biases, strict=True))
    assert to_int8(network()).notes == ()  # its input is too small to be an image
    with pytest.raises(UsageError, match="synthetic must be one of"):
        to_int8(network(), synthetic="photos")


def several(*operators: str) -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 8], type="UINT8", zero_point=3)
    ends = [b.derived(name, [x, x] if name == "DIV" else [x], zero_point=3) for name in operators]
    return b.build(x, ends)


def test_what_has_no_int8_form_is_named_all_at_once():
    with pytest.raises(ModelError, match=r"operator 0 DIV.*no int8 form.*operator 1 CUSTOM:other.*no int8 form"):
        to_int8(several("DIV", "CUSTOM:other", "RELU"))


def test_models_that_are_not_uint8():
    with pytest.raises(ModelError, match=r"no operator computes in uint8.*INT8; leave out the conversion"):
        to_int8(residual_network(batch=1))
    b = TFLiteBuilder()
    x = b.tensor("x", [1, 4], type="FLOAT32")
    y = b.tensor("y", [1, 4], type="FLOAT32")
    b.operator("RELU", [x], [y])
    with pytest.raises(ModelError, match="they give FLOAT32; quantise it to full int8"):
        to_int8(b.build(x, y))
    x = b.tensor("x", [1, 4], type="FLOAT32")
    y = b.tensor("y", [1, 3], type="FLOAT32")
    w = b.tensor("w", [3, 4], type="UINT8", scale=0.1, zero_point=3, data=np.zeros((3, 4)))
    b.operator("FULLY_CONNECTED", [x, w], [y])
    with pytest.raises(ModelError, match=r"FULLY_CONNECTED.*gives FLOAT32"):
        to_int8(b.build(x, y))


@pytest.mark.parametrize("zero_point", [256, -(1 << 63)])
def test_an_input_that_nothing_reads_is_held_to_what_uint8_is(zero_point):
    b = TFLiteBuilder()
    x, unread = b.input([1, 8], type="UINT8", zero_point=3), b.tensor("unread", [1, 8], type="UINT8", scale=0.1)
    data = b.build([x, unread], b.derived("RELU", [x], zero_point=3))
    assert [t.type for t in parse(to_int8(data).data).subgraphs[0].inputs] == ["INT8", "INT8"]
    model = unpack(data)
    model.subgraphs[0].tensors[unread].quantization.zeroPoint = [zero_point]
    with pytest.raises(ModelError, match=rf"input or output cannot be int8: .*unread.* zero point {zero_point}"):
        to_int8(pack(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, bias: setattr(w.quantization, "scale", [1e-30]), "has scale 1e-30"),
        (lambda w, bias: setattr(w, "quantization", None), "has no scale"),
        (lambda w, bias: vars(w.quantization).update(scale=[1.0] * 6, zeroPoint=[1] * 6), "per channel"),
        (lambda w, bias: setattr(bias, "type", schema.TensorType.FLOAT32), "elements of INT32 are needed"),
        (lambda w, bias: setattr(w, "buffer", 0), "weights computed at run time"),
    ],
)  # fmt: skip
def test_layers_that_are_no_per_tensor_uint8_layers(change, message):
    model = unpack(layer("conv"))
    change(stored(model, "/weights"), stored(model, "/bias"))
    with pytest.raises(ModelError, match=rf"operator 0 CONV_2D.*{message}"):
        to_int8(pack(model))


def test_arg_max_of_int64_is_told():
    b = TFLiteBuilder()
    x = b.input([1, 8], type="UINT8", zero_point=3)
    y = b.derived("RELU", [x], zero_point=3)
    axis = b.tensor("axis", [1], type="INT32", data=[1])
    end = b.tensor("end", [1], type="INT64")
    b.operator("ARG_MAX", [y, axis], [end], outputType=schema.TensorType.INT64)
    converted = to_int8(b.build(x, end))
    assert converted.notes == ("operator 1 ARG_MAX (end) gives INT64, for which TensorFlow Lite Micro has no kernel",)
    rows = random_rows(parse(converted.data), 4)
    assert not differences(converted.data, rows, "tflite")


def test_io_is_int8_or_uint8():
    with pytest.raises(UsageError, match="io must be one of int8, uint8, got 'float'"):
        to_int8(network(), "float")


def run(capsys, *arguments) -> tuple[int, str]:
    code = __main__.main(["tflm_export", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_command_line(tmp_path, capsys):
    path = tmp_path / "m.tflite"
    path.write_bytes(network())
    assert run(capsys, "--to_int8", path) == (
        0,
        f"{tmp_path}/m_int8.tflite: int8; {len(to_int8(network()).data)} bytes\n",
    )
    assert (tmp_path / "m_int8.tflite").read_bytes() == to_int8(network()).data
    code, text = run(capsys, "--to_int8", "--bits", 1, "--io", "uint8", "--verify", 2, path)
    assert code == 0, text
    assert "TFLM: top-1 agreement" in text
    assert parse((tmp_path / "m_int8_k1.tflite").read_bytes()).subgraphs[0].inputs[0].type == "UINT8"
    code, text = run(capsys, "--io", "uint8", "--bits", 1, path)
    assert (code, "--io means nothing without --to_int8" in text) == (2, True)
    code, text = run(capsys, "--to_int8", "--strict", path)
    assert (code, "--to_int8 without --bits takes no --strict; add --bits, 31 to narrow nothing" in text) == (2, True)


def test_command_line_with_data(tmp_path, capsys):
    path, rows = tmp_path / "m.tflite", tmp_path / "rows.npz"
    path.write_bytes(network())
    np.savez(rows, x=np.concatenate([row[0] for row in random_rows(parse(network()), 40)]))
    code, text = run(capsys, "--to_int8", "--bits", 1, "--calibration", rows, "--verify", 2, path)
    assert code == 0, text
    assert "agreement with the stock model: top-1" in text
    code, text = run(capsys, "--to_int8", "--search", "--max_drop", 0.5, "--calibration", rows, path)
    assert code == 0, text
    assert (tmp_path / "m_int8_searched.tflite").exists()


def test_a_uint8_model_that_is_not_simulated_is_calibrated_in_int8(tmp_path, capsys):
    b = TFLiteBuilder()
    x = b.input([1, 24], type="UINT8", zero_point=9)
    y = b.fully_connected(x, 6, zero_point=120, **PER_TENSOR)
    end = b.tensor("end", [1, 6], type="UINT8", scale=1 / 256, zero_point=0)
    b.operator("LOGISTIC", [y], [end])
    path, rows = tmp_path / "m.tflite", tmp_path / "rows.npz"
    path.write_bytes(b.build(x, end))
    np.savez(rows, x=np.random.default_rng(0).integers(0, 256, (8, 24), np.uint8))
    code, text = run(capsys, "--to_int8", "--bits", 1, "--calibration", rows, path)
    assert (code, "agreement with the stock model in int8: top-1" in text) == (0, True), text


def test_narrow_uint8_models_name_the_flag(tmp_path, capsys):
    path = tmp_path / "m.tflite"
    path.write_bytes(network())
    texts = [run(capsys, "--bits", bits, path)[1] for bits in (1, 2, 3)]
    assert ["--to_int8 converts it" in text for text in texts] == [True, True, False]
    path.write_bytes(residual_network(batch=1))
    assert "--to_int8" not in run(capsys, "--bits", 1, "--overwrite", path)[1]


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", ["tflite-support__mobilenet_v1_0.25_224_quant", "coral__mobilenet_v1_0.25_128_quant"])
@pytest.mark.parametrize("bits", [31, 1])
def test_real_classifiers(name, bits):
    """With the means of the model's own inputs, crops of a photo keep what they are taken for."""
    from sklearn.datasets import load_sample_images

    stock = corpus.read(f"models/{name}")
    size = parse(stock).subgraphs[0].inputs[0].shape[1]
    photos = np.concatenate(
        [image[y : y + 2 * size : 2, x : x + 2 * size : 2][None] for image in _large(load_sample_images().images, size)
         for y, x in ((0, 0), (20, 130), (60, 60))]
    )  # fmt: skip
    calibrated, measured = photos[::2], photos[1::2]
    from tflm_export.calibration import Calibration

    means = Calibration.run(parse(stock), [calibrated]).statistics
    converted = to_int8(stock, means=means)
    own = converted.inputs({"input": calibrated})
    narrowed, report = narrow(converted.data, bits, calibration=own, references=converted.references)
    assert not report.offenders
    rows = list(converted.inputs({"input": measured}).values())
    found = compare.compare(parse(stock), parse(narrowed), [measured], rows)
    assert found.sqnr > (15 if bits == 31 else 12), found
    for runtime in RUNTIMES:
        assert not differences(narrowed, [[rows[0][:1]]], runtime)


def _large(images, size: int):
    for image in images:
        repeats = -(-(2 * size + 140) // min(image.shape[:2]))
        yield np.tile(image, (repeats, repeats, 1))


def test_a_detector_takes_its_boxes_in_float():
    stock = corpus.read("models/coral-edgetpu__ssd_mobilenet_v1_coco_quant_postprocess_head_layers")
    for io in ("int8", "uint8"):
        converted = to_int8(stock, io)
        names = [o.name for o in parse(converted.data).subgraphs[0].operators]
        assert names[-3:] == ["DEQUANTIZE", "DEQUANTIZE", "CUSTOM:TFLite_Detection_PostProcess"]
        rows = random_rows(parse(stock), 3)
        own = rows if io == "uint8" else int8_rows(rows)
        boxes = [_outputs(data, r) for data, r in ((stock, rows), (converted.data, own))]
        for theirs, ours in zip(*boxes, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=0.05)


def _outputs(data: bytes, rows: list) -> list[np.ndarray]:
    graph = parse(data).subgraphs[0]
    found = litert_layers(data, rows)
    return [found[t.index] for t in graph.outputs]
