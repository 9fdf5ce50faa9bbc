# SPDX-License-Identifier: Apache-2.0
"""benchmarks.applications: what is measured, and the table of it."""

import json

import numpy as np
import pytest
import tf_keras as keras

from benchmarks import application_runs, applications, efficientnet_lite
from tflm_export import UsageError

GOOD = {
    "pixels": 32,
    "parameters": 1234567,
    "seconds": {"quantize": 1.25, "convert": 3.0},
    "wide": [],
    "most": 2,
    "beyond": 0.0125,
    "kernels": 27.0,
    "sqnr": 21.04,
    "together": 25.0,
    "same": 0.5,
}
RESULTS = {
    "2 Good": GOOD,
    "3 Better": GOOD | {"sqnr": 30.0},
    "2 Refused": {"pixels": 32, "seconds": {}, "refused": "layers a | b (LSTM)"},
    "2 Wide": GOOD | {"wide": ["ADD (x)"], "sqnr": 3.0},
}


def test_the_worst_come_first_and_refusals_before_them():
    assert applications.worst_first(RESULTS) == ["2 Refused", "2 Wide", "2 Good", "3 Better"]


def test_a_line_of_the_table():
    text = applications.markdown(RESULTS, "the command", {"numpy": "2.0"})
    assert "`the command` (numpy 2.0): 2 of 4 networks" in text
    assert (
        "| Good | 2 | 32 | 1,234,567 | narrow | 27.0 dB | 25.0 dB, 2 LSB | 21.0 dB, 50% |  | 1.2 |  | 3.0 |  |" in text
    )
    assert "refused: layers a \\| b (LSTM)" in text
    assert "wider than wanted: ADD (x)" in text


@pytest.mark.parametrize(
    ("only", "versions", "message"),
    [("(", ["2"], "no regular expression"), ("Nothing", ["2"], "no network"), ("", ["4"], "takes 2 and 3")],
)
def test_wrong_selections_say_what_there_is(only, versions, message):
    with pytest.raises(UsageError, match=message):
        applications.selected(only, versions)


def test_networks_that_one_keras_alone_has():
    found = applications.selected("RegNet|MobileNet$", ["2", "3"])
    assert found == [("2", "MobileNet"), ("2", "RegNetX002"), ("2", "RegNetY002"), ("3", "MobileNet")]


def test_signal_is_what_differs_from_row_to_row():
    wanted = np.array([[5.0, 0.0], [7.0, 0.0]])
    assert application_runs.sqnr(wanted + 0.1, wanted) == pytest.approx(10 * np.log10(0.5 / 0.01))


def test_settled_statistics_are_those_of_the_images():
    images = application_runs.crops(8, 16, 0)
    assert images.shape == (16, 8, 8, 3)
    assert 0 <= images.min() < images.max() <= 255
    norm = keras.layers.BatchNormalization()
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(norm(inputs)))
    application_runs.settle(model, images)
    np.testing.assert_allclose(norm.moving_mean, images.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, images.var((0, 1, 2)), rtol=0.01)
    np.testing.assert_array_equal(norm.beta, 2.0)
    assert (norm.momentum, model.layers[-1].rate) == (0.99, 0.5)


def test_what_is_measured_is_kept_and_not_measured_again(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(applications, "in_process", lambda version, name: asked.append(name) or dict(GOOD))
    page = tmp_path / "keras_models.md"
    page.write_text(f"before\n{applications.BEGIN}\nold\n{applications.END}\nafter\n")
    line = ["applications", "--only=VGG", "--keras=2", f"--output={tmp_path}", f"--publish={tmp_path}"]
    for _ in range(2):
        assert applications.main(line) == 0
    assert asked == ["VGG16", "VGG19"]
    stored = json.loads((tmp_path / "results" / "applications" / "applications_requantize_4.json").read_text())
    assert set(stored["results"]) == {"2 VGG16", "2 VGG19"}
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| VGG16 | 2 |" in text
    assert "VGG19" in capsys.readouterr().out


def test_a_page_without_a_place_for_the_table_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(applications, "in_process", lambda version, name: dict(GOOD))
    (tmp_path / "keras_models.md").write_text("nothing")
    line = ["applications", "--only=VGG16", "--keras=2", f"--output={tmp_path}", f"--publish={tmp_path}"]
    assert applications.main(line) == 2
    assert "has no lines" in capsys.readouterr().err
    assert (tmp_path / "keras_models.md").read_text() == "nothing"


@pytest.mark.parametrize("version", ["2", "3"])
def test_efficientnet_lite_has_the_parameters_of_its_publication(version):
    """4.7 million with 1,000 classes, by https://github.com/tensorflow/tpu, models/official/efficientnet/lite."""
    module = keras if version == "2" else pytest.importorskip("keras")
    model = efficientnet_lite.efficientnet_lite0(module, (32, 32, 3), 1000)
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert 4.65e6 <= trained < 4.75e6
    assert not {"Multiply", "Activation"} & {type(layer).__name__ for layer in model.layers}
