# SPDX-License-Identifier: Apache-2.0
"""Widths of their own for layers: by patterns, by annotation, and what becomes of them in the converted file."""

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from keras_rat import widths
from keras_rat.convert import _too_wide
from tests.helpers import networks
from tests.helpers.litert import LiteRT, off_grid

pytestmark = pytest.mark.sweep(3)

L = keras.layers


def residual(**kwargs):
    return keras_rat.quantize_model(networks.build(networks.residual), **kwargs)


def test_the_first_pattern_found_in_a_name_counts():
    found = widths(residual(bits={"depthwise": 8, "^conv2d": 2, "add$": 1, ".*": 5}))
    assert found == {
        "quant_conv2d": 2,
        "quant_depthwise_conv2d": 8,
        "quant_conv2d_1": 2,
        "quant_add": 1,
        "quant_conv2d_2": 2,
        "quant_add_1": 5,
        "quant_global_average_pooling2d": 5,
        "quant_dense_1": 5,
        "quant_dense": 5,
    }


def test_one_width_is_every_layers():
    assert set(widths(residual(bits=7)).values()) == {7}


def test_both_parts_of_a_separable_convolution_take_its_width():
    model = networks.build(networks.separable)
    found = widths(keras_rat.quantize_model(model, bits={"separable": 3, ".*": 6}))
    assert {name for name, bits in found.items() if bits == 3} == {
        "quant_separable_conv2d_depthwise",
        "quant_separable_conv2d_pointwise",
    }
    assert set(found.values()) == {3, 6}


def test_layers_without_a_pattern_are_all_named():
    with pytest.raises(ValueError, match=r"matches layers add, add_1, global_average_pooling2d, dense_1, dense; add"):
        residual(bits={"conv": 3})


def test_patterns_of_no_use_are_all_named():
    with pytest.raises(ValueError, match=r"match no layer: 'cnov', 'dence'; the layers that rescale are conv2d, "):
        residual(bits={".*": 3, "cnov": 1, "dence": 2})


@pytest.mark.parametrize("bits", [{"(": 2}, {3: 2}, {".*": 0}, {".*": 32}, {".*": True}, {}])
def test_a_mapping_out_of_range(bits):
    with pytest.raises(ValueError, match="bits"):
        residual(bits=bits)


def annotated():
    return keras.Sequential(
        [
            keras_rat.quantize_annotate_layer(L.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), bits=1),
            L.Flatten(),
            L.Dense(8, activation="relu"),
            keras_rat.quantize_annotate_layer(L.Dense(10), bits=6),
        ]
    )


@pytest.mark.parametrize("bits", [3, {"^dense$": 3}], ids=["one width", "patterns"])
def test_annotated_widths_come_before_the_schemes(bits):
    model = keras_rat.quantize_annotate_model(networks.build(annotated))
    found = widths(keras_rat.quantize_apply(model, bits=bits))
    assert found == {"quant_conv2d": 1, "quant_dense": 3, "quant_dense_1": 6}


def test_quantize_model_heeds_annotated_widths():
    assert widths(keras_rat.quantize_model(networks.build(annotated), 2))["quant_dense_1"] == 6


def test_an_annotated_width_is_checked():
    with pytest.raises(ValueError, match="1 to 31, got 0"):
        keras_rat.quantize_annotate_layer(L.Dense(2), bits=0)
    config = keras_rat.configs.NoQuantizeConfig()
    with pytest.raises(ValueError, match=r"dense_of_two.*not both"):
        keras_rat.quantize_annotate_layer(L.Dense(2, name="dense_of_two"), config, bits=2)


@pytest.fixture(scope="module")
def converted(digits):
    model = residual(bits={"depthwise": 8, "^conv2d": 2, "add$": 1, ".*": 5})
    keras_rat.calibrate(model, digits[0][:64])
    return model, keras_rat.convert(model)


def test_every_factor_of_the_file_is_on_the_grid_of_its_layer(converted):
    expected = [2, 8, 2, 1, 1, 2, 5, 5, 5, 5, 5]  # an addition has two factors
    factors = LiteRT(converted[1]).factors()
    for (name, factor), bits in zip(factors, expected, strict=True):
        assert off_grid(factor, bits).max() < 2.0**-21, name
        if bits > 1 and factor.size > 1:
            assert off_grid(factor, bits - 1).max() > 2.0**-10, name  # and not on a narrower one by mistake


def test_a_rescale_wider_than_its_layer_is_found_and_named(converted):
    model, data = converted
    assert not _too_wide(data, widths(model))
    wrong = widths(model) | {"quant_depthwise_conv2d": 1}
    ((row, _),) = _too_wide(data, wrong)
    assert "quant_depthwise_conv2d" in row.label
    assert row.bits == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", ["h5", "tf"])
def test_widths_survive_saving(digits, tmp_path, form):
    model = keras_rat.quantize_model(networks.build(annotated), {"dense": 3})
    keras_rat.calibrate(model, digits[0][:64])
    model.save(tmp_path / f"model.{form}", save_format=form)
    with keras_rat.quantize_scope():
        copy = keras.models.load_model(tmp_path / f"model.{form}")
    assert widths(copy) == widths(model)
    np.testing.assert_array_equal(copy(digits[2]), model(digits[2]))
