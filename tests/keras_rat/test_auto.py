# SPDX-License-Identifier: Apache-2.0
"""Widths that are chosen on data: against brute force with the public API, and from there to the file."""

import itertools

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from keras_rat import widths
from tests.helpers import networks
from tests.helpers.litert import LiteRT, off_grid
from tests.helpers.sweeps import sampled
from tflm_export import ModelError, UsageError
from tflm_export.search import UNIFORM

pytestmark = [pytest.mark.arithmetic, pytest.mark.sweep(3)]
L = keras.layers
MAX_DROP = 0.03
NAMES = ("stem", "uneven", "last")


def uneven():
    """Three layers, of which the middle one alone needs wide multipliers.

    Its weights are 1 to 3 127ths of the largest, which belongs to an input that is always 0: a step that is coarser by
    up to half leaves little of them. Of the other layers all weights are equally large.
    """
    random = np.random.default_rng(0)
    inputs = keras.Input((4, 4, 4))
    x = L.Conv2D(8, 1, activation="relu", name="stem")(inputs)
    x = L.Conv2D(8, 1, activation="relu", name="uneven")(x)
    model = keras.Model(inputs, L.Conv2D(4, 1, name="last")(x))
    stem = 0.25 * random.choice([-1.0, 1.0], (1, 1, 4, 8))
    stem[..., 0] = -0.25
    middle = random.integers(1, 4, (1, 1, 8, 8)) * random.choice([-1.0, 1.0], (1, 1, 8, 8)) / 127
    middle[:, :, 0] = 1
    last = 0.5 * random.choice([-1.0, 1.0], (1, 1, 8, 4))
    for name, kernel in zip(NAMES, (stem, middle, last), strict=True):
        model.get_layer(name).set_weights([kernel, np.zeros(kernel.shape[-1])])
    return model


ROWS = np.random.default_rng(1).uniform(0, 1, (64, 4, 4, 4)).astype(np.float32)


def outputs(model, bits, rows, **options) -> np.ndarray:
    """Of every fourth row, calibrated on the others, float64 [rows, ...]; by the public API alone."""
    held_out = np.arange(len(rows)) % 4 == 3
    quantized = keras_rat.quantize_model(model, bits, **options)
    keras_rat.calibrate(quantized, rows[~held_out])
    return np.float64(quantized(rows[held_out], training=False))


def relative_change(stock: np.ndarray, other: np.ndarray) -> float:
    centred = stock.reshape(len(stock), -1)
    centred = centred - centred.mean(1, keepdims=True)
    return float(np.sqrt(np.square(other - stock).sum() / np.square(centred).sum()))


@pytest.fixture(scope="module")
def chosen():
    return keras_rat.choose_bits(uneven(), ROWS, MAX_DROP)


@pytest.mark.slow
def test_the_choice_is_the_narrowest_of_all(chosen):
    model, wide = uneven(), chosen.bits["^uneven$"]
    stock = outputs(model, 31, ROWS)
    drop = {}
    for each in itertools.product((1, wide), repeat=3):
        bits = {f"^{name}$": k for name, k in zip(NAMES, each, strict=True)}
        drop[each] = relative_change(stock, outputs(model, bits, ROWS))
    within = [each for each, change in drop.items() if change <= MAX_DROP]
    assert min(within, key=sum) == (1, wide, 1) == tuple(chosen.bits.values())
    assert all(each[1] == wide for each in within)
    assert chosen.agreement.relative_change == pytest.approx(drop[1, wide, 1], rel=1e-6)
    assert chosen.agreement.rows == 16
    narrower = UNIFORM[UNIFORM.index(wide) - 1]
    assert relative_change(stock, outputs(model, narrower, ROWS)) > MAX_DROP


def everything():
    """Layers that are two in the quantised model, or have no weights, or a slope of their own."""

    def build(x):
        x = L.LeakyReLU(0.3, name="leaky")(L.Conv2D(4, 3, padding="same", name="conv2d.1")(x))
        x = L.SeparableConv2D(4, 3, padding="same", activation="relu", name="separable")(x)
        x = L.Add(name="sum")([x, networks.conv_bn(x, 4)])
        return L.Dense(6, name="map")(L.GlobalAveragePooling2D(name="pool")(x))

    return networks.functional(build)


@pytest.mark.slow
@pytest.mark.parametrize("method", sampled(["requantize", "keep"], 2))
def test_what_was_measured_is_what_the_model_does(digits, method):
    model, images = networks.build(everything), digits[0][:96]
    before = model.get_weights()
    found = keras_rat.choose_bits(model, images, 0.1, method)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    stock, narrow = (outputs(model, bits, images, method=method) for bits in (31, found.bits))
    assert found.agreement.top1 == (stock.argmax(1) == narrow.argmax(1)).mean() >= 0.9
    assert found.agreement.relative_change == pytest.approx(relative_change(stock, narrow), rel=1e-4)
    assert list(found.bits) == ["^conv2d\\.1$", "^leaky$", "^separable$", "^conv2d$", "^sum$", "^pool$", "^map$"]


@pytest.fixture(scope="module", params=sampled(["keep", "requantize"], 2))
def model(request):
    """Calibrated, with chosen widths."""
    model = keras_rat.quantize_model(uneven(), "auto", request.param, data=ROWS, max_drop=MAX_DROP)
    keras_rat.calibrate(model, ROWS)
    return model


def test_auto_has_the_widths_of_the_choice(model, chosen):
    found = widths(model)
    if model.get_layer("quant_stem").quantize_config.quantizer.method == "requantize":
        assert found == {f"quant_{name}": chosen.bits[f"^{name}$"] for name in NAMES}
    for each in keras_rat.multipliers(model):
        assert set(each.bits) == {found[each.layer]}


def test_every_factor_of_the_file_is_on_the_grid_of_its_layer(model):
    factors = LiteRT(keras_rat.convert(model)).factors()
    for (name, factor), bits in zip(factors, widths(model).values(), strict=True):
        assert off_grid(factor, bits).max() < 2.0**-21, name


@pytest.mark.slow
@pytest.mark.parametrize("form", ["h5", "tf"])
def test_chosen_widths_survive_saving(model, tmp_path, form):
    model.save(tmp_path / f"model.{form}", save_format=form)
    with keras_rat.quantize_scope():
        copy = keras.models.load_model(tmp_path / f"model.{form}")
    assert widths(copy) == widths(model)
    np.testing.assert_array_equal(copy(ROWS), model(ROWS))


def test_patterns_and_annotations_fix_some_layers():
    found = keras_rat.choose_bits(uneven(), ROWS, MAX_DROP, bits={"uneven": "auto", ".*": 6})
    assert [found.bits["^stem$"], found.bits["^last$"]] == [6, 6]
    assert found.bits["^uneven$"] < 6
    assert found.agreement.drop <= MAX_DROP
    plain = uneven()

    def annotated(layer):
        return keras_rat.quantize_annotate_layer(layer, bits=7) if layer.name == "stem" else layer

    found = keras_rat.choose_bits(keras.models.clone_model(plain, clone_function=annotated), ROWS, 1.0)
    assert found.bits == {"^stem$": 7, "^uneven$": 1, "^last$": 1}


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ({"stem": "auto"}, "no pattern of bits matches layers uneven, last; add"),
        ({".*": "auto", "stme": 4}, "match no layer: 'stme'; the layers that rescale are stem, uneven, last"),
        ({".*": 4}, "leaves nothing to choose"),
        (4, "leaves nothing to choose"),
        ({".*": "auto", "(": 4}, "no regular expression"),
        ({"stem": 40, ".*": "auto"}, "1 to 31, got 40"),
        ("Auto", "1 to 31, got 'Auto'"),
    ],
)
def test_bits_that_cannot_be_chosen(bits, message):
    with pytest.raises(UsageError, match=message):
        keras_rat.choose_bits(uneven(), ROWS, bits=bits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_drop": -0.1}, "max_drop must not be negative, got -0.1"),
        ({"max_drop": float("nan")}, "max_drop must not be negative, got nan"),
        ({"multipliers": "best"}, "multipliers must be one of nearest, chosen, absorbed, got 'best'"),
        ({"data": ROWS[:3]}, "at least four rows"),
        ({"data": iter(())}, "no data to choose widths on"),
        ({"data": [np.zeros((8, 4, 4, 4)), np.zeros((8, 5, 4, 4))]}, r"\(5, 4, 4\)|\[8, 5, 4, 4\]"),
        ({"steps": 0}, "steps must be an integer from 1, got 0"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(UsageError, match=message):
        keras_rat.choose_bits(uneven(), **({"data": ROWS} | arguments))


def test_a_tolerance_out_of_reach():
    with pytest.raises(ModelError, match=r"no width up to 16 bits is within 0: \d+ bits?.* drop"):
        keras_rat.choose_bits(uneven(), ROWS, 0.0)


def test_auto_needs_data_and_data_auto():
    for refused in (
        lambda: keras_rat.quantize_model(uneven(), "auto"),
        lambda: keras_rat.RescaleAwareScheme({"stem": "auto", ".*": 4}),
        lambda: keras_rat.quantize_apply(keras_rat.quantize_annotate_model(uneven()), bits="auto"),
    ):
        with pytest.raises(UsageError, match=r"is chosen on data: give quantize_model the data, too, or pass on"):
            refused()
    with pytest.raises(UsageError, match="bits 4 leaves nothing to choose"):
        keras_rat.quantize_model(uneven(), 4, data=ROWS)
    with pytest.raises(UsageError, match="leave out grid csd2"):
        keras_rat.quantize_model(uneven(), "auto", data=ROWS, grid="csd2")
