# SPDX-License-Identifier: Apache-2.0
"""Emitted C against the simulator: whole models, layer by layer, on the host."""

import math
import re
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import datasets
from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.fans import fan
from tests.helpers.programs import Compiled, assert_equals_simulator, random_inputs
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import ModelError, UsageError, c, cores, kernels, narrow
from tflm_export.arithmetic import LiteRTReference
from tflm_export.c import planner
from tflm_export.c.lowering import KERNELS
from tflm_export.runtimes import TFLM
from tflm_export.simulator import simulate

FOLDER = datasets.data_folder()
MODELS = {
    "ad": "models/tiny__ad01_int8.tflite",
    "kws": "models/tiny__kws_ref_model.tflite",
    "vww": "models/tiny__vww_96_int8.tflite",
    "resnet8": "models/tiny__pretrainedResnet_quant.tflite",
    "fsdd": "baselines/fsdd_int8.tflite",
}

requires_data = pytest.mark.skipif(FOLDER is None, reason=f"no data folder; set ${datasets.DATA_VARIABLE}")


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("bits", [1, 4, 8, 31])
def test_every_kind_of_operator(bits):
    assert_equals_simulator(narrow(residual_network(), bits)[0], bits, "narrow")


@native.requires_gcc
def test_every_kind_of_operator_with_the_stock_rescale():
    assert_equals_simulator(residual_network(), 31, "tflm")


@pytest.mark.sweep(3)
@native.requires_gcc
@requires_data
@pytest.mark.parametrize(
    ("name", "bits"),
    [*((name, 1) for name in MODELS), ("ad", 4), ("kws", 4), ("kws", 8), ("vww", 8), ("resnet8", 8), ("fsdd", 4)],
)
def test_real_models(name, bits):
    data = narrow((FOLDER / MODELS[name]).read_bytes(), bits)[0]
    assert_equals_simulator(data, bits, "narrow", rows=1)


@pytest.mark.sweep(3)
@native.requires_gcc
@requires_data
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("name", ["ad", "vww"])
def test_real_models_for_single_cores(name, core):
    """On the host their kernels are plain C."""
    data = narrow((FOLDER / MODELS[name]).read_bytes(), 1)[0]
    assert_equals_simulator(data, 1, "narrow", rows=1, core=core)


@pytest.mark.sweep(3)
@native.requires_gcc
@requires_data
@pytest.mark.parametrize("name", MODELS)
def test_stock_rescale_equals_tflm(name):
    """The comparison's other side is TFLM itself, bit for bit."""
    data = (FOLDER / MODELS[name]).read_bytes()
    compiled = Compiled(translate(data, "model", 31, "tflm"))
    runtime = TFLM(data)
    for x in random_inputs(compiled.program, 2):
        np.testing.assert_array_equal(compiled.invoke(x), runtime.run(x).reshape(compiled.program.output.shape))


@pytest.mark.slow
@native.requires_gcc
@requires_data
@pytest.mark.parametrize("bits", [1, 8])
def test_spoken_digits_stay_recognised(bits):
    """fsdd, 600 recordings: 97.17 % stock (LiteRT)."""
    data = narrow((FOLDER / MODELS["fsdd"]).read_bytes(), bits)[0]
    compiled = Compiled(translate(data, "fsdd", bits))
    with np.load(FOLDER / "data" / "fsdd_mfcc.npz") as arrays:
        x, labels = arrays["x_test"], arrays["y_test"]
    tensor = compiled.program.input
    integers = np.clip(np.rint(x / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)
    guesses = [compiled.invoke(row[None]).argmax() for row in integers]
    assert np.mean(guesses == labels) > 0.96


def chain(build) -> bytes:
    """A model of `build(builder, input)`, which returns the output tensor."""
    b = TFLiteBuilder(3)
    x = b.input([1, 6, 6, 4])
    return b.build(x, build(b, x))


def _unary(b, x, op, **options):
    y = b.tensor(op.lower(), b.shape(x), scale=0.011, zero_point=9)
    b.operator(op, [x], [y], 1, **options)
    return y


def _padded(b, x):
    sides = b.tensor("sides", [4, 2], type="INT32", data=[[0, 0], [1, 2], [0, 3], [2, 0]])
    y = b.tensor("padded", [1, 9, 9, 6], scale=b.scale(x), zero_point=b.zero_point(x))
    b.operator("PAD", [x, sides], [y])
    return y


def _multiplied(b, x):
    y = b.tensor("product", b.shape(x), scale=0.0071, zero_point=-4)
    b.operator("MUL", [x, b.constant([4])], [y], 1, activation="RELU")
    return y


SHAPES = {
    "relu": lambda b, x: _unary(b, x, "RELU"),
    "relu6": lambda b, x: _unary(b, x, "RELU6"),
    "pad": _padded,
    "mul": _multiplied,
    "quantize": lambda b, x: b.quantize(x),
    "reshape of the input": lambda b, x: b.reshape(x, [1, 9, 16]),
    "two reshapes behind a layer": lambda b, x: b.reshape(b.reshape(b.conv(x, 3), [1, 108]), [1, 12, 9]),
    "a tensor read twice, much later": lambda b, x: b.add(c := b.conv(x, 3, name="c"), b.conv(b.conv(c, 5), 3, 1)),
    "concatenation of the input with itself": lambda b, x: b.concat([x, x]),
    "clamped": lambda b, x: b.conv(x, 3, activation="RELU_N1_TO_1"),
}


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("rounding", ["narrow", "tflm"])
@pytest.mark.parametrize("shape", SHAPES)
def test_small_models(shape, rounding):
    assert_equals_simulator(chain(SHAPES[shape]), 4 if rounding == "narrow" else 31, rounding)


NARROW_SHAPES = {
    "sub": lambda b, x: b.derived("SUB", [x, b.conv(x, 4)]),
    "sub of one that is repeated": lambda b, x: b.derived("SUB", [b.constant([4]), x], shape=[1, 6, 6, 4]),
    "prelu": lambda b, x: b.derived("PRELU", [x, b.constant([1, 1, 1])]),
    "depthwise on one channel": lambda b, x: b.depthwise(b.conv(x, 1), multiplier=6, name="d"),
}


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("core", KERNELS)
@pytest.mark.parametrize("shape", NARROW_SHAPES)
def test_small_models_with_one_rounding(shape, core):
    """Terms with a sign of their own, and forms that another operator has, too."""
    assert_equals_simulator(chain(NARROW_SHAPES[shape]), 31, "narrow", core=core)


def test_a_depthwise_layer_on_one_channel_has_kernels_of_the_core():
    """Those of planes or of tiles, whichever costs less."""
    program = translate(chain(NARROW_SHAPES["depthwise on one channel"]), "model", 31, core="cortex-m4")
    assert program.steps[1].kernels[0] in ("narrow_conv_2d_tiles_dsp.h", "narrow_depthwise_conv_2d_planes_dsp.h")
    assert program.layer(program.steps[1]) == "model_1_depthwise_conv_2d"


MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "model.h"

int main(void) {
  int8_t *input = malloc(MODEL_INPUT_BYTES);
  int8_t *output = malloc(MODEL_OUTPUT_BYTES);
  for (int i = 0; i < MODEL_INPUT_BYTES; ++i) input[i] = (int8_t)(i * 37);
  model_invoke(input, output);
  for (int i = 0; i < MODEL_OUTPUT_BYTES; ++i) printf("%d\\n", output[i]);
  free(input);
  free(output);
  return 0;
}
"""


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("flags", [["-fsanitize=address", "-O1"], ["-O3"], ["-m32", "-O2", "-c"]], ids=" ".join)
def test_memory_and_warnings(flags, tmp_path):
    """Inputs and outputs of their exact size on the heap, under the address sanitizer; and other compiler settings."""
    data = narrow(residual_network(batch=1), 1)[0]
    program = translate(data, "model", 1)
    for file, content in program.files().items():
        (tmp_path / file).write_bytes(content)
    units = sorted(tmp_path.glob("*.c"))
    if "-c" in flags:
        flags = ["-ffreestanding", *flags]
        for unit in units:
            native.run(["gcc", *native.WARNINGS, *flags, "-o", tmp_path / "unit.o", unit])
        return
    (tmp_path / "main.c").write_text(MAIN)
    native.run(["gcc", *native.WARNINGS, *flags, "-o", tmp_path / "model", *units, tmp_path / "main.c"])
    native.run(["sh", "-c", f"{tmp_path}/model > {tmp_path}/output"])
    output = np.array((tmp_path / "output").read_text().split(), int)
    count = math.prod(program.input.shape)
    x = (np.arange(count) * 37).astype(np.uint8).view(np.int8).reshape(program.input.shape)
    np.testing.assert_array_equal(output, simulate(data, x, "narrow", 1).outputs[0].reshape(-1))


COMPILERS = {
    "clang": ["clang"],
    "gcc": ["gcc"],
    "arm-none-eabi-gcc": ["arm-none-eabi-gcc", "-mthumb"],
    "zig": [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", "-fno-sanitize=undefined"],
}


# Of the cores that run the same instructions on the same kernels, one.
COMPILED = {(core.kernels, core.architectures): core.name for core in cores.CORES if core.isa == "arm"}.values()


@pytest.mark.sweep(6)
@pytest.mark.parametrize("core", sampled(COMPILED, 2))
@pytest.mark.parametrize("compiler", COMPILERS)
def test_compilers_have_no_warnings(compiler, core, tmp_path):
    command, warnings = COMPILERS[compiler], native.WARNINGS
    if compiler == "zig":
        pytest.importorskip("ziglang", reason="ziglang is not installed")
    elif shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if compiler in ("zig", "arm-none-eabi-gcc"):
        cpu = cores.find("cortex-m33" if core == "portable" else core)
        command = [*command, f"-mcpu={cpu.zig_mcpu if compiler == 'zig' else cpu.mcpu}"]
        # C99's limit on string literals is not for assembly, and gcc's own arm_acle.h converts signs.
        warnings = "-std=c99 -Wall -Wextra -Wshadow -Werror".split()
    for name, data in (("network", residual_network(batch=1)), ("fan", fan(1))):
        program = translate(narrow(data, 4)[0], name, 4, core=core)
        for file, content in program.files().items():
            (tmp_path / file).write_bytes(content)
    for unit in sorted(tmp_path.glob("*.c")):
        native.run([*command, *warnings, "-O2", "-ffreestanding", "-c", "-o", tmp_path / "unit.o", unit])


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("core", KERNELS)
def test_no_layer_reaches_beyond_its_memory(core, tmp_path):
    """Input, output and arena of their exact size, under the address sanitizer."""
    data = narrow(fan(2), 1)[0]
    program = translate(data, "model", 1, core=core)
    for file, content in (program.files() | {"main.c": MAIN.encode()}).items():
        (tmp_path / file).write_bytes(content)
    flags = [*native.WARNINGS, "-fsanitize=address", "-O1"]
    native.run(["gcc", *flags, "-o", tmp_path / "model", *sorted(tmp_path.glob("*.c"))])
    native.run(["sh", "-c", f"{tmp_path}/model > {tmp_path}/output"])
    output = np.array((tmp_path / "output").read_text().split(), int)
    x = (np.arange(math.prod(program.input.shape)) * 37).astype(np.uint8).view(np.int8).reshape(program.input.shape)
    np.testing.assert_array_equal(output, simulate(data, x, "narrow", 1).outputs[0].reshape(-1))


def test_the_folder_is_self_contained():
    files = c.emit(narrow(residual_network(), 1)[0], "my-model.v2", 1)
    assert {"my_model_v2.c", "my_model_v2.h"} < files.keys()
    for name, content in files.items():
        for include in re.findall(r'#include "(.+)"', content.decode()):
            assert include in files, name
    in_c = [
        re.sub(r"#ifdef __cplusplus\n.*?\n#(else|endif)", "", content.decode(), flags=re.S)
        for content in files.values()
    ]
    standard = {include for text in in_c for include in re.findall(r"#include <(.+)>", text)}
    assert standard <= {"stdint.h", "stddef.h", "arm_acle.h"}  # all of them freestanding
    assert "narrow_mean_wide.c" not in files


def test_names_that_begin_with_a_digit():
    assert "model_2nd.c" in c.emit(narrow(residual_network(), 1)[0], "2nd", 1)


def test_every_kernel_is_one_function_of_its_files_name():
    ends = ("shift", "multiply", "wide", "stock")
    for path in kernels.FOLDER.glob("*.c"):
        names = re.findall(r"^(?!static)\w[\w ]*?\b(narrow_\w+)\(", path.read_text(), re.MULTILINE)
        generated = re.findall(r"^NARROW_(?:DEFINE_ENDS|DENSE_DSP|DENSE_V6M)\((\w+),", path.read_text(), re.MULTILINE)
        names += [f"{name}_{end}" for name in generated for end in ends]
        known = {path.stem, *(f"{path.stem}_{end}" for end in (*ends, "sums"))}
        assert names, path.name
        assert set(names) <= known, path.name


def test_the_same_bytes_every_time():
    data = narrow(residual_network(), 4)[0]
    assert c.emit(data, "model", 4) == c.emit(data, "model", 4)


def test_all_operators_without_a_kernel_are_named():
    def build(b, x):
        for op in ("TANH", "NEG"):
            x = _unary(b, x, op)
        tiny = b.tensor("tiny", list(b.shape(x)), scale=6e-12, data=np.ones(b.shape(x)))
        return b.derived("ADD", [x, tiny], scale=0.011, zero_point=9)

    with pytest.raises(ModelError, match=r"operator 1 NEG \(neg\): .*; operator 2 ADD \(.*\): .*too far apart"):
        c.emit(chain(build), "model", 1)


def test_arguments_are_checked():
    data = residual_network()
    with pytest.raises(UsageError, match="bits"):
        c.emit(data, "model", 0)
    with pytest.raises(UsageError, match=r"core must be one of portable, cortex-m0, cortex-m1, .*got 'z80'"):
        translate(data, "model", 1, core="z80")
    with pytest.raises(ModelError, match="a RealRescale has no kernel"):
        c.translate(data, "model", LiteRTReference())


def test_names_from_the_file_cannot_leave_their_comment():
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 4])
    data = b.build(x, b.conv(x, 3, name='*/ int evil; /* "??/\n\\'))
    files = c.emit(data, "model", 1)
    for name in ("model.h", "model.c", "model_layers.c"):
        source = files[name].decode()
        outside = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
        assert set(re.findall(r"\S*evil", outside)) <= {"*int_evil", "outputs->int_evil"}
        assert "??" not in source


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9), st.integers(0, 4)), max_size=12))
def test_plans(cases):
    buffers = [planner.Buffer(i, size, first, first + length) for i, (size, first, length) in enumerate(cases)]
    plan = planner.plan(buffers, 4)
    assert planner.plan(buffers[::-1], 4) == plan
    assert plan.lower_bound <= plan.size
    for i, a in enumerate(buffers):
        start = plan.offsets[i]
        assert start % 4 == 0
        assert start + a.size <= plan.size
        for j, b in enumerate(buffers[:i]):
            apart = start + a.size <= plan.offsets[j] or plan.offsets[j] + b.size <= start
            assert apart or a.last < b.first or b.last < a.first


def test_a_chain_needs_two_buffers_at_a_time():
    buffers = [planner.Buffer(i, size, i, i + 1) for i, size in enumerate([100, 40, 80, 60])]
    plan = planner.plan(buffers, 4)
    assert (plan.size, plan.lower_bound) == (140, 140)


def test_the_summary_has_the_figures():
    program = translate(narrow(residual_network(), 1)[0], "model", 1)
    assert f"{program.constant_bytes} bytes of flash for constants" in program.summary()
    assert f"{program.placement.bytes} bytes of RAM" in program.summary()
