# SPDX-License-Identifier: Apache-2.0
"""Bit equality of the simulator with LiteRT's reference kernels and with TensorFlow Lite Micro, layer by layer."""

import functools
from fractions import Fraction

import numpy as np
import pytest

from tests.helpers import corpus
from tests.helpers.corpus import GOLDEN, published
from tests.helpers.operators import A16, B16, A, B, activation, indices, one_operator
from tests.helpers.runtimes import RUNTIMES, batch, differences, random_rows
from tests.helpers.tflite_builder import TFLiteBuilder, pack, residual_network, schema, unpack
from tflm_export import ModelError, UsageError, check, narrow, rescale
from tflm_export.flatbuffer.model import parse
from tflm_export.program.value import dtype_of
from tflm_export.runtimes import quantize_input
from tflm_export.simulator import simulate, unsupported

# Every corpus model that is simulated and small enough to run often, and the widths it is narrowed to.
NARROWED = (
    "baselines/fsdd_int8",
    "baselines/har_sp_int8",
    "baselines/resnet8_cifar10jpeg_int8",
    "models/ai-edge-quantizer__conv_fc_mnist_srq_a8w8",
    "models/ai-edge-quantizer__two_signatures_a8w8",
    "models/coral__keras_lstm_mnist_ptq",
    "models/micro-wake-word-models__alexa",
    "models/micro-wake-word-models__okay_nabu",
    "models/mltk__fingerprint_signature_generator",
    "models/mltk__image_example1",
    "models/mltk__keyword_spotting_on_off_v3",
    "models/tflite-micro__dtln_noise_suppression",
    "models/tflite-micro__hello_world_int8",
    "models/tflite-micro__keyword_scrambled",
    "models/tflite-micro__micro_speech_quantized",
    "models/tflite-micro__trained_lstm_int8",
    "models/tiny__ad01_int8",
    "models/tiny__kws_ref_model",
    "models/tiny__pretrainedResnet_quant",
    "models/tiny__str_ww_ref_model",
    "models/tiny__vww_96_int8",
    "models/tinyengine__vww",
    "models/tinymaix__cifar10_q",
    "models/tinymaix__mnist_arduino_q",
    "models/tinymaix__mnist_dw_q",
    "models/tinymaix__mnist_rect_q",
    "models/tinymaix__vww96_q",
)
STOCK = (
    "models/mediapipe__3in3out_model_swaps_input_2_and_0",
    "models/mediapipe__feedback_tensor_without_passthrough_model",
    "models/tflite-micro__simple_add_model",
)
# uint8 models, which TFLM does not run, and widths.
LITERT_ONLY = {"models/coral__mobilenet_v1_0.25_128_quant": (31, 4, 1), "models/coral__split_concat": (31,)}
# Files that LiteRT refuses.
TFLM_ONLY = ("models/tflite-micro__person_detect",)


@functools.cache
def variant(name: str, bits: int) -> bytes:
    """A corpus model, narrowed to `bits`; 31 is the file as it is."""
    data = corpus.read(name)
    return data if bits == 31 else narrow(data, bits)[0]


CASES = [(name, bits, runtime) for name in NARROWED for bits in (31, 4, 1) for runtime in RUNTIMES]
CASES += [(name, 31, runtime) for name in STOCK for runtime in RUNTIMES]
CASES += [(name, bits, "tflite") for name, widths in LITERT_ONLY.items() for bits in widths]
CASES += [(name, bits, "tflm") for name in TFLM_ONLY for bits in (31, 4, 1)]


@pytest.mark.sweep(3)
@pytest.mark.parametrize(("name", "bits", "runtime"), CASES)
def test_every_layer_of_a_corpus_model_equals_the_runtime(name, bits, runtime):
    data = variant(name, bits)
    assert not differences(data, random_rows(parse(data), 2, seed=bits), runtime)


def _cifar(folder):
    return np.load(folder / "data/cifar10_jpeg_test.npz")["images"][:40].astype(np.float32)


def _fsdd(folder):
    return np.load(folder / "data/fsdd_mfcc.npz")["x_test"][:40].astype(np.float32)


def _har(folder):
    arrays = np.load(folder / "data/har_sp.npz")
    return (arrays["x_test"][:40].astype(np.float32) / arrays["suggested_divisor"])[:, :, None]


def _mnist(folder):
    return np.load(folder / "data/mnist.npz")["x_test"][:40, :, :, None].astype(np.float32) / 255


REAL = {
    "baselines/resnet8_cifar10jpeg_int8": _cifar,
    "baselines/fsdd_int8": _fsdd,
    "baselines/har_sp_int8": _har,
    "models/tinymaix__mnist_dw_q": _mnist,
}


@pytest.mark.sweep(3)
@pytest.mark.parametrize("bits", [31, 4, 1])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", REAL)
def test_every_layer_on_real_inputs(name, runtime, bits):
    data = variant(name, bits)
    tensor = parse(data).subgraphs[0].inputs[0]
    details = {"quantization": (tensor.scale, tensor.zero_point), "dtype": dtype_of(tensor)}
    inputs = quantize_input(REAL[name](corpus.FOLDER), details)
    assert inputs.std() > 10
    assert not differences(data, [[row[None]] for row in inputs], runtime)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("rounding", RUNTIMES)
def test_int16_activations_equal_upstreams_golden_outputs(name, rounding):
    data = corpus.read(f"models/tflite-micro__{name}")
    inputs, golden = published(name, data)
    (output,) = simulate(data, inputs, rounding).outputs
    np.testing.assert_array_equal(output, golden)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("bits", [31, 8, 4, 1])
def test_every_layer_of_a_built_network_equals_the_runtime(runtime, bits):
    data = residual_network()
    data = data if bits == 31 else narrow(data, bits)[0]
    assert not differences(data, random_rows(parse(data), 3), runtime)


ALPHA = activation(0.011, 3, (1, 1, 4), data=np.arange(40, 80, 10))
OPERATORS = {
    "ADD relu6": lambda: one_operator(
        "ADD", [A, B], activation(0.06, -128), 2, "AddOptions", fusedActivationFunction=3
    ),
    "ADD constant": lambda: one_operator(
        "ADD", [A, activation(0.02, 5, (4,), data=[-90, 3, 60, 127])], B, 2, "AddOptions"
    ),
    "ADD int16": lambda: one_operator(
        "ADD", [A16, B16], activation(0.0006, 0, type="INT16"), 2, "AddOptions", potScaleInt16=False
    ),
    "SUB": lambda: one_operator("SUB", [A, B], activation(0.06, 9), 2, "SubOptions"),
    "SUB int16": lambda: one_operator(
        "SUB", [A16, B16], activation(0.0006, 0, type="INT16"), 2, "SubOptions", potScaleInt16=False
    ),
    "MUL": lambda: one_operator("MUL", [A, B], activation(0.05, 9), 2, "MulOptions"),
    "MUL broadcast": lambda: one_operator(
        "MUL", [A, activation(0.02, 5, (1, 1, 1, 4))], activation(0.03, 9), 2, "MulOptions"
    ),
    "BATCH_MATMUL": lambda: one_operator(
        "BATCH_MATMUL",
        [A, activation(0.047, 12, (1, 6, 5, 4))],
        activation(0.2, 3, (1, 6, 6, 5)),
        2,
        "BatchMatMulOptions",
        adjY=True,
    ),
    "MAXIMUM": lambda: one_operator("MAXIMUM", [A, A], A, 2, "MaximumMinimumOptions"),
    "MINIMUM": lambda: one_operator("MINIMUM", [A, A], A, 2, "MaximumMinimumOptions"),
    "RELU": lambda: one_operator("RELU", [A], B, 2),
    "RELU6": lambda: one_operator("RELU6", [A], A, 2),
    "LEAKY_RELU": lambda: one_operator("LEAKY_RELU", [A], B, 2, "LeakyReluOptions", alpha=0.1),
    "LEAKY_RELU negative": lambda: one_operator("LEAKY_RELU", [A16], B16, 2, "LeakyReluOptions", alpha=-0.3),
    "PRELU": lambda: one_operator("PRELU", [A, ALPHA], B),
    "HARD_SWISH": lambda: one_operator("HARD_SWISH", [A], activation(0.052, -20)),
    "LOGISTIC": lambda: one_operator("LOGISTIC", [activation(0.09, 5)], activation(1 / 256, -128), 2),
    "LOGISTIC int16": lambda: one_operator("LOGISTIC", [A16], activation(1 / 32768, 0, type="INT16"), 2),
    "TANH": lambda: one_operator("TANH", [A], activation(1 / 128, 0), 2),
    "TANH int16": lambda: one_operator(
        "TANH", [activation(1 / 4096, 0, type="INT16")], activation(1 / 32768, 0, type="INT16"), 2
    ),
    "SOFTMAX": lambda: one_operator("SOFTMAX", [B], activation(1 / 256, -128), 2, "SoftmaxOptions", beta=0.7),
    "SOFTMAX of int16": lambda: one_operator(
        "SOFTMAX", [A16], activation(1 / 32768, 0, type="INT16"), 3, "SoftmaxOptions", beta=1.3
    ),
    "SOFTMAX to int16": lambda: one_operator(
        "SOFTMAX", [B], activation(1 / 65536, -32768, type="INT16"), 3, "SoftmaxOptions", beta=1.0
    ),
    "QUANTIZE to int16": lambda: one_operator("QUANTIZE", [A], A16, 2),
    "QUANTIZE from int16": lambda: one_operator("QUANTIZE", [A16], A, 2),
    "QUANTIZE to uint8": lambda: one_operator("QUANTIZE", [A], activation(0.02, 140, type="UINT8"), 2),
    "QUANTIZE from float": lambda: one_operator(
        "QUANTIZE", [{"shape": [1, 6], "type": "FLOAT32"}], activation(0.02, 14, (1, 6)), 2
    ),
    "DEQUANTIZE": lambda: one_operator("DEQUANTIZE", [A], {"shape": [1, 6, 6, 4], "type": "FLOAT32"}, 2),
    "MEAN last": lambda: one_operator("MEAN", [A, indices([-1])], activation(0.01, 3, (1, 6, 6)), 2, "ReducerOptions"),
    "MEAN int16": lambda: one_operator(
        "MEAN", [A16, indices([1, 2])], activation(0.0001, 0, (1, 4), "INT16"), 2, "ReducerOptions"
    ),
    "PAD": lambda: one_operator(
        "PAD", [A, indices([[0, 0], [1, 2], [0, 1], [0, 0]])], activation(0.031, -7, (1, 9, 7, 4)), 2
    ),
    "PADV2": lambda: one_operator(
        "PADV2",
        [A, indices([[0, 0], [1, 2], [0, 1], [0, 0]]), activation(0.031, -7, (1,), data=[99])],
        activation(0.031, -7, (1, 9, 7, 4)),
        2,
    ),
    "STRIDED_SLICE": lambda: one_operator(
        "STRIDED_SLICE",
        [A, indices([0, 1, -3, 0]), indices([1, -1, 0, 4]), indices([1, 2, 1, 1])],
        activation(0.031, -7, (1, 2, 3, 4)),
        2,
        "StridedSliceOptions",
        endMask=4,
    ),
    "TRANSPOSE": lambda: one_operator("TRANSPOSE", [A, indices([0, 3, 1, 2])], activation(0.031, -7, (1, 4, 6, 6)), 2),
    "TRANSPOSE rows": lambda: one_operator(
        "TRANSPOSE", [A, indices([3, 0, 1, 2])], activation(0.031, -7, (4, 1, 6, 6)), 2
    ),
    "EXPAND_DIMS": lambda: one_operator("EXPAND_DIMS", [A, indices([1])], activation(0.031, -7, (1, 1, 6, 6, 4))),
    "SQUEEZE": lambda: one_operator(
        "SQUEEZE",
        [activation(0.031, -7, (1, 1, 6, 4))],
        activation(0.031, -7, (1, 6, 4)),
        1,
        "SqueezeOptions",
        squeezeDims=[1],
    ),
    "CONV_2D dilated": lambda: one_operator(
        "CONV_2D",
        [
            A,
            activation([0.003, 0.004], 0, (2, 3, 3, 4), data=np.arange(-36, 36), dimension=0),
            {**indices([70, -300]), "scale": [9e-5, 1e-4]},
        ],
        activation(0.08, 1, (1, 2, 2, 2)),
        3,
        "Conv2DOptions",
        padding=1,
        strideW=1,
        strideH=1,
        dilationWFactor=2,
        dilationHFactor=2,
    ),
    "CONV_2D uneven padding": lambda: one_operator(
        "CONV_2D",
        [
            A,
            activation([0.003, 0.004], 0, (2, 4, 2, 4), data=np.arange(-32, 32), dimension=0),
            {**indices([70, -300]), "scale": [9e-5, 1e-4]},
        ],
        activation(0.08, 1, (1, 3, 6, 2)),
        3,
        "Conv2DOptions",
        strideW=1,
        strideH=2,
        fusedActivationFunction=2,
    ),
    "TRANSPOSE_CONV": lambda: one_operator(
        "TRANSPOSE_CONV",
        [indices([1, 12, 12, 2]), activation([0.003, 0.004], 0, (2, 3, 3, 4), data=np.arange(-36, 36)), A],
        activation(0.05, 1, (1, 12, 12, 2)),
        3,
        "TransposeConvOptions",
        strideW=2,
        strideH=2,
    ),
}


U = activation(0.031, 121, type="UINT8")
UINT8_OPERATORS = {
    "ADD": lambda: one_operator("ADD", [U, U], activation(0.06, 100, type="UINT8"), 1, "AddOptions"),
    "SUB": lambda: one_operator("SUB", [U, U], activation(0.06, 100, type="UINT8"), 1, "SubOptions"),
    "MUL": lambda: one_operator("MUL", [U, U], activation(0.06, 100, type="UINT8"), 1, "MulOptions"),
    "SOFTMAX": lambda: one_operator(
        "SOFTMAX", [U], activation(1 / 256, 0, type="UINT8"), 1, "SoftmaxOptions", beta=1.0
    ),
    "MEAN": lambda: one_operator(
        "MEAN", [U, indices([1, 2])], activation(0.01, 3, (1, 4), "UINT8"), 1, "ReducerOptions"
    ),
    "CONV_2D": lambda: one_operator(
        "CONV_2D",
        [
            U,
            activation(0.003, 131, (2, 3, 3, 4), "UINT8", data=np.arange(90, 162)),
            {**indices([70, -300]), "scale": 9.3e-5},
        ],
        activation(0.04, 101, (1, 6, 6, 2), "UINT8"),
        1,
        "Conv2DOptions",
        strideW=1,
        strideH=1,
    ),
}


@pytest.mark.parametrize("name", UINT8_OPERATORS)
def test_uint8_operators_equal_litert(name):
    data = UINT8_OPERATORS[name]()
    assert not differences(data, random_rows(parse(data), 4), "tflite")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_equal_the_runtime(name, runtime):
    data = OPERATORS[name]()
    assert not differences(data, random_rows(parse(data), 4), runtime)


def exact_multiplier(factor: float, bits: int) -> tuple[int, int]:
    """The k-bit (m, s) that a kernel recovers from a factor's 31-bit multiplier, halves up."""
    value, shift = Fraction(float(factor)), 0
    while value < Fraction(1, 2):
        value, shift = value * 2, shift + 1
    while value >= 1:
        value, shift = value / 2, shift - 1
    stock = int(value * 2**31 + Fraction(1, 2))
    m = (stock + (1 << (31 - bits) >> 1)) >> (31 - bits)
    return (m // 2, shift + bits - 1) if m == 1 << bits else (m, shift + bits)


def held_multiplier(factor: float, bits: int) -> tuple[int, int]:
    """The (m, s) of what a file holds: the narrowest grid of up to 16 bits with the factor on it, else all 31."""
    for width in range(1, 17):
        m, s = exact_multiplier(factor, width)
        if abs(Fraction(m) / Fraction(2) ** s / Fraction(float(factor)) - 1) < Fraction(1, 2**21):
            return m, s
    return exact_multiplier(factor, 31 if bits <= 16 else bits)


def rounded(value: Fraction) -> int:
    """Halves up."""
    return (value + Fraction(1, 2)).__floor__()


def clamped(value: int, tensor) -> int:
    return min(127, max(-128, value + tensor.zero_point))


@pytest.mark.parametrize("narrowed", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 20, 31])
def test_narrow_dense_layer_is_one_exact_rounding(bits, narrowed):
    """A layer that the file does not hold as narrow keeps 31 bits."""
    b = TFLiteBuilder(3)
    data = b.build(x := b.input([1, 12]), b.fully_connected(x, 5, per_channel=True))
    data = narrow(data, bits)[0] if narrowed else data
    model = parse(data)
    (operator,) = model.subgraphs[0].operators
    tensor, weights, bias = operator.inputs
    y = operator.outputs[0]
    rows = batch(random_rows(model, 6))[0]
    for row, outputs in zip(rows, simulate(data, rows, "narrow", bits).outputs[0], strict=True):
        for channel, output in enumerate(outputs):
            products = zip(weights.data[channel], row, strict=True)
            total = sum(int(w) * (int(v) - tensor.zero_point) for w, v in products) + int(bias.data[channel])
            m, s = held_multiplier(tensor.scale * float(weights.quantization.scale.values[channel]) / y.scale, bits)
            assert m < 1 << bits or not narrowed
            assert output == clamped(rounded(total * m / Fraction(2) ** s), y)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 31])
@pytest.mark.parametrize(
    "scales", [(0.031, 0.047, 0.06), (0.5, 0.0001, 0.4), (0.001, 0.002, 0.9), (0.5, 0.375, 1.0), (0.25, 0.3, 0.5)]
)
def test_narrow_add_sums_exactly_before_its_one_rounding(bits, scales):
    a, b, y = (activation(scale, zero, (1, 40)) for scale, zero in zip(scales, (-7, 12, 3), strict=True))
    data = one_operator("ADD", [a, b], y, 2, "AddOptions")
    model = parse(data)
    first, second = batch(random_rows(model, 5))
    factors = [t.scale / model.subgraphs[0].outputs[0].scale for t in model.subgraphs[0].inputs]
    real = [Fraction(m) / Fraction(2) ** s for m, s in (held_multiplier(f, bits) for f in factors)]
    output = simulate(data, [first, second], "narrow", bits).outputs[0]
    for v, w, got in zip(first.flat, second.flat, output.flat, strict=True):
        exact = (int(v) + 7) * real[0] + (int(w) - 12) * real[1]
        assert got == clamped(rounded(exact), model.subgraphs[0].outputs[0])


@pytest.mark.parametrize("scale", [0.017, 0.06])
@pytest.mark.parametrize("bits", [1, 4, 31])
def test_narrow_mean_divides_exactly(bits, scale):
    data = one_operator("MEAN", [A, indices([1, 2])], activation(scale, 5, (1, 4)), 2, "ReducerOptions")
    model = parse(data)
    (rows,) = batch(random_rows(model, 5))
    m, s = held_multiplier(model.subgraphs[0].inputs[0].scale / model.subgraphs[0].outputs[0].scale, bits)
    output = simulate(data, rows, "narrow", bits).outputs[0]
    for row, got in zip(rows, output, strict=True):
        for channel in range(4):
            total = sum(int(v) + 7 for v in row[:, :, channel].flat)
            assert got[channel] == clamped(rounded(total * m / Fraction(2) ** s / 36), model.subgraphs[0].outputs[0])


def test_rules_may_give_an_operator_more_bits_than_the_model():
    """A factor of 3 bits in a model of k = 1 is not rounded to a shift."""
    data = one_operator("QUANTIZE", [activation(0.05, 0)], activation(0.08, 0), 2)  # 5 / 8
    rows = np.arange(-72, 72, dtype=np.int8).reshape(1, 6, 6, 4)
    wanted = [rounded(Fraction(5 * int(v), 8)) for v in rows.flat]
    assert simulate(data, rows, "narrow", 1).outputs[0].reshape(-1).tolist() == wanted


def test_narrow_is_a_shift_at_one_bit():
    data = one_operator("QUANTIZE", [activation(0.04, 0)], activation(0.16, 0), 2)
    rows = np.array([-6, -2, -1, 0, 1, 2, 6] * 144, np.int8)[:144].reshape(1, 6, 6, 4)
    assert simulate(data, rows, "narrow", 1).outputs[0].reshape(-1)[:7].tolist() == [-1, 0, 0, 0, 0, 1, 2]


def test_a_batch_equals_its_rows():
    data = residual_network(batch=1)
    rows = batch(random_rows(parse(data), 7))[0]
    for rounding, bits in (("narrow", 3), ("tflm", None), ("tflite", None)):
        together = simulate(data, rows, rounding, bits)
        for i, row in enumerate(rows):
            alone = simulate(data, row[None], rounding, bits)
            assert together.tensors.keys() == alone.tensors.keys()
            for key, value in alone.tensors.items():
                np.testing.assert_array_equal(together.tensors[key][i : i + 1], value)


def test_a_model_with_a_batch_of_its_own_takes_multiples_of_it():
    data = residual_network(batch=8)
    rows = batch(random_rows(parse(data), 2))[0]
    (output,) = simulate(data, rows, "narrow", 4).outputs
    halves = [simulate(data, rows[i : i + 8], "narrow", 4).outputs[0] for i in (0, 8)]
    np.testing.assert_array_equal(output, np.concatenate(halves))


def test_rows_are_successive_inferences_of_a_model_with_state():
    data = variant("models/micro-wake-word-models__okay_nabu", 31)
    rows = batch([random_rows(parse(data), 1)[0]] * 4)[0]
    outputs = simulate(data, rows, "tflm").tensors
    again = simulate(data, rows, "tflm").tensors
    assert any(
        len({row.tobytes() for row in np.split(value, 4)}) > 1 for value in outputs.values() if len(value) % 4 == 0
    )
    for key, value in outputs.items():
        np.testing.assert_array_equal(value, again[key])


def test_narrowed_to_31_bits_differs_from_the_double_rounding_by_one_at_most():
    data = residual_network(batch=1)
    model = parse(data)
    rows = batch(random_rows(model, 20))[0]
    stem = model.subgraphs[0].operators[0].outputs[0]
    ours, stock = (simulate(data, rows, rounding)[stem].astype(int) for rounding in ("narrow", "tflm"))
    assert np.abs(ours - stock).max() <= 1


def test_activations_that_no_kernel_has_are_named():
    """Plain integers, too: what is clamped like them has no scale that a range could be taken from."""
    integers = {"shape": [1, 4], "scale": None, "zero_point": None, "type": "INT32"}
    tanh = schema.ActivationFunctionType.TANH
    for name in ("ADD", "SUB", "MUL"):
        options = {"table": f"{name.capitalize()}Options", "fusedActivationFunction": tanh}
        (line,) = unsupported(one_operator(name, [integers, integers], integers, **options))
        assert line.endswith("a fused activation TANH is not simulated")


def test_all_unsupported_operators_are_named_at_once():
    b = TFLiteBuilder()
    x = b.input([1, 4])
    y = b.unknown(b.unknown(x, op="NEG", name="first"), op="CUSTOM:mine", name="second")
    data = b.build(x, y)
    lines = unsupported(data)
    assert [line.split()[2] for line in lines] == ["NEG", "CUSTOM:mine"]
    with pytest.raises(ModelError, match=r"(?s)NEG \(first\).*CUSTOM:mine \(second\)"):
        simulate(data, np.zeros((1, 4), np.int8), "tflm")


def test_a_float_model_is_refused():
    float_tensor = {"shape": [1, 4], "type": "FLOAT32"}
    data = one_operator("ADD", [float_tensor, float_tensor], float_tensor, 1, "AddOptions")
    assert len(unsupported(data)) == 1


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), "is INT8, got an array of uint8"),
        (np.zeros((1, 8, 8, 4), np.int8), r"has shape \[1, 8, 8, 3\]"),
        (np.zeros((0, 8, 8, 3), np.int8), "whole inferences"),
        ([np.zeros((1, 8, 8, 3), np.int8)] * 2, "has 1 inputs, got 2"),
        ([[1, 2, 3]], "is INT8, got an array of int64"),
        ({"input": np.zeros((1, 8, 8, 3), np.int8)}, "is INT8, got an array of <U5"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, match):
    with pytest.raises(UsageError, match=match):
        simulate(residual_network(batch=1), inputs, "tflm")


@pytest.mark.parametrize(("rounding", "bits"), [("double", None), ("tflm", 4), ("narrow", 0), ("narrow", 32)])
def test_roundings_and_widths_out_of_range_are_refused(rounding, bits):
    with pytest.raises(UsageError):
        simulate(residual_network(batch=1), np.zeros((1, 8, 8, 3), np.int8), rounding, bits)


def test_shapes_that_do_not_fit_are_damage():
    data = one_operator("TRANSPOSE", [A, indices([0, 3, 1])], A, 2)
    with pytest.raises(ModelError, match=r"TRANSPOSE .* cannot run"):
        simulate(data, np.zeros((1, 6, 6, 4), np.int8), "tflm")


def test_missing_inputs_are_named():
    data = one_operator("TRANSPOSE", [A], A, 2)
    assert unsupported(data) == ["operator 0 TRANSPOSE (y): it lacks inputs"]


def test_options_of_another_operator_are_damage():
    data = one_operator("LEAKY_RELU", [A], B, 2, "Pool2DOptions")
    with pytest.raises(ModelError, match="has options of type"):
        simulate(data, np.zeros((1, 6, 6, 4), np.int8), "tflm")


def test_multipliers_of_the_factors_are_those_of_the_package():
    for factor in (0.3, 0.0007, 1.99999, 7.5):
        for bits in (1, 4, 31):
            recovered = rescale.recover(factor, bits)
            assert exact_multiplier(factor, bits) == (int(recovered.multiplier), int(recovered.shift))
    for factor in (0.3, 0.0007, 0.625, 7.5, 3 * (1 + 2.0**-22), 3 * (1 + 2.0**-20)):
        for bits in (1, 16, 17, 31):
            held = rescale.recover_held(factor, bits)
            assert held_multiplier(factor, bits) == (int(held.multiplier), int(held.shift))


def test_shapes_that_only_a_run_tells_are_no_damage():
    """As the converter writes them behind layers that compute shapes: 1 in the place of what it does not know."""
    b = TFLiteBuilder(0)
    x = b.input([1, 6])
    model = unpack(b.build(x, b.fully_connected(x, 4)))
    tensor = model.subgraphs[0].tensors[x]
    tensor.shape = [1, 1]
    for signature, message in (
        (
            [-1, -1],
            r"FULLY_CONNECTED .* has tensors whose shapes are known only when it runs: tensor 0 .*; convert the",
        ),
        ([-1, 1], r"the file is damaged: operator 0 FULLY_CONNECTED .* cannot run: inputs of shape \[1, 1\]"),
    ):
        tensor.shapeSignature = signature
        with pytest.raises(ModelError, match=message):
            check(pack(model), 4)
