# SPDX-License-Identifier: Apache-2.0
"""The cells of the accuracy suite: one trained or narrowed model each, measured and written as one JSON file.

Every cell is a function of its task, seed and settings alone, so that a suite that was stopped goes on where it was.
The model itself is beside it, as .tflite and, where it was trained, as .h5.
"""

import dataclasses
import functools
import json
import os
import pathlib
import time
import warnings

import numpy as np

from benchmarks import command, tasks, widths
from benchmarks.tasks import Rows, Task
from benchmarks.widths import Width
from tflm_export import MAX_BITS, METHODS, check, factors, files, narrow, runtimes

FLOAT, CONTROL, POST_TRAINING, TRAINED = "float", "QAT", "post-training", "RAT"
CALIBRATED = "calibrated"
FLOAT_RATE = 3e-3
CALIBRATION_ROWS = 1280
BATCH_OF_FLOAT_MODELS = 250
MOST_SHIFT = 4  # pixels


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model comes from the float one.

    Attributes:
      multipliers: where they come from, as `keras_rat.calibrate` takes it; None for its default.
      learned: whether they are trained by gradient, too, far enough to cross a grid point in the first half of the
        epochs; None for the default of `keras_rat.quantize_model`.
      trained: whether there is any training.
      methods: those that it is of use with.
    """

    multipliers: str | None = None
    learned: bool | None = None
    trained: bool = True
    methods: tuple[str, ...] = METHODS


# By model. Those after the first two are for the question where multipliers come from.
RECIPES = {
    CONTROL: Recipe(),
    TRAINED: Recipe(),
    CALIBRATED: Recipe(trained=False),
    f"{TRAINED}, nearest": Recipe("nearest", learned=False, methods=("keep",)),  # of requantize, RAT's are
    f"{TRAINED}, chosen": Recipe("chosen", learned=False),
    f"{TRAINED}, learned": Recipe("nearest", learned=True),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is made with; a folder holds cells of one such set.

    Attributes:
      rows: "test", or "validation" to choose a recipe.
      rate: first learning rate of the fine-tuning, which a cosine takes to 0.
      effort: share of the tasks' epochs to train for.
      weight_bits: 8 or 4, of the control and the trained models.
      tflm: whether int8 models run on TFLM, too.
    """

    rows: str = "test"
    rate: float = 1e-3
    effort: float = 1.0
    weight_bits: int = 8
    tflm: bool = False

    def epochs(self, planned: int) -> int:
        return max(1, round(planned * self.effort))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model of the suite.

    Attributes:
      task, seed: what was learnt, from where.
      model: "float", "QAT" (plain, 31 bits), "post-training" (that QAT model narrowed), "RAT", or another of RECIPES.
      method: "requantize" or "keep"; empty where nothing is narrowed.
      bits: multiplier width, or the name of a grid; None for the float model.
    """

    task: str
    seed: int
    model: str
    method: str = ""
    bits: Width | None = None

    @property
    def name(self) -> str:
        model = self.model.lower().replace(", ", "_")
        return "_".join(filter(None, (model, self.method, widths.stem(self.bits) if self.method else "")))

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.task}, seed {self.seed}, {self.name}"

    def path(self, folder: pathlib.Path) -> pathlib.Path:
        """Its JSON file, which is written last: where it is, the cell is done."""
        return folder / "cells" / self.task / f"seed{self.seed}" / f"{self.name}.json"


@dataclasses.dataclass(frozen=True)
class Result:
    """A measured cell.

    Attributes:
      cell: which.
      decisions: the class it gave each row; int64 [rows].
      right: whether that is the row's; bool [rows].
      tflm_accuracy: share of rows that are right on TFLM; None where it did not run.
      squared_error: of reconstructions, mean over rows and pixels; None for classifiers.
      width: significant bits of the widest multiplier in the file; None for the float model.
      multipliers: log2 of every rescale factor by operator; None for the float model.
      parameters: how many the float network has, moving statistics among them; None for the others.
      seconds: of the processor, to make and measure it.
    """

    cell: Cell
    decisions: np.ndarray
    right: np.ndarray
    tflm_accuracy: float | None
    squared_error: float | None
    width: int | None
    multipliers: dict[str, list[float]] | None
    parameters: int | None
    seconds: float


def read(cell: Cell, folder: pathlib.Path) -> Result | None:
    """A cell's result, None where it was not run."""
    try:
        stored = json.loads(cell.path(folder).read_text())
    except FileNotFoundError:
        return None
    plain = (stored[field.name] for field in dataclasses.fields(Result)[3:])
    return Result(cell, _digits(stored["decisions"]), _digits(stored["right"]).astype(bool), *plain)


def _digits(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")


def _text(numbers: np.ndarray) -> str:
    """Numbers 0 to 9 as a string, a character each."""
    return (np.asarray(numbers) + ord("0")).astype(np.uint8).tobytes().decode()


class Work:
    """What the cells of a task and seed share: rows, settings, a folder."""

    def __init__(self, task: str, seed: int, folder: pathlib.Path, settings: Settings):
        self.task, self.seed, self.folder, self.settings = tasks.available()[task], seed, folder, settings
        self.split = tasks.split(self.task)
        self.rows: Rows = getattr(self.split, settings.rows)

    def make(self, cell: Cell) -> None:
        """Makes, measures and writes a cell; those it starts from, the float model or the control, must be there."""
        import tf_keras as keras

        keras.backend.clear_session()
        keras.utils.set_random_seed(self.seed)
        path, started = cell.path(self.folder), time.process_time()
        command.make_folder(path.parent)
        if cell.model == FLOAT:
            model = self.task.build()
            _fit(model, self.task, self.split.train, self.settings.epochs(self.task.epochs), FLOAT_RATE)
            _save(model, path)
            outputs = model.predict(self.rows.x, BATCH_OF_FLOAT_MODELS, verbose=0)
            found = self._decided(outputs) | {"parameters": model.count_params()}
        else:
            data = self._narrowed(cell) if cell.model == POST_TRAINING else self._tuned(cell, path)
            files.write({str(path.with_suffix(".tflite")): data})
            found = self._measured(data)
        stored = dataclasses.asdict(cell) | NOTHING | found | {"seconds": round(time.process_time() - started, 2)}
        files.write({str(path): (json.dumps(stored) + "\n").encode()})

    def _narrowed(self, cell: Cell) -> bytes:
        """The control's file, narrowed without training."""
        control = Cell(cell.task, cell.seed, CONTROL, "", MAX_BITS).path(self.folder)
        return narrow(control.with_suffix(".tflite").read_bytes(), cell.bits, cell.method)[0]

    def _tuned(self, cell: Cell, path: pathlib.Path) -> bytes:
        """Fine-tunes the float model with narrow rescales; at 31 bits that is plain quantisation-aware training."""
        import keras_rat

        recipe = RECIPES[cell.model]
        float_model = self.task.build()
        float_model.load_weights(str(Cell(cell.task, cell.seed, FLOAT).path(self.folder).with_suffix(".h5")))
        model = keras_rat.quantize_model(
            float_model,
            method=cell.method or METHODS[0],
            weight_bits=self.settings.weight_bits,
            learn_multipliers=recipe.learned,
            **widths.training(cell.bits),
        )
        chosen = {} if recipe.multipliers is None else {"multipliers": recipe.multipliers}
        keras_rat.calibrate(model, self.split.train.x[:CALIBRATION_ROWS], **chosen)
        if recipe.trained:
            epochs = self.settings.epochs(self.task.tuning_epochs)
            callbacks = [keras_rat.callbacks.LearnMultipliers()] if recipe.learned else []
            _fit(model, self.task, self.split.train, epochs, self.settings.rate, callbacks)
        _save(model, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras_rat.convert(model)

    def _measured(self, data: bytes) -> dict:
        """Runs a file over all rows."""
        runtime = runtimes.LiteRT(data)
        inputs = runtimes.quantize_input(self.rows.x, runtime.input)
        scale, zero_point = runtime.output["quantization"]

        def decided(integers: np.ndarray) -> dict:
            return self._decided(np.float32(scale) * (integers.astype(np.float32) - zero_point))

        found = decided(runtimes.run_all(runtime, inputs))
        if self.settings.tflm:
            found["tflm_accuracy"] = decided(runtimes.run_all(runtimes.TFLM(data), inputs))["accuracy"]
        multipliers = {name: np.log2(values).round(4).tolist() for name, values in factors(data).items()}
        return found | {"width": check(data, MAX_BITS).max_bits, "multipliers": multipliers}

    def _decided(self, outputs: np.ndarray) -> dict:
        """What a network's real outputs [rows, ...] come to."""
        decisions = tasks.decide(self.task, outputs)
        right = decisions == self.rows.labels
        return {
            "accuracy": float(right.mean()),
            "squared_error": float(np.mean((outputs - self.rows.y) ** 2)) if self.task.reconstructs else None,
            "decisions": _text(decisions),
            "right": _text(right),
        }


NOTHING = {"tflm_accuracy": None, "width": None, "multipliers": None, "parameters": None}  # of a float model, or int8


def _save(model, path: pathlib.Path) -> None:
    """Keeps a trained model as .h5 beside its cell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that .keras is the newer format
        model.save(path.with_suffix(".h5"), save_format="h5", include_optimizer=False)


def _fit(model, task: Task, rows: Rows, epochs: int, rate: float, callbacks=()) -> None:
    import tf_keras as keras

    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(rows) // task.batch))
    loss = "mse" if task.reconstructs else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    # Keras traces a training step twice if the optimizer makes its variables in the first one.
    model.optimizer.build(model.trainable_variables)
    if task.augmented:
        model.fit(moved(rows, task.batch), epochs=epochs, verbose=0, callbacks=list(callbacks))
    else:
        model.fit(rows.x, rows.y, task.batch, epochs, verbose=0, callbacks=list(callbacks))


def moved(rows: Rows, batch: int):
    """Batches of images [height, width, channels] that are mirrored and shifted at random, anew in every epoch.

    The augmentation of He et al. 2015 (arXiv 1512.03385) for CIFAR-10: half of them left to right, and all by up to 4
    pixels, zeros moving in.
    """
    import tensorflow as tf

    def move(image, label):
        border = tf.pad(tf.image.random_flip_left_right(image), [[MOST_SHIFT] * 2] * 2 + [[0, 0]])
        return tf.image.random_crop(border, image.shape), label

    return tf.data.Dataset.from_tensor_slices((rows.x, rows.y)).shuffle(len(rows)).map(move).batch(batch)


@functools.cache
def start_worker() -> None:
    """Sets up a process that makes cells: TensorFlow on one thread, without chatter."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def make(wanted: list[Cell], folder: pathlib.Path, settings: Settings) -> list[Cell]:
    """A job: cells of one task and seed, in this order, less those that are there; returns the new ones."""
    missing = [cell for cell in wanted if not cell.path(folder).is_file()]
    work = Work(wanted[0].task, wanted[0].seed, folder, settings)
    for cell in missing:
        work.make(cell)
    return missing
