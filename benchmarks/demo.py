"""The main job, end to end on real digits: train, narrow, export, verify.

Trains a small float CNN, converts it to int8 with the stock converter, narrows that file after training with both
methods, trains rescale-aware models on both grids' default, and runs every .tflite over the whole test split on LiteRT and
TensorFlow Lite Micro. Writes the models, report.json and accuracy_vs_bits.png.

usage: python -m benchmarks.demo [--output=DIR] [--bits=4,1] [--seed=0]
"""

import dataclasses
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import flags
from rich.progress import Progress

from benchmarks import datasets, runtimes
from tflm_export import check
from tflm_export.rescale import MAX_BITS

_OUTPUT = flags.DEFINE_string("output", "build/demo", "Folder for the results.")
_BITS = flags.DEFINE_list("bits", ["4", "1"], "Multiplier widths to train and narrow at.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the training.")

FLOAT_EPOCHS, TUNING_EPOCHS, BATCH = 40, 15, 32
SWEEP = (8, 6, 4, 3, 2, 1)
STOCK = "int8, stock"


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
      model: what it is.
      method: how its rescales were narrowed.
      bits: multiplier width asked for.
      accuracy: top-1 on the test split, by runtime.
      agreement: share of test rows with the stock int8 model's top-1, on LiteRT.
      width: significant bits of the widest multiplier found in the file; None for float.
      file: name of the .tflite file.
    """

    model: str
    method: str
    bits: int | None
    accuracy: dict[str, float]
    agreement: float | None
    width: int | None
    file: str


class Demo:
    """One run: the data, the output folder, the progress bar and the results so far."""

    def __init__(self, folder: pathlib.Path, bits: list[int], progress: Progress):
        self.data = datasets.digits()
        self.folder, self.bits, self.progress = folder, bits, progress
        self.results: list[Result] = []
        self._stock_classes = None
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, model, epochs: int, learning_rate: float, title: str) -> None:
        """Trains a model on logits, with a progress bar of its epochs."""
        import tf_keras as keras

        task = self.progress.add_task(title, total=epochs)

        def advance(epoch, logs):
            self.progress.update(task, advance=1, info=f"loss {logs['loss']:.3f}")

        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * self._steps())),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        callback = keras.callbacks.LambdaCallback(on_epoch_end=advance)
        model.fit(self.data.x_train, self.data.y_train, BATCH, epochs, verbose=0, callbacks=[callback])

    def _steps(self) -> int:
        return -(-len(self.data.x_train) // BATCH)

    def save(self, model, name: str) -> None:
        """Writes a Keras model as .h5."""
        model.save(self.folder / f"{name}.h5", save_format="h5")

    def measure(self, data: bytes, name: str, model: str, method: str, bits: int | None, tflm: bool = True) -> Result:
        """Writes a .tflite file, runs it on the whole test split and keeps the result."""
        (self.folder / f"{name}.tflite").write_bytes(data)
        rows = len(self.data.x_test)
        task = self.progress.add_task(f"run {name}", total=rows * (1 + tflm))
        classes = {}
        for runtime_name, build in {"LiteRT": runtimes.LiteRT} | ({"TFLM": runtimes.TFLM} if tflm else {}):
            runtime = build(data)
            inputs = runtimes.quantize_input(self.data.x_test, runtimes.LiteRT(data).input)
            outputs = runtimes.run_all(runtime, inputs, lambda n: self.progress.update(task, advance=n))
            classes[runtime_name] = outputs.argmax(1)
        if model == STOCK:
            self._stock_classes = classes["LiteRT"]
        agreement = None if self._stock_classes is None else float(np.mean(classes["LiteRT"] == self._stock_classes))
        accuracy = {key: float(np.mean(value == self.data.y_test)) for key, value in classes.items()}
        width = check(data, MAX_BITS).max_bits if bits is not None else None
        result = Result(model, method, bits, accuracy, agreement, width, f"{name}.tflite")
        self.progress.update(task, info=f"accuracy {accuracy['LiteRT']:.4f}")
        self.results.append(result)
        return result
