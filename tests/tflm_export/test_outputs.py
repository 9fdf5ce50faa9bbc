# SPDX-License-Identifier: Apache-2.0
"""The files of a narrowing from Python: what they hold, and that they appear together or not at all."""

import json

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import __version__, c, cc_array, metadata, narrow
from tflm_export.c import build_systems
from tflm_export.errors import UsageError
from tflm_export.outputs import Outputs, default_path
from tflm_export.simulator import simulate

NARROWED, REPORT = narrow(residual_network(), 2)


@pytest.mark.parametrize(
    ("model", "path"), [("a/m.tflite", "a/m_k2.tflite"), ("m.v1.tfl", "m.v1_k2.tfl"), ("m", "m_k2.tflite")]
)
def test_default_path(model, path):
    assert default_path(model, "k2") == path


def everything(folder, **changes) -> Outputs:
    settings = {
        "model": str(folder / "net.tflite"),
        "report": str(folder / "net.json"),
        "array_folder": str(folder),
        "source_folder": str(folder),
    }
    return Outputs(**settings | changes)


def files_below(folder) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_every_file_is_what_its_module_makes(tmp_path):
    written = everything(tmp_path).write(NARROWED, REPORT)
    expected = {"net.tflite": metadata.attach(NARROWED, REPORT)}
    expected |= cc_array.sources(expected["net.tflite"], "net.tflite")
    sources = c.emit(expected["net.tflite"], "net", 2)
    expected |= sources | build_systems.files("net", sources, __version__)
    found = files_below(tmp_path)
    assert json.loads(found.pop("net.json")) == json.loads(json.dumps(REPORT.to_dict()))
    assert found == expected
    assert written.model == expected["net.tflite"]


@native.requires_gcc
def test_c_source_of_several_widths(tmp_path):
    data, report = narrow(residual_network(batch=1), 1, rules={0: 8, "pointwise": 3, "logits": 16})
    assert {row.bits for row in report.rows} == {1, 3, 8, 16}
    everything(tmp_path, array_folder=None).write(data, report)
    library = native.library({path.name: path.read_bytes() for path in tmp_path.glob("n*.[ch]")})
    rows = np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 3)).astype(np.int8)
    for row, expected in zip(rows, simulate(data, rows, "narrow").outputs[0], strict=True):
        np.testing.assert_array_equal(native.call("net_invoke", row, output_size=5, library=library), expected)


def test_c_source_of_widths_that_scales_do_not_tell_apart(tmp_path):
    data, report = narrow(residual_network(), 18, rules={0: 20})
    with pytest.raises(UsageError, match=r"one width above 16 bits.* has 18, 20"):
        everything(tmp_path).write(data, report)
    assert list(tmp_path.iterdir()) == []


def test_without_metadata_the_model_is_the_narrowed_file(tmp_path):
    path = tmp_path / "net.tflite"
    Outputs(str(path), with_metadata=False).write(NARROWED, REPORT)
    assert path.read_bytes() == NARROWED


@pytest.mark.parametrize("name", ["net.tflite", "net.json", "net_model_data.cc"])
def test_check_refuses_files_that_exist(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(UsageError, match=f"{name} exists already"):
        everything(tmp_path).check()
    everything(tmp_path, overwrite=True).check()


def test_a_source_that_exists_keeps_all_files_from_being_written(tmp_path):
    (tmp_path / "narrow_kernels.h").write_bytes(b"precious")
    wanted = everything(tmp_path)
    wanted.check()  # which kernels a model needs is known later
    with pytest.raises(UsageError, match=r"narrow_kernels\.h exists already"):
        wanted.write(NARROWED, REPORT)
    assert [path.name for path in tmp_path.iterdir()] == ["narrow_kernels.h"]


def test_folders_are_made(tmp_path):
    wanted = everything(tmp_path, source_folder=str(tmp_path / "new/c"), array_folder=str(tmp_path / "new/cc"))
    wanted.check()
    assert list(tmp_path.iterdir()) == []
    wanted.write(NARROWED, REPORT)
    assert {"new/c/net.c", "new/c/zephyr/module.yml", "new/cc/net_model_data.cc"} <= {*files_below(tmp_path)}


def test_a_failure_leaves_no_folder(tmp_path):
    wanted = everything(tmp_path, source_folder=str(tmp_path / "new/c"))
    wanted.check()
    (tmp_path / "net.tflite").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"net\.tflite exists already"):
        wanted.write(NARROWED, REPORT)
    assert [path.name for path in tmp_path.iterdir()] == ["net.tflite"]


@pytest.mark.parametrize("kind", ["source_folder", "array_folder"])
@pytest.mark.parametrize("below", ["", "/c"])
def test_what_is_no_folder_is_refused_before_any_work(tmp_path, kind, below):
    (tmp_path / "there").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"cannot make the folder .*there.*: .*there is no folder"):
        everything(tmp_path, **{kind: f"{tmp_path}/there{below}"}, overwrite=True).check()


@pytest.mark.parametrize("path", build_systems.PATHS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_builds_own_files_are_never_replaced(tmp_path, path, overwrite):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_bytes(b"project(firmware C)")
    with pytest.raises(UsageError, match=rf"{path} exists already, not written by tflm_export; .*--c_source .*/net$"):
        everything(tmp_path, overwrite=overwrite).check()


def test_a_folder_of_another_model(tmp_path):
    everything(tmp_path, model=str(tmp_path / "first.tflite"), report=None).write(NARROWED, REPORT)
    wanted = everything(tmp_path, name="second")
    with pytest.raises(
        UsageError, match=r"of the model first; pass --overwrite .*, or give another model its own folder"
    ):
        wanted.check()
    everything(tmp_path, name="second", overwrite=True).check()


def test_a_model_has_the_name_that_it_is_given(tmp_path):
    written = everything(tmp_path, model=str(tmp_path / "1.0.tflite"), name="net", report=None).write(NARROWED, REPORT)
    expected = cc_array.sources(written.model, "net") | c.emit(written.model, "net", 2)
    expected |= build_systems.files("net", expected, __version__) | {"1.0.tflite": written.model}
    found = files_below(tmp_path)
    assert found.pop("CMakeLists.txt").count(b"net.c") == 1
    expected.pop("CMakeLists.txt")
    assert found == expected


def test_a_name_makes_up_for_a_stream(tmp_path, capsysbinary):
    wanted = everything(tmp_path, model="-", report=None, name="net")
    wanted.check()
    written = wanted.write(NARROWED, REPORT)
    assert capsysbinary.readouterr().out == written.model
    assert (tmp_path / "net.c").is_file()


@pytest.mark.parametrize(
    ("name", "hint"), [("2nd-net", "nd_net"), ("my net", "my_net"), ("_net", "net"), ("n\u00e4t", "n_t"), ("", None)]
)
def test_names_that_are_none_in_c(tmp_path, name, hint):
    with pytest.raises(UsageError, match="--model_name begins names in C") as error:
        everything(tmp_path, name=name).check()
    assert str(error.value).endswith(f"got {name!r}; {hint} would do" if hint else f"got {name!r}")


def test_the_names_of_kernels_are_taken(tmp_path):
    with pytest.raises(UsageError, match="narrow_softmax is the name of a kernel; --model_name"):
        everything(tmp_path, model=str(tmp_path / "narrow_softmax.tflite")).check()


@pytest.mark.parametrize(("core", "portable"), [("portable", True), ("m4", False), ("cortex-m23", False)])
def test_portable_kernels_are_said_to_be_slow(tmp_path, core, portable):
    lines = everything(tmp_path, core=core).write(NARROWED, REPORT).lines
    assert any("portable kernels" in line and "times the cycles" in line for line in lines) == portable


def test_what_a_build_of_the_folder_would_find_is_said(tmp_path):
    """Sources of an earlier export under another name, which nothing takes away."""
    folder = tmp_path / "c"
    Outputs(model=str(tmp_path / "a.tflite"), source_folder=str(folder)).write(NARROWED, REPORT)
    lines = Outputs(model=str(tmp_path / "b.tflite"), source_folder=str(folder), overwrite=True).write(NARROWED, REPORT)
    assert f"note: {folder} holds a.c, a.h, a_layers.c from before or of yours" in lines.lines


@pytest.mark.parametrize("file", ["net.c", "net.h", "net_layers.c"])
def test_sources_of_others_stay(tmp_path, file):
    (tmp_path / file).write_text("int mine;\n")
    with pytest.raises(UsageError, match=rf"{file} exists already, not written by tflm_export; --model_name gives"):
        everything(tmp_path, overwrite=True).check()


@pytest.mark.parametrize("folder", ["array_folder", "source_folder"])
def test_the_empty_text_is_no_folder(tmp_path, folder):
    with pytest.raises(UsageError, match="take a folder; the empty text is none"):
        everything(tmp_path, **{folder: ""}).check()


def written(tmp_path, core: str, narrowed) -> str:
    """What writing says of a narrowing as C for a core."""
    wanted = Outputs(model=str(tmp_path / "m.tflite"), source_folder=str(tmp_path / core), core=core, overwrite=True)
    return "\n".join(wanted.write(*narrowed).lines)


def test_what_would_be_faster_is_said(tmp_path):
    """Not where the kernels are the core's own, nor that those for all types were faster for another core."""

    def wide(channels: int):
        b = TFLiteBuilder()
        x = b.input([1, 4, 4, 2], type="INT16", zero_point=0)
        return narrow(b.build(x, b.conv(x, channels, zero_point=0)), 1)

    for core in ("portable", "cortex-m4"):
        said = written(tmp_path, core, wide(1))
        assert "note: 100% of the multiplications (CONV_2D) are in kernels for all types" in said
        assert "portable kernels" not in said
    assert "these are the portable kernels" in written(tmp_path, "portable", (NARROWED, REPORT))
    assert "note" not in written(tmp_path, "cortex-m0plus", (NARROWED, REPORT))
    assert "kernels for all types" not in written(tmp_path, "cortex-m4", wide(3))
