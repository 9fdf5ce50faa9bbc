# SPDX-License-Identifier: Apache-2.0
"""The library's front door: which bytes change, what the report says, and what real models still compute."""

import io
import zipfile

import numpy as np
import pytest

from tests.helpers import corpus, peer
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder, pack, residual_network, schema, unpack
from tflm_export import METHODS, ModelError, UsageError, check, narrow, runtimes

pytestmark = pytest.mark.sweep(5)

WIDTHS = (1, 2, 3, 4, 8, 12)
NETWORK = residual_network()


@pytest.fixture(params=["built", *corpus.NARROWABLE])
def model(request) -> bytes:
    return NETWORK if request.param == "built" else corpus.read(request.param)


def changed_bytes(before: bytes, after: bytes) -> np.ndarray:
    return np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))


def mask(data: bytes, spans) -> np.ndarray:
    inside = np.zeros(len(data), bool)
    for span in spans:
        inside[span.start : span.stop] = True
    return inside


# Inputs of operators that requantize may rewrite.
REQUANTISED = {
    **dict.fromkeys(peer.WEIGHTED, slice(1, 3)),
    "TRANSPOSE_CONV": slice(1, 4, 2),
    "ADD": slice(2),
    "SUB": slice(2),
    "MUL": slice(2),
    "PRELU": slice(1, 2),
    "SVDF": slice(1, 4),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": slice(1, 16),
}


def alpha_span(operator) -> range:
    """The bytes of a LEAKY_RELU's alpha."""
    table = operator.table.BuiltinOptions()
    offset = table.Pos + table.Offset(4)
    return range(offset, offset + 4)


def allowed(data: bytes, method: str) -> np.ndarray:
    """Bytes that are a scale or an alpha, or (requantize) a weight, a bias or a constant of some operators."""
    spans = [t.scale_span for t in peer.tensors(data)]
    spans += [alpha_span(operator) for operator in peer.operators(data) if operator.name == "LEAKY_RELU"]
    if method == "requantize":
        for operator in peer.operators(data):
            tensors = operator.inputs[REQUANTISED.get(operator.name, slice(0))]
            spans += [t.data_span for t in tensors if t is not None and t.type != "FLOAT32"]
    return mask(data, spans)


@pytest.mark.parametrize(
    ("bits", "method"), sampled([*((bits, "requantize") for bits in WIDTHS), *((bits, "keep") for bits in (4, 1))], 2)
)
def test_narrow(model, bits, method):
    """Length, bytes, grid, idempotence and the check, on every model at every width."""
    narrowed, report = narrow(model, bits, method)
    longer = any(row.activation for row in report.rows)  # by options that the file had no bytes for
    assert len(model) < len(narrowed) < 1.1 * len(model) if longer else len(narrowed) == len(model)
    assert allowed(model, method)[changed_bytes(model, narrowed[-len(model) :])].all()
    rows = {(row.subgraph, row.index): row for row in report.rows}
    done = [o for o in peer.operators(narrowed) if o.key in rows and not rows[o.key].reason]
    assert done
    for operator in done:
        if operator.rescales:
            assert peer.off_grids(operator.quotients, bits).max(initial=0) < 2.0**-21
        assert rows[operator.key].narrow
    left = {row.label for row in report.offenders}
    assert {row.label for row in check(narrowed, bits).offenders} <= left
    assert narrow(narrowed, bits, method)[0] == narrowed


@pytest.mark.parametrize("method", METHODS)
def test_31_bits_change_nothing(model, method):
    narrowed, report = narrow(model, 31, method)
    assert narrowed == model
    assert all(row.narrow for row in report.rows if not row.reason)


@pytest.mark.parametrize("method", METHODS)
def test_graph_inputs_and_outputs_keep_their_scales(model, method):
    narrowed, _ = narrow(model, 1, method)
    for old, new in zip(peer.subgraphs(model), peer.subgraphs(narrowed), strict=True):
        for index in (*old.inputs, *old.outputs):
            assert old.tensors[index].scale.tobytes() == new.tensors[index].scale.tobytes()


@pytest.mark.parametrize("bits", [1, 4])
def test_requantize_never_shrinks_a_scale(model, bits):
    """Activations grow to twice their scale at most, so nothing clips that did not."""
    narrowed, _ = narrow(model, bits)
    for old, new in zip(peer.tensors(model), peer.tensors(narrowed), strict=True):
        if old.type == "INT8" and old.scale.size:
            with np.errstate(invalid="ignore"):
                growth = np.where(old.scale > 0, new.scale.astype(np.float64) / old.scale, 1)
            assert (growth >= 1 - 2.0**-22).all()
            assert old.data.size or (growth < 2 * (1 + 2.0**-22)).all()


@pytest.mark.parametrize("name", corpus.NARROWABLE)
def test_at_one_bit_every_factor_is_a_power_of_two(name):
    """Of operators that are reported as narrowed; by float exponents alone."""
    narrowed, report = narrow(corpus.read(name), 1)
    rows = {(row.subgraph, row.index): row for row in report.rows}
    for operator in peer.operators(narrowed):
        if operator.rescales and not rows[operator.key].reason:
            logarithm = np.log2(operator.quotients)
            assert np.abs(logarithm - np.rint(logarithm)).max(initial=0) < 2.0**-20


def test_bytes_behind_the_flatbuffer_survive():
    """TFLite Metadata appends a zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("labels.txt", "one\ntwo\n")
    narrowed, _ = narrow(NETWORK + archive.getvalue(), 2)
    assert narrowed == narrow(NETWORK, 2)[0] + archive.getvalue()
    with zipfile.ZipFile(io.BytesIO(narrowed)) as file:
        assert file.read("labels.txt") == b"one\ntwo\n"


def test_real_archives_survive():
    data = corpus.read("models/coral__tf2_mobilenet_v2_1.0_224_ptq")
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(io.BytesIO(narrow(data, 1)[0])) as after:
        assert before.namelist() == after.namelist()
        assert [before.read(n) for n in before.namelist()] == [after.read(n) for n in after.namelist()]


@pytest.mark.parametrize("of", ["weights", "bias"])
@pytest.mark.parametrize("sharing", ["tensor", "buffer"])
def test_shared_constants_keep_what_they_stand_for(sharing, of):
    """Two layers with one weight or bias tensor, or with two tensors on one buffer."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3])
    y = b.conv(b.conv(x, 3, name="first"), 3, name="second")
    b.conv(y, 3, name="third")
    first, second = (op.inputs for op in b.graph.operators[:2])
    place = {"weights": 1, "bias": 2}[of]
    if sharing == "tensor":
        second[place] = first[place]
    else:
        b.graph.tensors[second[place]].buffer = b.buffer(first[place])
    data = b.build(x, b.graph.operators[-1].outputs[0])
    narrowed, report = narrow(data, 1)
    assert not report.offenders
    for old, new in zip(peer.operators(data), peer.operators(narrowed), strict=True):
        before, after = old.inputs[place], new.inputs[place]
        axes = (-1, *[1] * (len(before.shape) - 1))
        # What biases stand for is the scale of the sums, whatever their own says.
        scales = [o.inputs[1].scale.astype(np.float64) * (o.inputs[0].scale if of == "bias" else 1) for o in (old, new)]
        real = [t.integers * s.reshape(axes) for t, s in zip((before, after), scales, strict=True)]
        step = scales[1].reshape(axes) * (1.5 if of == "weights" else 0.51)
        assert (np.abs(real[0] - real[1]) <= step + np.abs(real[0]) * 2.0**-20).all()


def test_all_zero_biases_may_be_shared():
    """Converters merge equal buffers; zeros are zeros at any scale."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3])
    y = b.conv(b.conv(x, 3, name="first"), 3, name="second")
    first, second = (b.graph.tensors[op.inputs[2]] for op in b.graph.operators)
    b.model.buffers[first.buffer].data = np.zeros(12, np.uint8)
    second.buffer = first.buffer
    narrowed, report = narrow(b.build(x, y), 1)
    assert not report.offenders
    assert not any(o.inputs[2].data.any() for o in peer.operators(narrowed))


def test_all_subgraphs_are_narrowed():
    model = unpack(NETWORK)
    model.subgraphs.append(unpack(NETWORK).subgraphs[0])
    other = unpack(residual_network(seed=1))
    first = len(model.buffers)
    model.buffers += other.buffers
    for tensor in other.subgraphs[0].tensors:
        tensor.buffer += first
    model.subgraphs[1] = other.subgraphs[0]
    for operator in other.subgraphs[0].operators:
        assert operator.opcodeIndex < len(model.operatorCodes)
    data = pack(model)
    narrowed, report = narrow(data, 2)
    assert {row.subgraph for row in report.rows} == {0, 1}
    assert not report.offenders
    assert all(peer.off_grid(f, 2) < 2.0**-22 for o in peer.operators(narrowed) if o.rescales for f in o.factors)


def test_variables_keep_their_scales():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3])
    state = b.tensor("state", [1, 4, 4, 3], scale=0.043, zero_point=3, variable=True)
    data = b.build(x, b.conv(b.add(b.conv(x, 3, 1), state), 2, name="last"))
    narrowed, report = narrow(data, 1)
    assert not report.offenders
    old, new = (next(t for t in peer.tensors(d) if t.variable) for d in (data, narrowed))
    assert old.scale == new.scale


def test_report_rows_are_those_of_the_peer():
    _, report = narrow(NETWORK, 4)
    expected = [o for o in peer.operators(NETWORK) if o.name in peer.RESCALERS]
    assert [(row.subgraph, row.index) for row in report.rows] == [o.key for o in expected]
    assert [row.op for row in report.rows] == [o.name for o in expected]
    assert [row.factors for row in report.rows] == [len(o.factors) for o in expected]
    assert (report.bits, report.method, report.offenders) == (4, "requantize", ())
    assert report.max_bits <= 4
    lines = report.table().splitlines()
    assert len(lines) == 1 + len(expected)
    for line, operator in zip(lines[1:], expected, strict=True):
        assert line.split()[:3] == [str(operator.key[1]), operator.name, str(len(operator.factors))]


def test_check_measures_without_changing():
    before = check(NETWORK, 8)
    assert len(before.offenders) == len(before.rows)
    after = check(narrow(NETWORK, 3)[0], 8)
    assert after.offenders == ()
    assert after.max_bits <= 3
    assert after.method == ""


@pytest.mark.parametrize("name", corpus.all_models())
def test_check_and_narrow_refuse_only_with_a_reason(name):
    """Every real model, int8 or not: a report or a ModelError."""
    data = corpus.read(name)
    outcomes = []
    for function in (lambda: narrow(data, 4)[1], lambda: check(data, 4)):
        try:
            outcomes.append(function())
        except ModelError:
            outcomes.append(None)
    for report in outcomes:
        for row in report.rows if report else ():
            assert row.narrow or row.reason or row.bits_after is not None
    assert (name in corpus.NARROWABLE) <= (outcomes[0] is not None)


@pytest.mark.parametrize("bits", [0, 32, True, 1.5, "4", None])
def test_widths_out_of_range(bits):
    for function in (narrow, check):
        with pytest.raises(UsageError, match="bits must be an integer from 1 to 31"):
            function(NETWORK, bits)


def test_unknown_methods():
    with pytest.raises(UsageError, match="method must be one of requantize, keep, got 'round'"):
        narrow(NETWORK, 4, "round")


def test_models_with_nothing_to_narrow_say_so():
    b = TFLiteBuilder()
    x = b.tensor("x", [1, 4], type="FLOAT32")
    y = b.tensor("y", [1, 4], type="FLOAT32")
    b.operator("ADD", [x, x], [y])
    with pytest.raises(ModelError, match=r"no int8 rescale .*FLOAT32.* quantise it to full int8"):
        narrow(b.build(x, y), 4)
    b = TFLiteBuilder()
    x = b.input([1, 4])
    with pytest.raises(ModelError, match=r"no int8 rescale \(its operators compute INT8\)$"):
        narrow(b.build(x, b.reshape(x, [2, 2])), 4)
    b = TFLiteBuilder()
    x = b.input([1, 4])
    with pytest.raises(ModelError, match="the model has no operators"):
        narrow(b.build(x, x), 4)
    with pytest.raises(ModelError, match="the model has no operators"):
        check(pack(schema.ModelT(version=3, buffers=[schema.BufferT()])), 4)


def real_rows(name: str, details: dict) -> np.ndarray:
    """Rows a real model can be compared on, in its own int8."""
    if name in ("tiny__pretrainedResnet_quant", "tiny__vww_96_int8"):
        images = cifar10()[0][:60]
        return images.repeat(3, 1).repeat(3, 2) if "vww" in name else images
    if name == "tiny__kws_ref_model":
        rows = np.load(corpus.FOLDER / "data/fsdd_mfcc.npz")["x_test"][:150].astype(np.float32)
    else:  # five frames of smooth spectra
        random = np.random.default_rng(0)
        rows = np.tile(np.cumsum(random.normal(size=(200, 128)), 1), 5) + random.normal(size=(200, 640))
    return runtimes.quantize_input(rows, details)


def cifar10() -> tuple[np.ndarray, np.ndarray]:
    """Test images as int8 pixels, and their classes."""
    if corpus.FOLDER is None:
        pytest.skip(corpus.REASON)
    file = np.load(corpus.FOLDER / "data/cifar10_jpeg_test.npz")
    return (file["images"].astype(np.int16) - 128).astype(np.int8), file["labels"]


@pytest.mark.parametrize("runtime", [runtimes.LiteRT, runtimes.TFLM], ids=["LiteRT", "TFLM"])
@pytest.mark.parametrize(
    ("name", "agreement", "change"),
    [
        ("tiny__pretrainedResnet_quant", 0.88, 0.25),
        ("tiny__vww_96_int8", 1.0, 0.05),
        ("tiny__kws_ref_model", 0.95, 0.05),
        ("tiny__ad01_int8", 0.0, 0.25),
    ],
)
def test_shift_only_mlperf_tiny_networks_compute_what_they_did(name, agreement, change, runtime):
    """Share of equal classes, and RMS change of the outputs in units of their spread. (AD has no classes.)"""
    stock = corpus.read(f"models/{name}")
    narrowed, report = narrow(stock, 1)
    assert not report.offenders
    rows = real_rows(name, runtimes.LiteRT(stock).input)
    before, after = (runtimes.run_all(runtime(data), rows).astype(np.float64) for data in (stock, narrowed))
    assert before.std() > 10
    assert (before.argmax(1) == after.argmax(1)).mean() >= agreement
    assert np.sqrt(np.square(after - before).mean()) < change * before.std()


@pytest.fixture(scope="module")
def resnet_accuracy():
    stock = corpus.read("baselines/resnet8_cifar10jpeg_int8")
    images, labels = cifar10()

    def accuracy(*args) -> float:
        data = narrow(stock, *args)[0] if args else stock
        return float((runtimes.run_all(runtimes.LiteRT(data), images).argmax(1) == labels).mean())

    return accuracy


@pytest.mark.parametrize(("bits", "at_least"), [(8, 0.83), (4, 0.83), ("csd2", 0.83), (2, 0.83), (1, 0.827)])
def test_requantize_keeps_the_accuracy_of_resnet8_on_cifar10(resnet_accuracy, bits, at_least):
    assert resnet_accuracy(bits) >= at_least


def test_keep_loses_the_accuracy_of_resnet8_at_one_bit(resnet_accuracy):
    """The paper's post-training method, for comparison; it is fine at 8 bits."""
    assert resnet_accuracy(1, "keep") < 0.6
    assert resnet_accuracy(8, "keep") >= 0.83
