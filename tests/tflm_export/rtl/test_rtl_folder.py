# SPDX-License-Identifier: Apache-2.0
"""The command line's --rtl: what the folder holds, what is refused, and that nothing is left half-written."""

import json
import pathlib
import random
import re

import numpy as np
import pytest

from tests.helpers import corpus, dead_channels, hardware_folder
from tests.helpers.operators import A16, B16, one_operator
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import ModelError, UsageError, narrow, rtl
from tflm_export.__main__ import main
from tflm_export.flatbuffer.model import parse
from tflm_export.rtl.labels import short
from tflm_export.simulator import simulate

STOCK = residual_network(batch=1)
MLPERF_TINY = ("models/tiny__kws_ref_model", "models/tiny__ad01_int8", "models/tiny__pretrainedResnet_quant",
               "models/tiny__vww_96_int8")  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.tflite").write_bytes(STOCK)
    return tmp_path


def run(*arguments: str) -> int:
    return main(["tflm_export", *arguments])


def left(folder: pathlib.Path) -> list[str]:
    """What is there besides the model."""
    return sorted(path.name for path in folder.iterdir() if path.name != "net.tflite")


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    "flags",
    [
        ["--bits=1"],
        ["--bits=1", "--rtl_folded"],
        ["--bits=8"],
        ["--bits=4", "--method=keep"],
        ["--grid=csd2"],
        ["--bits=20", "--force"],
    ],
)
def test_tables_and_vectors_agree(folder, flags, capfd):
    assert run(*flags, "--rtl=hw", "--rtl_inferences=2", "--output=out.tflite", "net.tflite") == 0
    assert hardware_folder.wrong(folder / "hw") == []
    listed = hardware_folder.index(folder / "hw")
    assert {layer["block"] for layer in listed["layers"]} == {listed["block"], "narrow_add", "narrow_mean"}
    assert [layer["name"] for layer in listed["layers"]].count("ADD") == 3
    absent = {entry["operator"].split()[2]: entry["reason"] for entry in listed["without_block"]}
    assert absent.keys() - {"QUANTIZE"} == {"MAX_POOL_2D", "SOFTMAX"}
    assert ("--rtl_folded" in flags) == ("shifts to the left" in absent.get("QUANTIZE", ""))
    readme = (folder / "hw/README.md").read_text(encoding="utf-8")
    said, _ = capfd.readouterr()
    for name in ("MAX\\_POOL\\_2D", "SOFTMAX"):
        assert name in readme
        assert name.replace("\\", "") in said
    assert f"{listed['factors']} factors in {listed['factor_bytes']} bytes" in said
    assert {path.relative_to(folder / "hw").as_posix(): path.stat().st_size for path in (folder / "hw").rglob("*.*")
            if path.is_file() and path.name != "index.json"} | listed["files"] == listed["files"]  # fmt: skip


def test_the_same_again(folder):
    """Random inputs are the same in every run, and what is emitted is what is written."""
    assert run("--bits=2", "--rtl=hw", "--nometadata", "net.tflite") == 0
    files = rtl.emit(narrow(STOCK, 2)[0], "net_k2", 2)
    assert {name: (folder / "hw" / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("grid", [1, 8, "csd2"])
def test_one_layout_for_all_layers(tmp_path, grid):
    """Layers with one factor beside others with one for each channel; one memory holds the records of all."""
    for name, content in rtl.emit(narrow(STOCK, grid)[0], "net", grid).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    listed = hardware_folder.index(tmp_path)
    rescaled = [layer for layer in listed["layers"] if layer["block"] == listed["block"]]
    every, of_layers = listed["channel_records"], listed["layer_records"]
    assert all((x["layout"], x["record_bits"]) == (every["layout"], every["record_bits"]) for x in rescaled)
    assert listed["factors"] < every["records"] == sum(layer["records"] for layer in rescaled)
    assert every["bytes"] == -(-every["records"] * every["record_bits"] // 8)
    records = hardware_folder.records(tmp_path, of_layers)
    assert len(records) == len(listed["layers"])
    first = 0
    for layer in rescaled:
        assert records[layer["layer"]] == {"first": first} | layer["constants"]
        assert layer["first_record"] == first
        first += layer["records"]


def test_real_rows(folder):
    """The fourth of every four rows, which measures: their first layer accumulates what these rows give."""
    rows = np.random.default_rng(1).integers(-128, 128, (8, 8, 8, 3), np.int8)
    np.savez("rows.npz", rows)
    assert (
        run("--bits=4", "--rtl=hw", "--rtl_inferences=2", "--calibration=rows.npz", "--output=n.tflite", "net.tflite")
        == 0
    )
    narrowed = (folder / "n.tflite").read_bytes()
    files = rtl.emit(narrowed, "n", 4, inputs=[rows[3::4]])
    assert (folder / "hw/vectors.hex").read_bytes() == files["vectors.hex"]
    assert files["vectors.hex"] != rtl.emit(narrowed, "n", 4, inferences=2)["vectors.hex"]
    assert hardware_folder.index(folder / "hw")["vectors"]["of"] == "2 inferences of given inputs"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bits=31"], "--bits 31 narrows nothing"),
        (["--bits=17"], "above 16 bits .* add --force"),
        (
            ["--bits=4", "--rtl_accumulator_bits=12"],
            r"too narrow: operator 0 CONV_2D \(stem\), channel 0, .*_bits \d\d makes",
        ),
        (["--bits=4", "--rtl_accumulator_bits=99"], "--rtl_accumulator_bits=99"),
        (["--bits=4", "--rtl_shifts=9:10"], r"too few: operator .* --rtl_shifts \d+:\d+ will do"),
        (["--bits=4", "--rtl_shifts=9-10"], "takes LOW:HIGH, two integers, got '9-10'"),
        (["--bits=4", "--rtl_inferences=0"], "--rtl_inferences=0"),
        (["--bits=4", "--rtl_folded"], "takes multipliers of 1 bit, and there are some of 4 bits; give --bits 1"),
        (["--grid=csd2", "--rtl_folded"], "takes multipliers of 1 bit, and there are some of two signed digits"),
    ],
)
def test_refused(folder, flags, message, capfd):
    assert run(*flags, "--rtl=hw", "net.tflite") == 2
    _, error = capfd.readouterr()
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert left(folder) == []


def test_one_chip_for_several_widths(folder):
    """The fields are as wanted, whatever the model needs."""
    flags = ["--rtl_accumulator_bits=26", "--rtl_shifts=-1:25"]
    for bits in (1, 8):
        assert run(f"--bits={bits}", f"--rtl=hw{bits}", *flags, f"--output={bits}.tflite", "net.tflite") == 0
        parameters = hardware_folder.index(folder / f"hw{bits}")["parameters"]
        assert [parameters[name] for name in ("ACC_BITS", "SHIFT_MIN", "SHIFT_BITS")] == [26, -1, 5]
        assert hardware_folder.wrong(folder / f"hw{bits}") == []


def test_folded(folder):
    """Sums may be of more bits; tables have no zero points, and biases that say where outputs begin."""
    assert run("--bits=1", "--add_bits=4", "--rtl_folded", "--rtl=hw", "net.tflite") == 0
    listed = hardware_folder.index(folder / "hw")
    assert listed["parameters"]["FOLDED"] == 1
    assert "part of `bias`" in (folder / "hw/README.md").read_text(encoding="utf-8")
    for layer in listed["layers"]:
        if layer["block"] == "narrow_rescale":
            assert layer["constants"]["zero_point"] == 0
    assert hardware_folder.wrong(folder / "hw") == []


def test_flags_without_a_folder(folder, capfd):
    for flag in ("--rtl_inferences=2", "--rtl_shifts=1:9", "--rtl_folded", "--rtl_accumulator_bits=20", "--force"):
        assert run("--bits=4", flag, "net.tflite") == 2
        assert "means nothing without --rtl" in capfd.readouterr()[1]
    assert left(folder) == []


def test_more_inferences_than_rows(folder, capfd):
    np.savez("rows.npz", np.random.default_rng(1).integers(-128, 128, (8, 8, 8, 3), np.int8))
    assert run("--bits=4", "--rtl=hw", "--rtl_inferences=3", "--calibration=rows.npz", "net.tflite") == 2
    assert "more than the 2 rows" in capfd.readouterr()[1]
    assert left(folder) == ["rows.npz"]


def test_a_folder_that_is_there(folder, capfd):
    assert run("--bits=4", "--rtl=hw", "net.tflite") == 0
    before = (folder / "hw/index.json").read_bytes()
    assert run("--bits=8", "--rtl=hw", "net.tflite") == 2
    assert "hw exists already, of the model net_k4; pass --overwrite" in capfd.readouterr()[1]
    assert (folder / "hw/index.json").read_bytes() == before
    (folder / "hw/tables/77_old.hex").write_text("")
    assert run("--bits=8", "--rtl=hw", "--overwrite", "net.tflite") == 0
    assert "holds 77_old.hex from before" in capfd.readouterr()[0]
    assert hardware_folder.wrong(folder / "hw") == []


def test_another_model_takes_the_place_of_one(folder, capfd):
    """What the first wrote goes, but not what was made or changed there since, nor anything beside the folder."""
    assert run("--bits=4", "--rtl=hw", "net.tflite") == 0
    (folder / "hw/build").mkdir()
    (folder / "hw/build/mine").write_text("")
    (folder / "precious").write_text("12345")
    changed, *others = sorted((folder / "hw/tables").glob("0*.hex"))
    changed.write_text(changed.read_text() + "// of mine\n")
    index = folder / "hw/index.json"
    listed = json.loads(index.read_text())
    listed["files"] |= {"../precious": 5, str(folder / "precious"): 5}
    index.write_text(json.dumps(listed))
    b = TFLiteBuilder()
    x = b.input([1, 4])
    (folder / "dense.tflite").write_bytes(b.build(x, b.fully_connected(x, 2)))
    assert run("--bits=4", "--rtl=hw", "--overwrite", "dense.tflite") == 0
    tables = {path.name for path in (folder / "hw/tables").iterdir()}
    assert tables == {changed.name, "00_fully_connected.hex", "layers.hex"}
    assert f"holds {changed.name} from before or of yours" in capfd.readouterr()[0]
    assert (folder / "precious").exists()
    assert (folder / "hw/build/mine").exists()
    assert len(others) > 2
    there = {path.relative_to(folder / "hw").as_posix() for path in (folder / "hw").rglob("*") if path.is_file()}
    assert there - {"index.json", "build/mine", f"tables/{changed.name}"} == set(
        hardware_folder.index(folder / "hw")["files"]
    )


def test_any_names(folder, capfd):
    """Of the model, and of tensors as converters fuse them; a line break in one ends no comment."""
    b = TFLiteBuilder()
    x = b.input([1, 4])
    long = ";".join(["first", *["model/batch_normalization/FusedBatchNormV3"] * 9])
    y = b.fully_connected(x, 2, name=f"über\nall/{long}", per_channel=False)
    (folder / "dense.tflite").write_bytes(b.build(x, y))
    assert run("--bits=1", "--rtl=hw", "--output=ó*.tflite", "dense.tflite") == 0
    assert "; 1 factor in 1 byte; 2 vectors of 1 inference of" in capfd.readouterr()[0]
    for path in (folder / "hw").rglob("*.*"):
        text = path.read_text(encoding="utf-8" if path.suffix in (".md", ".json") else "ascii")
        if path.parent.name == "tables" or path.suffix in (".vh", ".md"):
            assert max(map(len, text.splitlines())) < 160, path
            assert "FusedBatchNormV3" not in text
        if path.parent.name == "tables":
            assert all(re.fullmatch(r"//.*|[0-9a-f]+", line) for line in text.splitlines())
            assert "the model ?*," in text
    readme = (folder / "hw/README.md").read_text(encoding="utf-8")
    assert readme.startswith("# ó\\*: rescales in hardware\n\nGenerated by tflm_export")
    assert "the model ó\\*," in readme
    assert r"über\\nall/first; ...)" in readme
    assert "1 factor, a shift and a multiplier each: 1 byte, 1 bit a factor." in readme
    assert hardware_folder.index(folder / "hw")["model"] == "ó*"
    assert hardware_folder.wrong(folder / "hw") == []


def test_short_labels():
    assert short("operator 3 LEAKY_RELU (a;b(c);d), below zero") == "operator 3 LEAKY_RELU (a; ...), below zero"
    assert short("operator 3 CONV_2D (a)") == "operator 3 CONV_2D (a)"


@pytest.mark.parametrize("content", ["", "{}", '{"generator": "another", "model": "m"}', "[1]"])
def test_a_folder_of_others(folder, capfd, content):
    (folder / "hw").mkdir()
    (folder / "hw/index.json").write_text(content)
    assert run("--bits=4", "--rtl=hw", "--overwrite", "net.tflite") == 2
    assert "no folder that --rtl wrote" in capfd.readouterr()[1]
    assert (folder / "hw/index.json").read_text() == content
    assert left(folder) == ["hw"]


def test_an_empty_folder_and_one_beside_c(folder, capfd):
    (folder / "hw").mkdir()
    assert run("--bits=4", "--rtl=hw", "--c_source=c", "net.tflite") == 0
    assert run("--bits=4", "--rtl=both", "--c_source=both", "--output=x.tflite", "net.tflite") == 2
    assert "--rtl takes a folder of its own" in capfd.readouterr()[1]
    assert run("--bits=4", "--rtl=", "--output=x.tflite", "net.tflite") == 2
    assert run("--bits=4", "--rtl=net.tflite", "--output=x.tflite", "net.tflite") == 2
    assert left(folder) == ["c", "hw", "net_k4.tflite"]


def test_nothing_narrowed(folder, capfd):
    """A model that has nothing to narrow, which C takes as it is, has no hardware; nor has one of ADD alone."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    (folder / "soft.tflite").write_bytes(b.build(x, b.softmax(b.flatten(x))))
    assert run("--bits=4", "--rtl=hw", "--c_source=c", "soft.tflite") == 1
    data = one_operator("ADD", [A16, A16], B16)
    with pytest.raises(ModelError, match=r"no rescale of the model is one that hardware for 4 bits computes"):
        rtl.emit(data, "add", 4)
    with pytest.raises(ModelError, match="was not narrowed to multipliers of 8 bits"):
        rtl.emit(STOCK, "stock", 8)
    assert sorted(path.name for path in folder.iterdir()) == ["net.tflite", "soft.tflite"]


def test_several_models(folder):
    (folder / "models/b").mkdir(parents=True)
    for name in ("a", "b/a"):
        (folder / f"models/{name}.tflite").write_bytes(STOCK)
    assert run("--bits=1", "--output_dir=out", "--rtl=hw", "models") == 0
    for name in ("a", "b/a"):
        assert hardware_folder.wrong(folder / "hw" / name) == []


def test_inputs_that_do_not_fit():
    data, _ = narrow(STOCK, 4)
    with pytest.raises(UsageError, match="input"):
        rtl.emit(data, "net", 4, inputs=[np.zeros((1, 2), np.int8)])
    with pytest.raises(UsageError, match="at least one inference"):
        rtl.emit(data, "net", 4, inferences=0)
    for bits, accumulators, allowed in ((4, 1, "8 to 48"), (4, 49, "8 to 48"), (20, 44, "8 to 43")):
        with pytest.raises(UsageError, match=f"{allowed} bits, got {accumulators}"):
            rtl.emit(data, "net", bits, rtl.Wanted(accumulators))
    with pytest.raises(UsageError, match="from a smaller to a larger one"):
        rtl.emit(data, "net", 4, rtl.Wanted(shifts=(9, 3)))


def test_dead_from_end_to_end(tmp_path):
    """All channels have one output; the hardware is the least there is, and its tables say the rest."""
    source = random.Random(0)
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3])
    data = dead_channels.with_dead_channels(bytes(b.build(x, b.conv(x, 4, name="dead"))), source, 1.0)
    hardware = rtl.translate(narrow(data, 4, synthetic="none")[0], "net", 4)
    own = hardware.design.parameters
    assert (own.accumulator_bits, own.shift_bits) == (9, 1)  # 8 would take limits for a channel
    for name, content in hardware.files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert hardware_folder.wrong(tmp_path) == []


def test_a_rule_for_one_operator():
    """The hardware has the widest multiplier that was asked for; an operator that stays at 31 bits has no block."""
    data, _ = narrow(STOCK, 1, rules={0: 8, "logits": 31})
    listed = json.loads(rtl.emit(data, "net", 8)["index.json"])
    assert listed["parameters"]["MULTIPLIER_BITS"] == 8
    assert any("FULLY_CONNECTED (logits)" in entry["operator"] for entry in listed["without_block"])
    assert not any(layer["output"] == "logits" for layer in listed["layers"])


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("flags", "rescaler", "adder"),
    [
        (["--bits=2", "--add_bits=8"], {"MULTIPLIER_BITS": 2}, 8),
        (["--bits=8", "--add_bits=2"], {"MULTIPLIER_BITS": 8}, 2),
        (["--grid=csd2", "--add_bits=8"], {"DISTANCE_BITS": 2}, 8),
        (["--grid=csd2", "--bits_config=less.json"], {"DISTANCE_BITS": 2}, 3),
        (["--bits=2", "--bits_config=more.json"], {"MULTIPLIER_BITS": 8}, 2),
    ],
)
def test_each_block_is_as_wide_as_its_own_factors(folder, flags, rescaler, adder):
    (folder / "less.json").write_text('{"op:FULLY_CONNECTED": 3, "op:ADD": 3}')
    (folder / "more.json").write_text('{"op:FULLY_CONNECTED": 8}')
    assert run(*flags, "--rtl=hw", "net.tflite") == 0
    listed = hardware_folder.index(folder / "hw")
    assert rescaler.items() <= listed["parameters"].items()
    assert listed["parameters"]["ADD_MULTIPLIER_BITS"] == adder
    assert {layer["block"] for layer in listed["layers"]} == {listed["block"], "narrow_add", "narrow_mean"}
    assert hardware_folder.wrong(folder / "hw") == []


def test_one_operator_wider_than_hardware_is_for(folder, capfd):
    (folder / "wide.json").write_text('{"op:FULLY_CONNECTED": 20}')
    flags = ["--bits=4", "--bits_config=wide.json", "--rtl=hw", "net.tflite"]
    assert run(*flags) == 2
    wanted = r"--rtl with .* of 20 bits for operator \d+ FULLY_CONNECTED \(hidden\), and 2 more.*add --force\n$"
    assert re.search(wanted, capfd.readouterr()[1])
    assert left(folder) == ["wide.json"]
    assert run(*flags, "--force") == 0
    assert hardware_folder.index(folder / "hw")["parameters"]["MULTIPLIER_BITS"] == 20


@pytest.mark.parametrize(("bits", "size"), [(8, 866), (1, 361)])
def test_bytes_of_factors(bits, size):
    """Of 577 factors with a shift of 5 bits; the model needs less."""
    data, _ = narrow(corpus.read(MLPERF_TINY[0]), bits)
    hardware = rtl.translate(data, "kws", bits)
    listed = json.loads(hardware.files()["index.json"])
    assert listed["factors"] == 577
    assert -(-577 * (bits - 1 + 5) // 8) == size
    assert listed["factor_bytes"] == -(-577 * (bits - 1 + listed["parameters"]["SHIFT_BITS"]) // 8) < size


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", MLPERF_TINY)
@pytest.mark.parametrize(("bits", "is_folded"), [(1, False), (1, True), (2, False), (4, False), (8, False)])
def test_24_bits_and_a_shift_of_4_do(name, bits, is_folded):
    data, _ = narrow(corpus.read(name), bits)
    hardware = rtl.translate(data, "model", bits, rtl.Wanted(is_folded=is_folded))
    assert hardware.design.parameters.accumulator_bits <= 24
    assert hardware.design.parameters.shift_bits <= 4
    tables = [place.table for place in hardware.layers if place.layer.block == "narrow_rescale"]
    assert {field.name for table in tables for field in table.fields} <= {"shift", "multiplier", "bias"}


def test_number_of_real_vectors():
    """Every weighted rescale of an inference of each; one is what every element of the layers' outputs takes."""
    counts = []
    for name in MLPERF_TINY:
        data, _ = narrow(corpus.read(name), 8)
        hardware = rtl.translate(data, "m", 8)
        for place, count in zip(hardware.layers, hardware.counts, strict=True):
            if place.layer.block == "narrow_rescale":
                counts.append(count)
                assert place.layer.step.form.output.size == count
    assert sum(counts) == 391_264


def test_uint8_is_less_128():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3], type="UINT8", zero_point=3)
    files = rtl.emit(narrow(bytes(b.build(x, b.conv(x, 2, per_channel=False))), 2)[0], "net", 2)
    listed = json.loads(files["index.json"])
    assert listed["less_128"]
    assert b"less 128 everywhere" in files["README.md"]
    assert listed["layers"][0]["constants"]["low"] == -128


def test_wide_accumulators_take_15_bits():
    data, _ = narrow(corpus.read("models/tflite-micro__conv1"), 16)
    with pytest.raises(ModelError, match="of up to 15 bits; give --bits 15"):
        rtl.emit(data, "conv", 16)
    with pytest.raises(ModelError, match="of up to 15 bits; give --bits 15"):
        simulate(data, np.zeros(parse(data).subgraphs[0].inputs[0].shape, np.int16), "narrow", 16)


def test_float_ends_are_named():
    data, _ = narrow(corpus.read("models/ai-edge-quantizer__partly_quantized_mnist"), 1)
    listed = json.loads(rtl.emit(data, "net", 1, rtl.Wanted(25))["index.json"])
    reasons = {entry["operator"].split()[2]: entry["reason"] for entry in listed["without_block"]}
    assert reasons["CONV_2D"] == reasons["SOFTMAX"] == "it has no integer form"
    assert not listed["less_128"]
