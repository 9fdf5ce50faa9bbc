# SPDX-License-Identifier: Apache-2.0
"""The application around a model in TensorFlow Lite Micro: its text without TFLM, its outputs with the user's."""

import pathlib
import re

import numpy as np
import pytest

from tests.helpers import tflm_application as users
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.tflm_export.ops import test_svdf
from tflm_export import ModelError, UsageError, verify
from tflm_export.flatbuffer.model import parse

for module in ("unicorn", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import device_runs, tflm_application  # noqa: E402
from benchmarks.emulators import firmware, tflm  # noqa: E402

RESOLVER = """
#include "tensorflow/lite/micro/kernels/conv.h"
#include "tensorflow/lite/micro/kernels/micro_ops.h"
  TfLiteStatus AddCustom(const char* name, const TFLMRegistration* registration) {
    return kTfLiteOk;
  }
  TfLiteStatus AddAdd(const TFLMRegistration& registration = Register_ADD()) {
    return AddBuiltin(BuiltinOperator_ADD, registration, ParseAdd);
  }
  TfLiteStatus AddConv2D(
      const TFLMRegistration& registration = Register_CONV_2D()) {
    return AddBuiltin(BuiltinOperator_CONV_2D, registration, ParseConv2D);
  }
  TfLiteStatus AddQuantize() {
    return AddBuiltin(BuiltinOperator_QUANTIZE, Register_QUANTIZE(),
                      ParseQuantize);
  }
"""
CONV = """
TFLMRegistration Register_CONV_2D();
inline TFLMRegistration Register_CONV_2D_INT16() { return Register_CONV_2D(); }
TFLMRegistration Register_CONV_2D_INT8();
"""


@pytest.fixture
def library(tmp_path) -> tflm.Library:
    """A folder with headers of TFLM's form, and no code."""
    kernels = tmp_path / "tensorflow" / "lite" / "micro" / "kernels"
    kernels.mkdir(parents=True)
    (kernels.parent / "micro_mutable_op_resolver.h").write_text(RESOLVER)
    (kernels / "conv.h").write_text(CONV)
    (kernels / "micro_ops.h").write_text("TFLMRegistration Register_ADD();\n")
    (kernels / "elsewhere.h").write_text("TFLMRegistration Register_ADD_INT8();\n")  # the resolver does not include it
    archive = tmp_path / "lib" / "cortex-m4" / tflm.ARCHIVE
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"!<arch>\n")
    return tflm.Library(tmp_path, "cortex-m4")


def network(*more: str) -> bytes:
    """Two convolutions, a sum and what more there is."""
    b = TFLiteBuilder(1)
    x = b.input([1, 5, 5, 2])
    y = b.add(b.conv(x, 2, 1, name="one"), b.conv(x, 2, 1, name="two"))
    for name in more:
        y = b.derived(name, [y, y], name=name.lower())
    return b.build(x, y)


def of_16_bits() -> bytes:
    b = TFLiteBuilder(1)
    x = b.input([1, 5, 5, 2], type="INT16", zero_point=0)
    return b.build(x, b.quantize(b.conv(b.quantize(x), 2, 1), type="INT16", zero_point=0, name="last"))


def test_the_resolver_has_the_operators_of_the_model_and_no_others(library):
    assert tflm_application.additions(parse(network()), library) == [
        "resolver.AddAdd()",
        "resolver.AddConv2D(tflite::Register_CONV_2D_INT8())",
    ]
    source = tflm_application.source(network(), library).decode()
    assert "MicroMutableOpResolver<2>" in source
    assert re.findall(r"TF_LITE_ENSURE_STATUS\(resolver\.(\w+)\(", source) == ["AddAdd", "AddConv2D"]


def test_operators_that_are_not_int8_throughout_have_the_registration_for_all_types(library):
    mixed = tflm_application.additions(parse(of_16_bits()), library)
    assert mixed == ["resolver.AddConv2D(tflite::Register_CONV_2D_INT8())", "resolver.AddQuantize()"]
    b = TFLiteBuilder(1, int4=True)
    x = b.input([1, 5, 5, 2])
    packed = tflm_application.additions(parse(b.build(x, b.conv(x, 2, 1))), library)
    assert packed == ["resolver.AddConv2D()"]


def test_operators_that_tflm_does_not_have_are_named_all_at_once(library):
    with pytest.raises(ModelError, match=r"^TFLM has no MUL, SUB$"):
        tflm_application.source(network("SUB", "MUL"), library)


def test_arrays_of_several_inputs_and_outputs_begin_where_the_harness_puts_them(library):
    b = TFLiteBuilder(2)
    x, y = b.input([1, 3], name="x"), b.input([1, 3], name="y", type="INT16", zero_point=0)
    model = b.build([x, y], [b.add(x, b.constant([3])), y])
    source = tflm_application.source(model, library).decode()
    assert re.findall(r"input\((\d)\);\n  memcpy\(tensor->data\.raw, input \+ (\d+)", source) == [
        ("0", "0"),
        ("1", "8"),
    ]
    assert re.findall(r"output\((\d)\);\n  memcpy\(output \+ (\d+)", source) == [("0", "0"), ("1", "8")]


def test_what_was_built_is_told_from_the_library(library):
    before = library.digest
    assert library.title == "TFLM, reference kernels"
    assert "-DCMSIS_NN" not in library.options()
    library.archive.write_bytes(b"!<arch>\narm_convolve_wrapper_s8\0")
    again = tflm.Library(library.folder, library.cpu)
    assert again.title == "TFLM + CMSIS-NN"
    assert "-DCMSIS_NN" in again.options()
    assert again.digest != before
    assert again.about == ""
    (library.folder / "about.txt").write_text("of August,\ngcc 12\n")
    assert again.about == "of August, gcc 12"


def test_a_folder_without_tflm_is_wrong_usage(library, monkeypatch):
    monkeypatch.delenv(tflm.VARIABLE, raising=False)
    with pytest.raises(UsageError, match="TFLM_DIR"):
        tflm.find(None, "cortex-m4")
    with pytest.raises(UsageError, match=r"has no lib/cortex-m0plus/libtensorflow-microlite\.a"):
        tflm.find(str(library.folder), "cortex-m0plus")


def test_sizes_of_functions(tmp_path):
    files = {
        "two.h": b"#include <stdint.h>\nvoid two(const int8_t *input, int8_t *output);\n",
        "two.c": b'#include "two.h"\nvoid two(const int8_t *input, int8_t *output) { *output = *input; }\n',
    }
    built = firmware.link("two", files, "two", (1, 1), "cortex-m4", tmp_path, "zig")
    sizes = firmware.function_sizes(built.path)
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert 0 < sum(sizes.values()) <= built.flash
    assert "firmware_infer" in sizes


CPUS = pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])


def brought(cpu: str) -> tflm.Library:
    """The user's library; skips the test where there is none."""
    folder = users.tflm()
    try:
        return tflm.find(str(folder), cpu)
    except UsageError as error:
        pytest.skip(str(error))


def built_and_run(data: bytes, cpu: str, folder: pathlib.Path, rows: int) -> device_runs.Run:
    built = tflm_application.build(data, brought(cpu), folder)
    return device_runs.measure_elf(
        built.path, data, "model", cpu, verify.random_inputs(parse(data), rows), keeps_state=True
    )


@CPUS
def test_a_network_equals_the_simulator(cpu, tmp_path):
    b = TFLiteBuilder(5)
    x = b.input([1, 9, 7, 4])
    y = b.conv(b.depthwise(b.conv(x, 8, 3, stride=2, name="c1"), kernel=3, name="d1"), 12, 1, name="c2")
    data = b.build(x, b.softmax(b.fully_connected(b.flatten(y), 5)))
    run = built_and_run(data, cpu, tmp_path, 3)
    assert run.equal
    assert run.samples == 3
    assert run.brought
    bound = sum(np.prod(tensor.shape) for tensor in parse(data).subgraphs[0].inputs)
    assert bound < run.ram < 32_768  # an arena of what it needs, not of all that there is


@CPUS
def test_state_goes_on_from_reset(cpu, tmp_path):
    """The inference that is not counted leaves nothing behind."""
    assert built_and_run(test_svdf.model(), cpu, tmp_path, 6).equal


@CPUS
def test_a_model_that_does_not_run_says_how_far_it_comes(cpu, tmp_path):
    b = TFLiteBuilder(1)
    x = b.input([1, 5, 5, 2], type="UINT8", zero_point=120)
    y = b.tensor("y", [1, 5, 5, 2], type="UINT8", scale=0.1, zero_point=3)
    b.operator("RELU", [x], [y])
    with pytest.raises(ModelError, match=r"TFLM does not run it .*: (AllocateTensors|Invoke) fails"):
        tflm_application.build(b.build(x, y), brought(cpu), tmp_path)
