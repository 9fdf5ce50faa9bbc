# SPDX-License-Identifier: Apache-2.0
"""`--verify`: the runtimes run both models, and the simulator says the same as they do."""

import copy
import dataclasses

import numpy as np
import pytest

from tests.helpers.tflite_builder import TFLiteBuilder, pack, residual_network, schema, unpack
from tflm_export import isolated, narrow, runtimes
from tflm_export.__main__ import main
from tflm_export.flatbuffer.model import parse
from tflm_export.report import place
from tflm_export.verify import RUNTIMES, Verification, random_inputs, verify

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
    assert all(0 < layer.change["TFLM"] < 0.5 for layer in found.layers if layer.op == "CONV_2D")
    assert all(agreement.rows == 3 for agreement in found.outputs.values())


@pytest.mark.slow
def test_a_model_against_itself_does_not_change():
    same = verify(NETWORK, NETWORK, random_inputs(parse(NETWORK), 2))
    assert all(agreement.relative_change == 0 for agreement in same.outputs.values())
    assert all(change == 0 for layer in same.layers for change in layer.change.values())


def output_of(data: bytes, name: str, inputs: np.ndarray) -> np.ndarray:
    """An output on LiteRT, row by row."""
    interpreter = runtimes.litert_module().Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (output,) = [details["index"] for details in interpreter.get_output_details() if details["name"] == name]
    rows = []
    for row in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output))
    return np.concatenate(rows)


@pytest.mark.slow
def test_the_worst_of_several_outputs_counts_and_is_named():
    b = TFLiteBuilder(seed=3)
    x = b.input([1, 8, 8, 3])
    features = b.flatten(b.conv(x, 8, name="stem"))
    stock = b.build(x, [b.softmax(b.flatten(x), name="same"), b.fully_connected(features, 10, name="changed")])
    narrowed = narrow(stock, 1, "keep")[0]
    inputs = random_inputs(parse(stock), 60)
    found = verify(stock, narrowed, inputs)
    before, after = (output_of(data, "changed", *inputs) for data in (stock, narrowed))
    assert set(found.outputs) == set(RUNTIMES)
    for agreement in found.outputs.values():
        assert agreement.top1 == np.mean(before.argmax(1) == after.argmax(1)) < 1
        assert agreement.output.endswith("(changed)")
    assert "of the worst output, tensor" in found.table()
    assert found.problem == ""


def test_a_model_the_runtimes_refuse_is_reported():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    data = b.build(x, b.unknown(b.conv(x, 3), op="CUSTOM:strange"))
    refused = verify(data, narrow(data, 1)[0], random_inputs(parse(data), 1))
    assert set(refused.failures) == set(RUNTIMES)
    assert refused.problem == ""
    assert refused.unverified == "not verified: no runtime could run the model"
    *table, one, other = refused.table().splitlines()  # one line for a reason that two runtimes share
    assert [line.endswith("not verified") for line in table[-2:]] == [True, True]
    names = [line.partition(": cannot run the model: stock file: ")[0] for line in (one, other)]
    assert names == ["LiteRT, LiteRT reference", "TFLM"]


@pytest.mark.slow
def test_layers_that_no_runtime_could_check_are_named():
    """LiteRT's reference kernels and TFLM run it, but for the layer of floats that the simulator does not know."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    y = b.conv(x, 3, name="known")
    real = b.tensor("real", b.shape(y), type="FLOAT32")
    b.operator("DEQUANTIZE", [y], [real], 2)
    sine = b.tensor("sine", b.shape(y), type="FLOAT32")
    b.operator("SIN", [real], [sine])
    data = b.build(x, b.quantize(sine, name="unknown"))
    found = verify(data, narrow(data, 1)[0], random_inputs(parse(data), 1))
    assert set(found.outputs) == set(RUNTIMES)
    assert found.unverified.startswith("not verified, as no runtime could be compared with the simulator: 0 CONV_2D")


@pytest.mark.slow
def test_other_subgraphs_are_not_verified():
    """Runtimes run the main one alone, and what is narrowed in another is not checked by that."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    model = unpack(b.build(x, b.conv(x, 3)))
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    data = pack(model)
    found = verify(data, narrow(data, 1)[0], random_inputs(parse(data), 1))
    assert [(place(layer.subgraph, layer.index), layer.is_verified) for layer in found.layers] == [
        ("0", True),
        ("1.0", False),
    ]
    assert found.unverified.endswith(": 1.0 CONV_2D")
    assert found.table().splitlines()[3].split() == ["1.0", "CONV_2D", "not", "verified"]


@pytest.mark.slow
def test_outputs_that_are_classes_and_second_outputs_are_compared():
    b = TFLiteBuilder(1)
    x = b.input([1, 12])
    dense = b.fully_connected(x, 8, name="dense")
    parts = [b.tensor(name, [1, 4], scale=b.scale(dense), zero_point=b.zero_point(dense)) for name in ("left", "right")]
    axis = b.tensor("axis", [1], type="INT32", data=[1])
    b.operator("SPLIT", [axis, dense], parts, numSplits=2)
    best = b.tensor("best", [1], type="INT32")
    b.operator("ARG_MAX", [parts[1], axis], [best], outputType=schema.TensorType.INT32)
    data = b.build(x, best)
    found = verify(data, narrow(data, 1)[0], random_inputs(parse(data), 4))
    assert [layer.op for layer in found.layers] == ["FULLY_CONNECTED", "SPLIT", "ARG_MAX"]
    assert all(layer.is_verified for layer in found.layers)
    assert found.problem == found.unverified == ""


@pytest.mark.parametrize(("reached", "file"), [(0, "stock"), (1, "narrowed")])
def test_a_runtime_that_dies_is_named_with_the_file_it_died_of(tmp_path, monkeypatch, reached, file):
    """In place of Python, a process that ends as one does whose memory was overwritten."""
    shell = tmp_path / "python"
    done = "\n".join(f': > "$4/{number}.npz"' for number in range(reached))
    shell.write_text(f"#!/bin/sh\n{done}\necho corrupted >&2\nkill -SEGV $$\n", encoding="utf-8")
    shell.chmod(0o755)
    monkeypatch.setattr(isolated.sys, "executable", str(shell))
    found = verify(NETWORK, NETWORK, random_inputs(parse(NETWORK), 1))
    reason = f"{file} file: its process died (signal 11, SIGSEGV): corrupted"
    assert found.failures == dict.fromkeys(RUNTIMES, reason)
    assert found.unverified == "not verified: no runtime could run the model"


def test_a_long_complaint_is_shown_short():
    found = Verification({}, (), {"LiteRT": "tensor 33 is invalid. " * 100})
    assert len(found.table()) < 300
    assert len(found.failures["LiteRT"]) > 2000


def test_the_text_fits_a_terminal_and_its_numbers_are_aligned(found):
    lines = found.table().splitlines()[1:-3]
    assert lines[0].split() == ["op", "LiteRT", "reference", "off", "TFLM", "off"]
    assert len(lines) == 1 + len(found.layers)
    assert len({len(line) for line in lines}) == 1
    assert max(map(len, found.table().splitlines()[:-3])) <= 80


def test_outputs_that_are_not_the_simulators_are_a_problem(monkeypatch, found):
    assert found.problem == ""
    layers = tuple(dataclasses.replace(layer, differences={"TFLM": layer.index}) for layer in found.layers[:2])
    off = dataclasses.replace(found, layers=layers)
    assert off.problem == f"outputs of layers that are not the simulator's: 1 {layers[1].op}"


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
    assert "random" not in printed
    assert "agreement with the stock model: top-1 agreement" in printed
    assert (tmp_path / "model_k1_model_data.cc").is_file()
    assert main(["tflm_export", "--bits=1", "--verify=0", "--overwrite", str(model)]) == 2
    assert "--verify needs at least one row" in capsys.readouterr().err


@pytest.mark.slow
def test_random_inputs_are_said_to_be_random(tmp_path, capsys):
    model = tmp_path / "model.tflite"
    model.write_bytes(NETWORK)
    assert main(["tflm_export", "--bits=1", "--verify=1", str(model)]) == 0
    assert "verified on random inputs" in capsys.readouterr().out


def test_a_model_that_no_runtime_runs_is_no_success(tmp_path, capsys):
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    model = tmp_path / "model.tflite"
    model.write_bytes(b.build(x, b.unknown(b.conv(x, 3), op="CUSTOM:strange")))
    assert main(["tflm_export", "--bits=1", "--verify=1", str(model)]) == 3
    assert "not verified: no runtime could run the model" in capsys.readouterr().err


def test_without_runtimes_nothing_is_written(tmp_path, capsys, monkeypatch):
    def missing():
        raise ImportError("not installed")

    monkeypatch.setattr(runtimes, "litert_module", missing)
    monkeypatch.setattr(runtimes, "tflm_module", missing)
    model = tmp_path / "model.tflite"
    model.write_bytes(NETWORK)
    assert main(["tflm_export", "--bits=1", "--verify=1", str(model)]) == 2
    assert "pip install ai-edge-litert tflite-micro" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [model]
