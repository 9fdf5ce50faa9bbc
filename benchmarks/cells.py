"""The cells of the accuracy suite: one trained or narrowed model each, measured and written as one JSON file.

Every cell is a function of its task, seed and settings alone, so that a suite that was stopped goes on where it was.
"""

import dataclasses
import io
import json
import os
import pathlib
import time
import warnings

import numpy as np

from benchmarks import tasks
from benchmarks.tasks import Rows, Task
from tflm_export import METHODS, check, files, narrow, runtimes
from tflm_export.flatbuffer.model import parse
from tflm_export.ops import op_for
from tflm_export.rescale import MAX_BITS

FLOAT, CONTROL, POST_TRAINING, TRAINED = "float", "QAT", "post-training", "RAT"
FLOAT_RATE = 3e-3
CALIBRATION_ROWS = 1280
WEIGHTS = "float.npz"
BATCH_OF_FLOAT_MODELS = 250
MOST_SHIFT = 4  # pixels


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is made with; a folder holds cells of one such set.

    Attributes:
      rows: "test", or "validation" to choose a recipe.
      rate: first learning rate of the fine-tuning, which a cosine takes to 0.
      effort: share of the tasks' epochs to train for.
      weight_bits: 8 or 4, of the control and the trained models.
    """

    rows: str = "test"
    rate: float = 1e-3
    effort: float = 1.0
    weight_bits: int = 8

    def epochs(self, planned: int) -> int:
        return max(1, round(planned * self.effort))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model of the suite.

    Attributes:
      task, seed: what was learnt, from where.
      model: "float", "QAT" (plain, 31 bits), "post-training" (that QAT model narrowed) or "RAT".
      method: "requantize" or "keep"; empty where nothing is narrowed.
      bits: multiplier width; None for the float model.
    """

    task: str
    seed: int
    model: str
    method: str = ""
    bits: int | None = None

    @property
    def name(self) -> str:
        return "_".join(filter(None, (self.model.lower(), self.method, f"k{self.bits}" if self.method else "")))

    def path(self, folder: pathlib.Path) -> pathlib.Path:
        return folder / "cells" / self.task / f"seed{self.seed}" / f"{self.name}.json"


@dataclasses.dataclass(frozen=True)
class Result:
    """A measured cell.

    Attributes:
      cell: which.
      decisions: the class it gave each row; int64 [rows].
      right: whether that is the row's; bool [rows].
      squared_error: of reconstructions, mean over rows and pixels; None for classifiers.
      width: significant bits of the widest multiplier in the file; None for the float model.
      multipliers: log2 of every rescale factor by operator; None where they were not kept.
      seconds: of the processor, to make and measure it.
    """

    cell: Cell
    decisions: np.ndarray
    right: np.ndarray
    squared_error: float | None
    width: int | None
    multipliers: dict[str, list[float]] | None
    seconds: float


def read(cell: Cell, folder: pathlib.Path) -> Result | None:
    """A cell's result, None where it was not run."""
    try:
        stored = json.loads(cell.path(folder).read_text())
    except FileNotFoundError:
        return None
    return Result(
        cell,
        _digits(stored["decisions"]),
        _digits(stored["right"]).astype(bool),
        stored["squared_error"],
        stored["width"],
        stored["multipliers"],
        stored["seconds"],
    )


def _digits(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")


def _text(numbers: np.ndarray) -> str:
    """Numbers 0 to 9 as a string, a character each."""
    return (np.asarray(numbers) + ord("0")).astype(np.uint8).tobytes().decode()


def parameters(task: str, seed: int, folder: pathlib.Path) -> int | None:
    """How many the float network has, moving statistics among them; None where it was not trained."""
    path = Cell(task, seed, FLOAT).path(folder).with_name(WEIGHTS)
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        return sum(arrays[name].size for name in arrays.files)


def has_base(task: str, seed: int, bits: list[int], folder: pathlib.Path) -> bool:
    """Whether `Work.base` has nothing left to do."""
    base = [Cell(task, seed, FLOAT), Cell(task, seed, CONTROL, "", MAX_BITS)]
    base += [Cell(task, seed, POST_TRAINING, method, k) for method in METHODS for k in bits]
    needed = [cell.path(folder) for cell in base]
    return all(path.is_file() for path in (*needed, needed[0].with_name(WEIGHTS)))


class Work:
    """What the cells of a task and seed share: rows, float weights, the control's file."""

    def __init__(self, task: str, seed: int, folder: str, settings: Settings):
        self.task, self.seed, self.settings = tasks.available()[task], seed, settings
        self.folder = pathlib.Path(folder)
        self.split = tasks.split(self.task)
        self.rows: Rows = getattr(self.split, settings.rows)
        Cell(task, seed, FLOAT).path(self.folder).parent.mkdir(parents=True, exist_ok=True)

    def base(self, bits: list[int]) -> list[Cell]:
        """Makes the float model, the control, and the control narrowed after training to each width; all that lack."""
        made = []
        control = self._beside("qat.tflite")
        if not self._is_done(FLOAT) or not self._weights.is_file():
            made += [self._float()]
        if not self._is_done(CONTROL) or not control.is_file():
            made += [self._tuned(CONTROL, METHODS[0], MAX_BITS)]
        for method in METHODS:
            for k in bits:
                if not self._is_done(POST_TRAINING, method, k):
                    started = time.process_time()
                    data, _ = narrow(control.read_bytes(), k, method)
                    made += [self._measure(Cell(self.task.name, self.seed, POST_TRAINING, method, k), data, started)]
        return made

    def trained(self, method: str, bits: int) -> list[Cell]:
        """Makes a rescale-aware trained model, unless it is there."""
        return [] if self._is_done(TRAINED, method, bits) else [self._tuned(TRAINED, method, bits)]

    @property
    def _weights(self) -> pathlib.Path:
        return self._beside(WEIGHTS)

    def _beside(self, name: str) -> pathlib.Path:
        return Cell(self.task.name, self.seed, FLOAT).path(self.folder).with_name(name)

    def _is_done(self, *what) -> bool:
        return Cell(self.task.name, self.seed, *what).path(self.folder).is_file()

    def _float(self) -> Cell:
        import tf_keras as keras

        started = time.process_time()
        keras.utils.set_random_seed(self.seed)
        model = self.task.build()
        _fit(model, self.task, self.split.train, self.settings.epochs(self.task.epochs), FLOAT_RATE)
        archive = io.BytesIO()
        np.savez(archive, *model.get_weights())
        files.write({str(self._weights): archive.getvalue()})
        cell = Cell(self.task.name, self.seed, FLOAT)
        outputs = model.predict(self.rows.x, BATCH_OF_FLOAT_MODELS, verbose=0)
        return self._write(cell, outputs, None, None, started)

    def _tuned(self, model_name: str, method: str, bits: int) -> Cell:
        """Fine-tunes the float model with k-bit rescales; at 31 bits that is plain quantisation-aware training."""
        import tf_keras as keras

        import keras_rat

        started = time.process_time()
        keras.utils.set_random_seed(self.seed)
        float_model = self.task.build()
        with np.load(self._weights) as arrays:
            float_model.set_weights([arrays[name] for name in arrays.files])
        model = keras_rat.quantize_model(float_model, bits=bits, method=method, weight_bits=self.settings.weight_bits)
        keras_rat.calibrate(model, self.split.train.x[:CALIBRATION_ROWS])
        _fit(model, self.task, self.split.train, self.settings.epochs(self.task.tuning_epochs), self.settings.rate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = keras_rat.convert(model)
        if model_name == CONTROL:
            files.write({str(self._beside("qat.tflite")): data})
            return self._measure(Cell(self.task.name, self.seed, CONTROL, "", MAX_BITS), data, started)
        return self._measure(Cell(self.task.name, self.seed, model_name, method, bits), data, started)

    def _measure(self, cell: Cell, data: bytes, started: float) -> Cell:
        """Runs a file over all rows on LiteRT and writes what came out."""
        runtime = runtimes.LiteRT(data)
        integers = runtimes.run_all(runtime, runtimes.quantize_input(self.rows.x, runtime.input))
        scale, zero_point = runtime.output["quantization"]
        outputs = np.float32(scale) * (integers.astype(np.float32) - zero_point)
        return self._write(cell, outputs, check(data, MAX_BITS).max_bits, multipliers(data), started)

    def _write(self, cell: Cell, outputs: np.ndarray, width, factors, started: float) -> Cell:
        decisions = tasks.decide(self.task, outputs)
        right = decisions == self.rows.labels
        stored = {
            **dataclasses.asdict(cell),
            "accuracy": float(right.mean()),
            "squared_error": float(np.mean((outputs - self.rows.y) ** 2)) if self.task.reconstructs else None,
            "width": width,
            "seconds": round(time.process_time() - started, 2),
            "decisions": _text(decisions),
            "right": _text(right),
            "multipliers": factors,
        }
        files.write({str(cell.path(self.folder)): (json.dumps(stored) + "\n").encode()})
        return cell


def multipliers(data: bytes) -> dict[str, list[float]]:
    """log2 of the rescale factors of every operator of a .tflite file that has any, by index and name."""
    found = {}
    for operator in parse(data).operators:
        factors = op_for(operator).factors(operator)
        if factors is not None:
            found[f"{operator.index} {operator.name}"] = np.log2(factors).round(4).ravel().tolist()
    return found


def _fit(model, task: Task, rows: Rows, epochs: int, rate: float) -> None:
    import tf_keras as keras

    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(rows) // task.batch))
    loss = "mse" if task.reconstructs else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    # Keras traces a training step twice if the optimizer makes its variables in the first one.
    model.optimizer.build(model.trainable_variables)
    if task.augmented:
        model.fit(moved(rows, task.batch), epochs=epochs, verbose=0)
    else:
        model.fit(rows.x, rows.y, task.batch, epochs, verbose=0)


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


def start_worker() -> None:
    """Sets up a process of the pool: one thread, no chatter."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # the converter and the runtimes write there from C++; exceptions travel as objects
    os.close(null)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def run(task: str, seed: int, method: str | None, bits: list[int], folder: str, settings: Settings) -> list[Cell]:
    """A job of the pool: the base cells of a task and seed, or those trained with a method; returns the new ones."""
    import tf_keras as keras

    keras.backend.clear_session()
    work = Work(task, seed, folder, settings)
    return work.base(bits) if method is None else [cell for k in bits for cell in work.trained(method, k)]
