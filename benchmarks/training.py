# SPDX-License-Identifier: Apache-2.0
"""Cost of rescale-aware training: its step over a plain tfmot QAT step, in time and memory, measured side by side.

For every network the float model is quantised by tfmot and by keras_rat (both grids). The training steps of all of them
take turns, a few at a time and in an order that rotates, because machines drift more than the two differ; the figure is
the median over the rounds of the ratio within a round. Memory is the growth of a process's resident set, at its peak,
from when the model is made (and calibrated) until after some steps, in a process for each measurement; these take turns
as well. Linux alone counts it.

Inputs are random: no step's cost depends on them. Writes training.json and training.png, prints a table.

usage: python -m benchmarks.training [--rounds=40] [--steps=4] [--batch=32] [--bits=1] [--networks=resnet8,...]
       [--output=DIR]
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import flags, logging

from benchmarks import command, plots
from benchmarks.plots import Bar, Chart
from tflm_export import METHODS, UsageError, check_bits, files

_COMMAND = command.Command("training", __doc__)
_FLAGS = _COMMAND.flags


def _whole(name: str, default: int, text: str, least: int = 1) -> flags.FlagHolder[int]:
    return flags.DEFINE_integer(name, default, text, lower_bound=least, flag_values=_FLAGS)


_ROUNDS = _whole("rounds", 40, "Rounds; every model takes its turn once a round.")
_STEPS = _whole("steps", 4, "Training steps of a turn.")
_BATCH = _whole("batch", 32, "Rows of a batch.")
_BITS = _whole("bits", 1, "Width k of the multipliers.")
_NETWORKS = flags.DEFINE_list("networks", None, "Networks to measure; all by default.", flag_values=_FLAGS)
_MEMORY_RUNS = _whole("memory_runs", 3, "Processes that measure the memory of each model.", 0)
_MEASURE_MEMORY = flags.DEFINE_string(
    "measure_memory", None, "For the program's own use: NETWORK,KIND.", flag_values=_FLAGS
)

QAT = "tfmot QAT"
KINDS = (QAT, *(f"RAT {method}" for method in METHODS))
TARGET = 1.05
WARM_UP = 3  # steps before the clock: tracing, allocation


@dataclasses.dataclass(frozen=True)
class StepCost:
    """What a training step of a model costs.

    Attributes:
      network, kind: which model.
      milliseconds: median time of a step.
      ratio: median over rounds of its time over tfmot QAT's in the same round.
      low, high: 95 % interval of that median (bootstrap over rounds).
      megabytes: median growth of peak resident memory; None where it was not measured.
      memory_ratio: that over tfmot QAT's.
    """

    network: str
    kind: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    megabytes: float | None
    memory_ratio: float | None


# MLPerf Tiny's, the dense one without its batch normalisations: 78,000, 24,000 and 265,000 parameters. Each is a
# function of benchmarks.networks and its arguments.
NETWORKS = {
    "resnet8": ("resnet8", {"shape": (32, 32, 3), "classes": 10, "strides": 1}),
    "ds_cnn": (
        "ds_cnn",
        {"shape": (49, 10, 1), "classes": 12, "width": 64, "stem": (10, 4), "strides": 2, "kernels": ((3, 1),) * 4},
    ),
    "dense": ("autoencoder", {"size": 640, "widths": (128, 128, 128, 128, 8, 128, 128, 128, 128)}),
}


class Trainer:
    """A compiled model and an endless supply of the same batch."""

    def __init__(self, network: str, kind: str):
        import tensorflow as tf
        import tensorflow_model_optimization as tfmot
        import tf_keras as keras

        import keras_rat
        from benchmarks import networks

        keras.utils.set_random_seed(0)
        model = networks.build(*NETWORKS[network])
        random = np.random.default_rng(0)
        x = random.uniform(0, 1, (_BATCH.value, *model.input_shape[1:])).astype(np.float32)
        if kind == QAT:
            model = tfmot.quantization.keras.quantize_model(model)
        else:
            model = keras_rat.quantize_model(model, _BITS.value, kind.removeprefix("RAT "))
            keras_rat.calibrate(model, x)
        model.compile(keras.optimizers.Adam(1e-4), "mse")
        y = random.normal(size=(_BATCH.value, *model.output_shape[1:])).astype(np.float32)
        self.resident_before = reset_peak()
        self._batches = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
        self._step = model.make_train_function()
        self.run(WARM_UP)

    def run(self, steps: int) -> float:
        """Seconds for some training steps."""
        start = time.perf_counter()
        for _ in range(steps):
            logs = self._step(self._batches)
        float(logs["loss"])  # waits for the last step
        return time.perf_counter() - start


def times(network: str) -> np.ndarray:
    """Seconds of a step, [rounds, kinds]."""
    trainers = [Trainer(network, kind) for kind in KINDS]
    seconds = np.empty((_ROUNDS.value, len(KINDS)))
    for row in range(_ROUNDS.value):
        for turn in range(len(KINDS)):
            kind = (row + turn) % len(KINDS)
            seconds[row, kind] = trainers[kind].run(_STEPS.value) / _STEPS.value
    return seconds


def memory(network: str) -> np.ndarray:
    """Megabytes of growth, [runs, kinds]."""
    found = np.empty((_MEMORY_RUNS.value, len(KINDS)))
    for run in range(_MEMORY_RUNS.value):
        for index, kind in enumerate(KINDS):
            options = [f"--measure_memory={network},{kind}", f"--batch={_BATCH.value}", f"--bits={_BITS.value}"]
            command = [sys.executable, "-m", "benchmarks.training", *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"measuring the memory of {network}, {kind} failed:\n{done.stderr[-2000:]}")
            found[run, index] = float(done.stdout.split()[-1])
    return found


def measure_memory(network: str, kind: str) -> float:
    """Megabytes by which this process's resident set grows, at its peak, in training a model."""
    trainer = Trainer(network, kind)
    trainer.run(10)
    return _status("VmHWM") - trainer.resident_before


def reset_peak() -> float:
    """Makes the peak resident set the present one; returns it in megabytes, 0 where the system does not tell."""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # man 5 proc
        return _status("VmRSS")
    except OSError:
        return 0.0


def _status(field: str) -> float:
    """Megabytes of a field of /proc/self/status. (getrusage would count what a process was before exec.)"""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024


def costs(network: str, seconds: np.ndarray, megabytes: np.ndarray) -> list[StepCost]:
    """The figures of one network from its measurements, [rounds, kinds] and [runs, kinds]."""
    ratios = seconds / seconds[:, :1]
    picks = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5], axis=0)
    found = []
    for index, kind in enumerate(KINDS):
        grown = float(np.median(megabytes[:, index])) if len(megabytes) else None
        found.append(
            StepCost(
                network,
                kind,
                float(1e3 * np.median(seconds[:, index])),
                float(np.median(ratios[:, index])),
                float(low[index]),
                float(high[index]),
                grown,
                grown / float(np.median(megabytes[:, 0])) if len(megabytes) else None,
            )
        )
    return found


def table(results: list[StepCost]):
    """The figures side by side, for people."""
    rows = [
        (
            cost.network,
            cost.kind,
            f"{cost.milliseconds:.1f}",
            f"{cost.ratio:.3f} ({cost.low:.3f} to {cost.high:.3f})",
            "" if cost.megabytes is None else f"{cost.megabytes:.0f}",
            "" if cost.memory_ratio is None else f"{cost.memory_ratio:.3f}",
        )
        for cost in results
    ]
    return command.table(
        ("network", "training", "ms a step", "time", "MB", "memory"), rows, 2,
        title=f"Training step, batch {_BATCH.value}, k = {_BITS.value}; ratios to tfmot QAT",
        caption=f"time: median of {_ROUNDS.value} rounds with 95 % interval; memory: growth of the resident set.",
    )  # fmt: skip


def charts(results: list[StepCost]) -> list[Chart]:
    """Time and memory of a step over tfmot QAT's, by network; what was not measured is left out."""
    time_bars: dict[str, list[Bar]] = {}
    memory_bars: dict[str, list[Bar]] = {}
    for cost in results:
        label, spread = cost.kind.removeprefix("RAT "), None if cost.kind == QAT else (cost.low, cost.high)
        bar = Bar(label, cost.milliseconds, f"{cost.milliseconds:.3g} ms", spread)
        time_bars.setdefault(cost.network, []).append(bar)
        if cost.megabytes is not None:
            bar = Bar(label, cost.megabytes, f"{cost.megabytes:.3g} MB")
            memory_bars.setdefault(cost.network, []).append(bar)
    drawn = (("time of a training step", time_bars), ("memory", memory_bars))
    return [plots.ratio_chart(title, f"of {QAT}'s", bars, TARGET) for title, bars in drawn if bars]


def _main() -> int:
    check_bits(_BITS.value)
    logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", module="tf_keras|tensorflow")
    if _MEASURE_MEMORY.value:
        print(measure_memory(*_MEASURE_MEMORY.value.split(",")))
        return command.EXIT_OK
    networks = _NETWORKS.value or list(NETWORKS)
    if unknown := [name for name in networks if name not in NETWORKS]:
        raise UsageError(f"no networks {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    folder, console = _COMMAND.folder, command.console()
    results = []
    for network in networks:
        with console.status(f"{network}: {_ROUNDS.value} rounds"):
            results += costs(network, times(network), memory(network))
    settings = {flag.name: flag.value for flag in (_ROUNDS, _STEPS, _BATCH, _BITS)}
    report = {"kind": "training", **_COMMAND.provenance(), "cpus": os.cpu_count(), **settings}
    report["results"] = [dataclasses.asdict(cost) for cost in results]
    contents = {"training.json": command.to_json(report), "training.png": plots.png(charts(results))}
    files.write({str(folder / name): content for name, content in contents.items()})
    console.print(table(results))
    console.print(f"Results in {folder}: {', '.join(contents)}")
    return command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
