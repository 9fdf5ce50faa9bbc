"""The main job, end to end on real digits: train, narrow, export, verify.

Trains a small float CNN and converts it to int8 with the stock converter; narrows that file after training with both
methods; trains rescale-aware models, and a plain quantisation-aware one for as many epochs as a control; runs every
.tflite over the whole test split on LiteRT and TensorFlow Lite Micro. At last the shift-only model runs on emulated
Cortex-M0+ and Cortex-M4 cores, beside the same kernels with the stock rescale. Writes the models (.h5, .tflite),
report.json and accuracy_vs_bits.png.

usage: python -m benchmarks.demo [--output=DIR] [--bits=4,1] [--seed=0] [--epochs=40] [--tuning_epochs=12]
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags, logging
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import datasets, device, provenance
from tflm_export import METHODS, check, narrow, runtimes
from tflm_export.rescale import MAX_BITS, check_bits

_OUTPUT = flags.DEFINE_string("output", "build/demo", "Folder for the results.")
_BITS = flags.DEFINE_list("bits", ["4", "1"], "Multiplier widths to train at.")
_EPOCHS = flags.DEFINE_integer("epochs", 40, "Epochs of the float training.")
_TUNING_EPOCHS = flags.DEFINE_integer("tuning_epochs", 12, "Epochs of each quantisation-aware fine-tuning.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the training.")

BATCH = 32
FLOAT_RATE, TUNING_RATE = 3e-3, 3e-4
SWEEP = (8, 6, 4, 3, 2, 1)  # widths at which the int8 file is narrowed after training; cheap
CORES = ("cortex-m0plus", "cortex-m4")
POST_TRAINING, TRAINED = "post-training", "RAT"


@dataclasses.dataclass(frozen=True)
class Result:
    """One measured .tflite file.

    Attributes:
      name: file name without extension; its Keras model, if it has one, is beside it as .h5.
      model: how it was made.
      method: how its rescales were narrowed, empty where they were not.
      bits: multiplier width asked for.
      accuracy: top-1 on the test split, by runtime.
      agreement: share of test rows on which LiteRT gives the stock int8 model's top-1.
      width: significant bits of the widest multiplier found in the file (31: 17 and more); None for a float file.
    """

    name: str
    model: str
    method: str
    bits: int | None
    accuracy: dict[str, float]
    agreement: float | None
    width: int | None


class Demo:
    """One run: its data, folder, progress bar and results so far."""

    def __init__(self, folder: pathlib.Path, bits: list[int], progress: Progress):
        self.data = datasets.digits()
        self.folder, self.bits, self.progress = folder, bits, progress
        self.results: list[Result] = []
        self.stock_classes = None
        self.device_runs: list[device.Run] = []

    def run(self) -> None:
        """All steps."""
        from benchmarks import networks

        float_model = networks.digits_cnn()
        self._fit(float_model, _EPOCHS.value, FLOAT_RATE, "float", "train float")
        self._measure(_convert_float(float_model), "float", "float", "", None)
        stock = _convert_int8(float_model, self.data.x_train[:300])
        self._measure(stock, "int8", "int8 (stock)", "", MAX_BITS)
        for method in METHODS:
            for bits in sorted({*SWEEP, *self.bits}, reverse=True):
                data, _ = narrow(stock, bits, method)
                self._measure(data, f"int8_{method}_k{bits}", POST_TRAINING, method, bits)
        self._train_quantized(float_model, "QAT", "", MAX_BITS)
        for method in METHODS:
            for bits in self.bits:
                self._train_quantized(float_model, TRAINED, method, bits)
        self._emulate(stock)

    def _emulate(self, stock: bytes) -> None:
        """Runs the int8 model on emulated cores, with stock and with shift-only rescales, over the whole test split."""
        inputs = runtimes.quantize_input(self.data.x_test, runtimes.LiteRT(stock).input)
        for cpu in CORES:
            for rescale in (device.STOCK, 1):
                with self._step(f"emulate {cpu}, {'k = 1' if rescale == 1 else rescale}", 1) as step:
                    run = device.measure(stock, "digits", cpu, rescale, inputs, self.data.y_test)
                    step(1, f"{run.total('cycles') / 1e6:.3f} M modelled cycles, accuracy {run.accuracy:.4f}")
                self.device_runs.append(run)

    def _train_quantized(self, float_model, label: str, method: str, bits: int) -> None:
        """Fine-tunes the float model with k-bit rescales; at 31 bits that is plain quantisation-aware training."""
        import keras_rat

        name = f"{label.lower()}{method and '_'}{method}_k{bits}"
        model = keras_rat.quantize_model(float_model, bits=bits, method=method or METHODS[0])
        keras_rat.calibrate(model, self.data.x_train)
        self._fit(model, _TUNING_EPOCHS.value, TUNING_RATE, name, f"train {name}")
        with _quiet():
            data = keras_rat.convert(model)
        self._measure(data, name, label, method, bits)

    @contextlib.contextmanager
    def _step(self, title: str, total: int):
        """A step of the run: a bar while it lasts, a line when it is done."""
        task = self.progress.add_task(title, total=total, info="")
        yield lambda advance, info="": self.progress.update(task, advance=advance, info=info)
        seconds, info = self.progress.tasks[-1].elapsed, self.progress.tasks[-1].fields["info"]
        self.progress.remove_task(task)
        self.progress.console.print(f"{title:32}{seconds:6.1f} s  {info}", highlight=False, soft_wrap=True)

    def _fit(self, model, epochs: int, rate: float, name: str, title: str) -> None:
        """Trains a model that gives logits, shows its epochs and writes it as .h5."""
        import tf_keras as keras

        x, y = self.data.x_train, self.data.y_train
        schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(x) // BATCH))
        model.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        with self._step(title, epochs) as step:
            show = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: step(1, f"loss {logs['loss']:.4f}"))
            model.fit(x, y, BATCH, epochs, verbose=0, callbacks=[show])
        model.save(self.folder / f"{name}.h5", save_format="h5", include_optimizer=False)

    def _measure(self, data: bytes, name: str, model: str, method: str, bits: int | None) -> None:
        """Writes a .tflite file, runs it over the whole test split and keeps the result."""
        (self.folder / f"{name}.tflite").write_bytes(data)
        with _quiet():
            litert = runtimes.LiteRT(data)
        inputs = runtimes.quantize_input(self.data.x_test, litert.input)
        with self._step(f"run {name}", 2 * len(inputs)) as step:
            classes = {
                runtime: runtimes.run_all(on, inputs, step).argmax(1)
                for runtime, on in (("LiteRT", litert), ("TFLM", runtimes.TFLM(data)))
            }
            accuracy = {runtime: float(np.mean(found == self.data.y_test)) for runtime, found in classes.items()}
            step(0, f"accuracy {accuracy['LiteRT']:.4f} on LiteRT, {accuracy['TFLM']:.4f} on TFLM")
        if bits is not None and self.stock_classes is None:
            self.stock_classes = classes["LiteRT"]
        agreement = None if bits is None else float(np.mean(classes["LiteRT"] == self.stock_classes))
        width = None if bits is None else check(data, MAX_BITS).max_bits
        self.results.append(Result(name, model, method, bits, accuracy, agreement, width))


def _convert_float(model) -> bytes:
    import tensorflow as tf

    with _quiet():
        return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def _convert_int8(model, samples: np.ndarray) -> bytes:
    """Full int8 by the stock converter's post-training quantisation."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with _quiet():
        return converter.convert()


@contextlib.contextmanager
def _quiet():
    """Keeps the chatter of the converter's C++ code off the terminal; exceptions pass."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def table(results: list[Result], rows: int, bits: list[int]) -> Table:
    """The results at the widths asked for, for people."""
    made = Table(
        title=f"Digits: top-1 accuracy on {rows} test rows",
        caption="agreement: same top-1 as int8 (stock), on LiteRT. widest: largest multiplier found in the file.",
    )
    for column in ("model", "method", "bits", "LiteRT", "TFLM", "agreement", "widest"):
        made.add_column(column, justify="left" if column in ("model", "method") else "right")
    for result in results:
        if result.model == POST_TRAINING and result.bits not in bits:
            continue
        made.add_row(
            result.model,
            result.method,
            "" if result.bits is None else str(result.bits),
            f"{result.accuracy['LiteRT']:.2%}",
            f"{result.accuracy['TFLM']:.2%}",
            "" if result.agreement is None else f"{result.agreement:.2%}",
            "" if result.width is None else f"{result.width} bit{'s' if result.width > 1 else ''}",
        )
    return made


def device_table(runs: list[device.Run]) -> Table:
    """The emulated runs, for people."""
    made = Table(
        title="int8 model on emulated cores, an inference",
        caption="stock: the same kernels with TFLM's 31-bit rescale. Cycles are modelled, zero wait states.",
    )
    for column in ("core", "rescale", "accuracy", "modelled cycles", "flash bytes", "RAM bytes", "equals simulator"):
        made.add_column(column, justify="left" if column in ("core", "rescale") else "right")
    for run in runs:
        made.add_row(
            run.cpu,
            "stock" if run.rescale == device.STOCK else f"k = {run.rescale}",
            f"{run.accuracy:.2%}",
            f"{run.total('cycles'):,.0f}",
            f"{run.flash:,}",
            f"{run.ram:,}",
            "yes" if run.equal else "NO",
        )
    return made


def plot(results: list[Result], rows: int, path: pathlib.Path) -> None:
    """Accuracy against multiplier width, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    stock = next(result for result in results if result.bits == MAX_BITS)
    error = np.sqrt(stock.accuracy["LiteRT"] * (1 - stock.accuracy["LiteRT"]) / rows)
    axes.axhspan(
        100 * (stock.accuracy["LiteRT"] - error), 100 * (stock.accuracy["LiteRT"] + error), color="0.9", zorder=0
    )
    axes.axhline(100 * stock.accuracy["LiteRT"], color="0.5", linestyle="--", label="int8, 31 bits (± standard error)")
    lines = [(model, method, marker) for model, marker in ((POST_TRAINING, "o"), (TRAINED, "s")) for method in METHODS]
    for model, method, marker in lines:
        points = [(r.bits, 100 * r.accuracy["LiteRT"]) for r in results if (r.model, r.method) == (model, method)]
        style = "-" if model == POST_TRAINING else ":"
        axes.plot(*zip(*points, strict=True), marker=marker, linestyle=style, label=f"{model}, {method}")
    axes.set_xscale("log", base=2)
    ticks = sorted({r.bits for r in results if r.bits is not None and r.bits < MAX_BITS})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("rescale multiplier, bits")
    axes.set_ylabel(f"top-1 accuracy, % of {rows} test rows (LiteRT)")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]}")
    bits = [check_bits(int(k)) for k in _BITS.value]
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", module="tf_keras|tensorflow")
    console = Console(width=None if sys.stdout.isatty() else 100)
    started = time.monotonic()
    with console.status("Loading TensorFlow"), _quiet():
        import tf_keras as keras

        keras.utils.set_random_seed(_SEED.value)
    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[info]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        demo = Demo(folder, bits, progress)
        demo.run()
    rows = len(demo.data.x_test)
    report = {
        "kind": "demo",
        "command": provenance.command("demo", sys.argv),
        "versions": provenance.versions(),
        "data": {"name": demo.data.name, "train_rows": len(demo.data.x_train), "test_rows": rows},
        "seed": _SEED.value,
        "epochs": {"float": _EPOCHS.value, "fine-tuning": _TUNING_EPOCHS.value},
        "seconds": round(time.monotonic() - started, 1),
        "results": [dataclasses.asdict(result) for result in demo.results],
        "device": [run.to_dict() for run in demo.device_runs],
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    plot(demo.results, rows, folder / "accuracy_vs_bits.png")
    console.print(table(demo.results, rows, bits))
    console.print(device_table(demo.device_runs))
    console.print(f"Results in {folder}: models (.h5, .tflite), report.json, accuracy_vs_bits.png")


if __name__ == "__main__":
    app.run(main)
