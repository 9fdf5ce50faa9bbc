# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end on real digits: train, narrow, export, verify, and run on emulated cores.

Three other benchmarks, one after the other: the accuracy suite on scikit-learn's digits, its int8 models on LiteRT and
TensorFlow Lite Micro; the device harness, in which the 31-bit model runs on a Cortex-M0+ and a Cortex-M4 with stock and
with shift-only rescales; and the page of both. The models (.h5, .tflite) are in cells/digits.

usage: python -m benchmarks.demo [--output=DIR] [--bits=4,1] [--seed=0] [--effort=1] [--samples=N]
"""

import pathlib
import sys

from absl import flags

from benchmarks import accuracy, command, datasets, device, page
from benchmarks.cells import CONTROL, Cell

_COMMAND = command.Command("demo", __doc__)
_FLAGS = _COMMAND.flags
_BITS = flags.DEFINE_string("bits", "4,1", "Multiplier widths to train at.", flag_values=_FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the training.", lower_bound=0, flag_values=_FLAGS)
_EFFORT = flags.DEFINE_float("effort", 1.0, "Share of the epochs to train for.", flag_values=_FLAGS)
_SAMPLES = flags.DEFINE_integer(
    "samples", None, "Test rows that the emulated cores run; all if left out.", lower_bound=1, flag_values=_FLAGS
)

TASK = "digits"
CORES = ("cortex-m0plus", "cortex-m4")


def steps(folder: pathlib.Path) -> list[tuple]:
    """The benchmarks of the demo, each with its arguments."""
    control = Cell(TASK, _SEED.value, CONTROL).path(folder).with_suffix(".tflite")
    rows = len(datasets.digits().x_test)
    samples = min(_SAMPLES.value or rows, rows)
    trained = [
        f"--tasks={TASK}",
        f"--seeds={_SEED.value}",
        f"--trained_bits={_BITS.value}",
        f"--effort={_EFFORT.value}",
    ]
    emulated = [f"--model={control}", *(f"--cpu={cpu}" for cpu in CORES), f"--data={TASK}", f"--samples={samples}"]
    return [
        (accuracy, ["--tflm", "--overwrite", *trained, f"--effort={_EFFORT.value}", f"--output={folder}"]),
        (device, ["--bits=1", *emulated, f"--output={folder / 'device'}"]),
        (page, [str(folder)]),
    ]


def _main() -> int:
    for module, arguments in steps(_COMMAND.folder):
        code = module.main([module.__name__, *arguments])
        if code != command.EXIT_OK:
            return code
    return command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code of the first benchmark that fails."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
