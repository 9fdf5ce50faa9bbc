# SPDX-License-Identifier: Apache-2.0
"""`keep` with data: choices against all combinations there are, what may change in the file, and real accuracy."""

import itertools
import tracemalloc

import numpy as np
import pytest

from tests.helpers import corpus, exact, peer
from tests.helpers.signed_digits import ThreeDigits
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder, pack, residual_network, unpack
from tflm_export import check, narrow, rescale, simulator
from tflm_export.calibration import Calibration, quantized_inputs
from tflm_export.compare import compare
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.kept.candidates import Sums, corrected_bias
from tflm_export.kept.choice import NEAREST, choose
from tflm_export.kept.refinement import damped_solution
from tflm_export.signed_digits import CSD2

pytestmark = pytest.mark.sweep(5)

ROWS = np.random.default_rng(3).integers(-128, 128, (64, 8, 8, 3)).astype(np.int8)
FEW = ROWS[:24]  # too few for biases to be adjusted for the outputs: each layer's choice is its own


def one_layer(kind: str, activation: str = "RELU", seed: int = 0) -> bytes:
    """A network of one layer with four channels, whose output's scale is pinned."""
    b = TFLiteBuilder(seed)
    output = {"scale": 0.0529, "zero_point": -128 if activation == "RELU" else 7, "activation": activation}
    if kind == "dense":
        x = b.input([1, 24])
        return b.build(x, b.fully_connected(x, 4, per_channel=True, **output))
    if kind == "per_tensor":
        x = b.input([1, 24])
        return b.build(x, b.fully_connected(x, 4, **output))
    x = b.input([1, 4, 4, 2])
    return b.build(x, b.depthwise(x, 2, **output) if kind == "depthwise" else b.conv(x, 4, **output))


def rows_of(data: bytes, count: int, seed: int = 1) -> np.ndarray:
    shape = parse(data).subgraphs[0].inputs[0].shape
    smooth = np.random.default_rng(seed).normal(20, 50, (count, *shape[1:]))
    return np.clip(np.rint(smooth), -128, 127).astype(np.int8)


def brute_force(data: bytes, rows: np.ndarray, bits: int) -> float:
    """The least squared error over all combinations of floor and ceil, each with its bias corrected, in exact integers.

    A corrected bias is one with which the mean output is nearest to the stock layer's; of all those, the best. All are
    tried in 64ths of a step of the output.
    """
    (operator,) = peer.operators(data)
    trace = simulator.simulate(data, rows, "tflm")
    target = trace.outputs[0].astype(np.int64)
    channels = target.shape[-1]
    target = target.reshape(-1, channels)
    sums = [exact.accumulators(operator, {operator.inputs[0].key[1]: row[None]}) for row in rows]
    sums = np.concatenate(sums).reshape(-1, channels)
    clamp = (-128, 127) if operator.outputs[0].zero == 7 else (operator.outputs[0].zero, 127)
    factors = np.broadcast_to(operator.quotients, (channels,))
    errors = np.zeros((2, channels))
    for which, rounding in enumerate(("down", "up")):
        for channel in range(channels):
            target_here, sums_here = target[:, channel], sums[:, channel]
            factor = rescale.decompose(factors[channel], bits, rounding)
            m, s = int(factor.multiplier), int(factor.shift)
            step = max(1, (1 << s) // (64 * m))
            changes = np.arange(-2048, 2048) * step
            found = exact.rescaled(sums_here[:, None] + changes, np.int64(m), np.int64(s))
            found = np.clip(found + operator.outputs[0].zero, *clamp) - target_here[:, None]
            off = np.abs(found.mean(0))
            best = off <= off.min() + 1e-12
            errors[which, channel] = np.square(found[:, best]).mean(0).min()
    choices = itertools.product((0, 1), repeat=len(operator.quotients))
    return min(sum(errors[c, i] for i, c in enumerate(np.broadcast_to(choice, (channels,)))) for choice in choices)


def error_of(data: bytes, narrowed: bytes, rows: np.ndarray) -> float:
    """Mean squared error of a one-layer network's integers, summed over channels."""
    stock = simulator.simulate(data, rows, "tflm").outputs[0].astype(float)
    found = simulator.simulate(narrowed, rows, "narrow").outputs[0].astype(float)
    return float(np.square(found - stock).reshape(-1, stock.shape[-1]).mean(0).sum())


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("activation", ["RELU", "NONE"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense", "per_tensor"])
def test_no_combination_of_floors_and_ceils_is_better(kind, activation, bits):
    data = one_layer(kind, activation)
    rows = rows_of(data, 30)
    narrowed, report = narrow(data, bits, "keep", {"x": rows})
    assert not report.offenders
    least = brute_force(data, rows, bits)
    nearest = error_of(data, narrow(data, bits, "keep")[0], rows)
    # Where biases are equally good for the mean one is as good as another, and errors differ a little.
    assert error_of(data, narrowed, rows) <= 1.02 * least + 1e-3
    assert least < nearest


@pytest.mark.parametrize("clamp", [(-128, 127), (-100, 127), (-128, 0)])
def test_the_corrected_bias_brings_the_mean_to_the_target(clamp):
    random = np.random.default_rng(5)
    accumulators = np.rint(random.normal(300, 4000, (500, 6)))
    factors = 2.0 ** -np.array([5, 6, 7, 6, 5, 8])
    target = np.clip(random.normal(-30, 40, (500, 6)), *clamp)
    sums = Sums(accumulators, target, -20, clamp)
    bias = corrected_bias(sums, factors, np.zeros(6))
    off = np.abs(sums.outputs(factors, bias).mean(0) - target.mean(0))
    assert off.max() < 0.05
    np.testing.assert_array_equal(bias, np.rint(bias))


def test_a_channel_that_is_always_at_its_end_keeps_its_bias():
    accumulators = np.full((10, 2), -5000.0)
    sums = Sums(accumulators, np.full((10, 2), -128.0), -128, (-128, 127))
    np.testing.assert_array_equal(corrected_bias(sums, np.array([0.25, 0.0]), np.array([17.0, 3.0])), [17, 3])


def model_of(name: str) -> bytes:
    return residual_network(batch=1) if name == "built" else corpus.read(name)


def real_rows(data: bytes, count: int) -> dict[str, np.ndarray]:
    """Rows of no meaning, in the types of the inputs, by name."""
    random = np.random.default_rng(0)
    found = {}
    for tensor in parse(data).subgraphs[0].inputs:
        limits = np.iinfo(tensor.type.lower())
        values = random.normal(tensor.zero_point, (limits.max - limits.min) / 8, (count, *tensor.shape[1:]))
        found[tensor.name] = np.clip(np.rint(values), limits.min, limits.max).astype(limits.dtype)
    return found


MODELS = (
    "built",
    "baselines/fsdd_int8",
    "baselines/har_sp_int8",
    "models/tiny__ad01_int8",
    "models/tiny__str_ww_ref_model",
    "models/micro-wake-word-models__okay_nabu",
    "models/tflite-micro__trained_lstm_int8",
    "models/tflite-micro__keyword_scrambled",
    "models/tflite-micro__conv0",
)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bits", [1, 3])
def test_only_scales_biases_and_nothing_else_change(name, bits):
    """Weights and constants keep their bytes, factors are on the grid, the same rows give the same file."""
    data = model_of(name)
    rows = real_rows(data, 36)
    narrowed, report = narrow(data, bits, "keep", rows)
    rows_by_key = {(row.subgraph, row.index): row for row in report.rows}
    for old, new in zip(peer.operators(data), peer.operators(narrowed), strict=True):
        for before, after in zip(old.inputs, new.inputs, strict=True):
            is_bias = before is not None and before.type in ("INT32", "INT64")
            if before is not None and before.data.size and not is_bias:
                assert before.data.tobytes() == after.data.tobytes()
        row = rows_by_key.get(new.key)
        if row is not None and not row.reason and new.rescales:
            assert peer.off_grids(new.quotients, bits).max(initial=0) < 2.0**-21
    assert {row.label for row in check(narrowed, bits).offenders} <= {row.label for row in report.offenders}
    assert narrow(data, bits, "keep", rows)[0] == narrowed


@pytest.mark.parametrize("bits", [1, 4])
def test_a_narrowed_file_stays(bits):
    data = residual_network(batch=1)
    narrowed, _ = narrow(data, bits, "keep", {"x": ROWS})
    assert narrow(narrowed, bits, "keep", {"x": ROWS})[0] == narrowed
    assert narrow(data, 31, "keep", {"x": ROWS})[0] == data


def test_the_stock_scales_of_the_border_stay():
    data = residual_network(batch=1)
    narrowed, _ = narrow(data, 1, "keep", {"x": ROWS})
    for old, new in zip(peer.subgraphs(data), peer.subgraphs(narrowed), strict=True):
        for index in (*old.inputs, *old.outputs):
            assert old.tensors[index].scale.tobytes() == new.tensors[index].scale.tobytes()


def test_the_report_says_what_weights_are_off_by_and_additions_are_not():
    b = TFLiteBuilder(4)
    x = b.input([1, 8, 8, 3])
    y = b.add(b.conv(x, 4, name="left"), b.conv(x, 4, 1, name="right"), scale=0.0517)
    data = b.build(x, b.conv(y, 4, 1, name="last"))
    narrowed, report = narrow(data, 1, "keep", {"x": FEW})
    after = peer.operators(narrowed)
    for row, old, new in zip(report.rows, peer.operators(data), after, strict=True):
        assert row.weight_error == 0
        if row.op == "ADD":
            assert row.gain_error == 0
        else:
            change = new.inputs[1].scale.astype(float) / old.inputs[1].scale - 1
            assert row.gain_error == pytest.approx(np.abs(change).max())
            assert 0.1 < row.gain_error <= 1


def network(seed: int) -> bytes:
    b = TFLiteBuilder(seed)
    x = b.input([1, 8, 8, 3])
    y = b.conv(x, 8, name="first", zero_point=-128, activation="RELU")
    y = b.depthwise(y, name="second", zero_point=-128, activation="RELU")
    y = b.conv(y, 8, 1, name="third", zero_point=-128, activation="RELU", scale=0.03)
    return b.build(x, b.fully_connected(b.flatten(b.pool(y, "AVERAGE")), 5))


@pytest.mark.parametrize("seed", range(3))
def test_each_step_brings_unseen_outputs_nearer(seed):
    """Nearest, nearest with biases, floor or ceil with biases, then biases adjusted for the outputs."""
    data = network(seed)
    rows = rows_of(data, 600, seed)
    train, test = rows[:200], rows[200:]
    kept, changes = narrow(data, 1, "keep")[0], {}
    changes["nearest"] = compare(parse(data), parse(kept), [test]).relative_change
    for name, count in (("chosen", 30), ("adjusted", 200)):
        narrowed, _ = narrow(data, 1, "keep", {"x": train[:count]})
        changes[name] = compare(parse(data), parse(narrowed), [test]).relative_change
    assert changes["adjusted"] < changes["chosen"] < changes["nearest"]


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_a_step_is_the_least_damped_square(shape):
    """More equations than biases, and fewer: no step nearby is better."""
    random = np.random.default_rng(1)
    gradients, errors = random.normal(size=shape), random.normal(size=shape[0])
    ridge = 0.1 * np.square(gradients).sum() / shape[1]

    def cost(step):
        return np.square(gradients @ step + errors).sum() + ridge * np.square(step).sum()

    step = damped_solution(gradients, errors, 0.1)
    slope = 2 * gradients.T @ (gradients @ step + errors) + 2 * ridge * step
    np.testing.assert_allclose(slope, 0, atol=1e-10)
    assert cost(step) < cost(0 * step)


def test_nearest_factors_can_be_had_with_biases_corrected():
    """For inputs that are good for means only."""
    data = network(0)
    grids = {(0, op.index): Grid(1) for op in parse(data).operators if op.name not in ("AVERAGE_POOL_2D", "RESHAPE")}
    model, rows = parse(data), rows_of(data, 40)
    trace = Calibration.run(model, [rows]).trace
    found = choose(model, trace, grids, NEAREST, refine=False, integers_stay=True)
    assert found.keys() == grids.keys()
    for operator in peer.operators(data):
        if operator.key in found:
            logarithms = np.log2(found[operator.key].factors)
            np.testing.assert_array_equal(logarithms, np.rint(logarithms))
            assert np.all(np.abs(found[operator.key].factors / operator.factors - 1) <= 1 / 3 + 1e-6)


def test_layers_with_shared_zero_biases_get_biases_of_their_own():
    b = TFLiteBuilder(2)
    x = b.input([1, 8, 8, 3])
    y = b.conv(x, 3, name="first")
    b.conv(y, 3, name="second")
    model = unpack(b.build(x, b.graph.operators[-1].outputs[0]))
    graph = model.subgraphs[0]
    biases = [graph.tensors[operator.inputs[2]] for operator in graph.operators]
    model.buffers[biases[0].buffer].data = np.zeros(12, np.uint8)
    biases[1].buffer = biases[0].buffer
    data = pack(model)
    for method in ("keep", "requantize"):
        narrowed, report = narrow(data, 1, method, {"x": FEW})
        assert not report.offenders
        first, second = (operator.inputs[2].data.tobytes() for operator in peer.operators(narrowed))
        assert first != second


@pytest.mark.parametrize("grid", [CSD2, ThreeDigits()], ids=str)
def test_another_grid(grid):
    data = network(1)
    narrowed, report = narrow(data, grid, "keep", {"x": FEW})
    assert not report.offenders
    for operator in peer.operators(narrowed):
        if operator.name == "CONV_2D":
            assert grid.contains(operator.quotients).all()


def test_single_operators_may_keep_their_weights():
    """Beside others that are re-rounded, on the same rows."""
    data = network(2)
    narrowed, report = narrow(data, 1, "requantize", {"x": ROWS}, {"first": {"bits": 1, "method": "keep"}})
    assert not report.offenders
    pairs = zip(peer.operators(data), peer.operators(narrowed), strict=True)
    same = [old.inputs[1].data.tobytes() == new.inputs[1].data.tobytes() for old, new in pairs if old.rescales]
    assert same[0]
    assert not all(same)


def test_memory_does_not_grow_with_windows():
    """Accumulators of 64 images of 64 x 64 x 16 would take 33 MB; a sample of them and a block at a time take less."""
    b = TFLiteBuilder(0)
    x = b.input([1, 64, 64, 2])
    data = b.build(x, b.conv(x, 16, name="wide"))
    rows = rows_of(data, 128)
    model = parse(data)
    trace = Calibration.run(model, [rows]).trace
    tracemalloc.start()
    choose(model, trace, {(0, 0): Grid(1)}, refine=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 128 * 64 * 64 * 16 * 16  # bytes: two accumulators of 64 bits for each output


ACCURACY = {
    "fsdd": ("baselines/fsdd_int8", "fsdd_mfcc", 1, {1: 0.93, 2: 0.955}),
    "har_sw": ("baselines/har_sw_int8", "har_sw", 1, {1: 0.90, 2: 0.92}),
    "mnist": ("models/tinymaix__mnist_dw_q", "mnist", 255, {1: 0.875, 2: 0.89}),
}


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("task", sampled(ACCURACY, 2))
def test_real_networks_stay_accurate(task, bits):
    name, archive, divisor, least = ACCURACY[task]
    data = corpus.read(name)
    file = np.load(corpus.FOLDER / "data" / f"{archive}.npz")
    divisor = file["suggested_divisor"] if "suggested_divisor" in file else np.float32(divisor)
    train, test = (file[key].astype(np.float32) / divisor for key in ("x_train", "x_test"))
    train = train[np.random.default_rng(0).permutation(len(train))[:256]]
    narrowed, report = narrow(data, bits, "keep", {"x": train})
    assert not report.offenders
    inputs = quantized_inputs(parse(data), {"x": test})
    found = simulator.simulate(narrowed, inputs, "tflm").outputs[0]
    assert np.mean(found.reshape(len(test), -1).argmax(1) == file["y_test"]) >= least[bits]


@pytest.mark.parametrize("place", ["input", "output"])
def test_layers_at_variables_are_rounded_to_nearest(place):
    """What a variable holds no trace says."""
    b = TFLiteBuilder(3)
    x = b.input([1, 12], zero_point=0)
    kept = b.tensor("kept", [1, 12], scale=0.0371, variable=True)
    y = b.fully_connected(kept if place == "input" else x, 12, name="layer")
    if place == "output":
        b.graph.operators[-1].outputs = [kept]
        y = b.fully_connected(x, 12, name="other")
    data = b.build(x, [y, b.fully_connected(x, 4, name="free")])
    rows = np.random.default_rng(0).integers(-128, 128, (8, 12), np.int8)
    _, report = narrow(data, 1, "keep", rows)
    assert not report.offenders


@pytest.mark.parametrize("extreme", [-(1 << 63), (1 << 63) - 1])
def test_a_bias_at_the_end_of_its_type_stays_there(extreme):
    """Growing with its factor it would leave 64 bits; numpy warns of that, and warnings are errors."""
    b = TFLiteBuilder(2)
    x = b.input([1, 24], type="INT16", zero_point=0)
    model = unpack(b.build(x, b.fully_connected(x, 4, scale=0.05, zero_point=0)))
    (bias,) = (t for t in model.subgraphs[0].tensors if t.name.endswith(b"bias"))
    model.buffers[bias.buffer].data = np.array([0, extreme, 7, extreme], np.int64).view(np.uint8)
    rows = np.random.default_rng(0).integers(-3000, 3000, (30, 24)).astype(np.int16)
    for bits in (1, 4):
        narrowed, report = narrow(pack(model), bits, "keep", {"x": rows})
        assert not report.offenders
        (layer,) = peer.operators(narrowed)
        assert np.sign(layer.inputs[2].integers[[1, 3]]).tolist() == [np.sign(extreme)] * 2
        assert np.abs(layer.inputs[2].integers[[1, 3]].astype(float)).min() > 2.0**61
