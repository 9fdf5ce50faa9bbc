# SPDX-License-Identifier: Apache-2.0
"""The kernels as RISC-V cores with a multiplier run them: right with every compiler, and in few instructions.

Instructions are counted by the emulator, block by block: the same number on every machine.
"""

import shutil

import pytest

from tests.helpers.fans import fan
from tests.helpers.tflite_builder import TFLiteBuilder

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import device  # noqa: E402
from benchmarks.emulators import firmware  # noqa: E402
from benchmarks.emulators.isa import ISAS  # noqa: E402

without_gcc = pytest.mark.skipif(shutil.which(ISAS["riscv"].gcc) is None, reason=f"{ISAS['riscv'].gcc} is not on PATH")
TOOLCHAINS = [pytest.param(name, marks=[without_gcc] * (name == "gcc")) for name in firmware.TOOLCHAINS]


def measured(model: bytes, rescale, toolchain: str) -> device.Run:
    inputs, _ = device.inputs_for(model, 1, None, 1.0)
    return device.measure(model, "model", "rv32imc", rescale, inputs, toolchain=toolchain)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize(("seed", "rescale"), [(12, 1), (13, 8), (14, "stock")])
def test_layers_of_all_sizes(seed, rescale, toolchain):
    assert measured(fan(seed), rescale, toolchain).equal


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize("depth", [256, 1200])
def test_a_product_of_a_dense_layer_is_three_instructions(depth, toolchain):
    """A load, a MUL and an addition, a load of the input for every four, and less than half of one for all else; with
    two channels in a halfword, which holds sums of small layers, and without."""
    b = TFLiteBuilder(3)
    x = b.input([1, depth])
    (layer,) = measured(b.build(x, b.fully_connected(x, 64)), 1, toolchain).layers
    assert layer.multiplications == 64 * depth
    assert layer.instructions <= (3 + 1 / 4 + 1 / 2) * layer.multiplications


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_two_outputs_share_a_product(toolchain):
    """Of 3x3 depthwise windows, whose weights stay in registers: five instructions a product, ends and all else."""
    b = TFLiteBuilder(4)
    x = b.input([1, 16, 16, 8])
    model = b.build(x, b.depthwise(b.conv(x, 8, 1), kernel=3))
    _, layer = measured(model, 1, toolchain).layers
    assert layer.op == "DEPTHWISE_CONV_2D"
    assert layer.instructions <= 5 * layer.multiplications
