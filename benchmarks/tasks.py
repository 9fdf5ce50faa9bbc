# SPDX-License-Identifier: Apache-2.0
"""The tasks of the accuracy suite: a data set, a network, how long it is trained, and what counts as right."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from benchmarks import datasets
from benchmarks.datasets import Dataset

VALIDATION_SHARE = 6  # one in six training rows, or people
AUTOENCODER = "autoencoder"


@dataclasses.dataclass(frozen=True, eq=False)  # hashed as what it is: one of the table below
class Task:
    """What is learnt, and with how much effort.

    Attributes:
      name, title: for files and for people.
      data: loads the rows.
      network: name of a function of benchmarks.networks, or a partial of one as (name, arguments).
      epochs: of the float training.
      tuning_epochs: of plain and of rescale-aware quantised training, from the float weights.
      batch: rows of a training step.
      augmented: whether training sees images mirrored and shifted at random.
      costly: whether the suite leaves it for last.
    """

    name: str
    title: str
    data: Callable[[], Dataset]
    network: tuple[str, dict]
    epochs: int
    tuning_epochs: int
    batch: int = 64
    augmented: bool = False
    costly: bool = False

    @property
    def reconstructs(self) -> bool:
        """Whether the network gives its input back, instead of a class."""
        return self.network[0] == AUTOENCODER

    def effort(self) -> dict:
        """What its cells depend on, for comparison with those of another run."""
        fields = ("network", "epochs", "tuning_epochs", "batch", "augmented")
        return {name: getattr(self, name) for name in fields}

    def build(self):
        """The float network, not trained."""
        from benchmarks import networks

        return networks.build(*self.network)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a task: to train on, to choose a recipe by, and to measure on.

    Attributes:
      x, y: inputs float32 [rows, ...] and what the network shall give: class indices int64 [rows], or the inputs.
      labels: class indices int64 [rows].
    """

    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.x)


@dataclasses.dataclass(frozen=True)
class Split:
    """The rows of a task by use; `train` and `validation` are the data set's training rows."""

    train: Rows
    validation: Rows
    test: Rows


@functools.cache
def split(task: Task) -> Split:
    """Loads a task's rows; the split is always the same, by people where there are any."""
    data = task.data()
    held_out = _held_out(data)
    parts = (
        (data.x_train[~held_out], data.y_train[~held_out]),
        (data.x_train[held_out], data.y_train[held_out]),
        (data.x_test, data.y_test),
    )
    if task.reconstructs:
        parts = [(x.reshape(len(x), -1), labels) for x, labels in parts]
    return Split(*(Rows(x, x if task.reconstructs else labels, labels) for x, labels in parts))


def _held_out(data: Dataset) -> np.ndarray:
    """Which training rows are for validation; bool [rows]."""
    rng = np.random.default_rng(0)
    if data.groups is not None:
        groups = np.unique(data.groups)
        return np.isin(data.groups, rng.choice(groups, max(1, len(groups) // VALIDATION_SHARE), replace=False))
    held_out = np.zeros(len(data.x_train), bool)
    held_out[rng.choice(len(held_out), len(held_out) // VALIDATION_SHARE, replace=False)] = True
    return held_out


def decide(task: Task, outputs: np.ndarray) -> np.ndarray:
    """The class that a network's real outputs [rows, ...] stand for; int64 [rows].

    The largest logit; of a reconstruction, the class of the training row it is nearest to.
    """
    if not task.reconstructs:
        return outputs.argmax(1)
    train = split(task).train
    lengths = (train.x**2).sum(1)
    nearest = [(lengths - 2 * part @ train.x.T).argmin(1) for part in np.array_split(outputs, -(-len(outputs) // 500))]
    return train.labels[np.concatenate(nearest)]


def _ds_cnn(shape, classes, width, stem, strides, kernels) -> tuple[str, dict]:
    return "ds_cnn", {
        "shape": shape, "classes": classes, "width": width, "stem": stem, "strides": strides, "kernels": kernels
    }  # fmt: skip


def _cifar(name: str, title: str, network: tuple[str, dict]) -> Task:
    return Task(name, title, datasets.cifar10, network, 48, 4, augmented=True, costly=True)


_IMAGE = {"shape": (32, 32, 3), "classes": 10}
_ACTIVITY = _ds_cnn((64, 1, 6), 5, 24, (5, 1), (2, 1), (((5, 1), 2), ((5, 1), 1), ((5, 1), 1)))
_MNIST = _ds_cnn((28, 28, 1), 10, 20, 3, 2, ((3, 1), (3, 2), (3, 1)))
_SPOKEN = _ds_cnn((49, 10, 1), 10, 16, (10, 4), 2, ((3, 1), (3, 1), (3, 1)))
_CIFAR = _ds_cnn((32, 32, 3), 10, 32, 3, 2, ((3, 1), (3, 2), (3, 1), (3, 1)))

TASKS = {
    task.name: task
    for task in (
        Task("fsdd", "Spoken digits, DS-CNN", datasets.spoken_digits, _SPOKEN, 30, 8),
        Task("har_sp", "Activity by phone, DS-CNN", functools.partial(datasets.activity, "sp"), _ACTIVITY, 30, 8),
        Task("har_sw", "Activity by watch, DS-CNN", functools.partial(datasets.activity, "sw"), _ACTIVITY, 30, 8),
        Task("mnist", "MNIST, DS-CNN", datasets.mnist, _MNIST, 15, 5),
        Task("mnist_autoencoder", "MNIST, autoencoder", datasets.mnist, (AUTOENCODER, {"size": 784}), 40, 8),
        _cifar("cifar10_resnet8", "CIFAR-10, ResNet8", ("resnet8", _IMAGE)),
        _cifar("cifar10_ds_cnn", "CIFAR-10, DS-CNN", _CIFAR),
        _cifar("cifar10_mobilenet_v2", "CIFAR-10, MobileNetV2", ("mobilenet_v2", _IMAGE)),
    )
}  # fmt: skip
# What scikit-learn brings along: for the demo, and for where there is no data folder.
BUNDLED = {
    task.name: task
    for task in (
        Task("digits", "Digits, residual CNN", datasets.digits, ("digits_cnn", {}), 40, 12, batch=32),
        Task(
            "digits_autoencoder", "Digits, autoencoder", datasets.digits,
            (AUTOENCODER, {"size": 64, "widths": (96, 48, 12, 48, 96)}), 60, 15, batch=32,
        ),
    )
}  # fmt: skip
QUICK = ("fsdd", "har_sp", "mnist_autoencoder")


def available() -> dict[str, Task]:
    """The tasks whose data are here, by name."""
    return BUNDLED if datasets.data_folder() is None else TASKS | BUNDLED


def usual() -> list[str]:
    """The tasks of a run that names none: what scikit-learn brings along only where nothing else is here."""
    return list(BUNDLED if datasets.data_folder() is None else TASKS)
