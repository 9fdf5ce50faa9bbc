"""`--verify`: the runtimes run both models, and the simulator says the same as they do."""

import numpy as np
import pytest

from tests.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import narrow
from tflm_export.__main__ import main
from tflm_export.flatbuffer.model import parse
from tflm_export.verify import RUNTIMES, random_inputs, verify

NETWORK = residual_network(batch=1)


@pytest.fixture(scope="module")
def found():
    return verify(NETWORK, narrow(NETWORK, 2)[0], random_inputs(parse(NETWORK), 3))


def test_all_runtimes_agree_with_the_simulator(found):
    assert set(found.outputs) == set(RUNTIMES)
    assert found.failures == {}
    for layer in found.layers:
        assert layer.differences == {"LiteRT reference": 0, "TFLM": 0}, layer


def test_changes_grow_from_the_input_to_the_output_and_are_not_zero(found):
    assert all(set(layer.change) == {"LiteRT reference", "TFLM"} for layer in found.layers)
    assert all(0 < layer.change["TFLM"] < 0.5 for layer in found.layers if layer.label.endswith("CONV_2D"))
    assert all(agreement.rows == 3 for agreement in found.outputs.values())


def test_a_model_against_itself_does_not_change():
    same = verify(NETWORK, NETWORK, random_inputs(parse(NETWORK), 2))
    assert all(agreement.relative_change == 0 for agreement in same.outputs.values())
    assert all(change == 0 for layer in same.layers for change in layer.change.values())


def test_a_model_the_runtimes_refuse_is_reported():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    data = b.build(x, b.unknown(b.conv(x, 3), op="CUSTOM:strange"))
    refused = verify(data, narrow(data, 1)[0], random_inputs(parse(data), 1))
    assert set(refused.failures) == set(RUNTIMES)
    assert "cannot run the model" in refused.table()


def test_random_inputs_have_the_types_of_the_model():
    (inputs,) = random_inputs(parse(NETWORK), 50)
    assert inputs.dtype == np.int8
    assert inputs.shape == (50, 8, 8, 3)
    assert (inputs.min(), inputs.max()) == (-128, 127)


def test_on_the_command_line(tmp_path, capsys):
    model = tmp_path / "model.tflite"
    model.write_bytes(NETWORK)
    data = tmp_path / "data.npz"
    np.savez(data, input=np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 3), np.int8))
    flags = ["--bits=1", "--verify=2", f"--calibration={data}", f"--cc_array={tmp_path}"]
    assert main(["tflm_export", *flags, str(model)]) == 0
    printed = capsys.readouterr().out
    assert "TFLM: top-1 agreement" in printed
    assert "agreement with the stock model: top-1 agreement" in printed
    assert (tmp_path / "model_k1_model_data.cc").is_file()
    assert main(["tflm_export", "--bits=1", "--verify=0", "--overwrite", str(model)]) == 2
    assert "--verify needs at least one row" in capsys.readouterr().err
