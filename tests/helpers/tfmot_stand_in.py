# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: tests of tfmot that import its `quantize` module get keras_rat's functions in it.

`make tfmot-tests TFMOT=FOLDER` runs those of a checkout of tensorflow/model-optimization; those that docs/training.md
lists as differences are expected to fail, and no others.
"""

import pathlib
import re
import sys
import types

import pytest
import tensorflow_model_optimization.python.core.keras as tfmot_keras
from absl import flags
from tensorflow_model_optimization.python.core.quantization import keras as tfmot_quantization
from tensorflow_model_optimization.python.core.quantization.keras import quantize

import keras_rat

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "training.md"
NAMES = ("quantize_annotate_layer", "quantize_annotate_model", "quantize_apply", "quantize_model", "quantize_scope")


def pytest_configure(config):
    flags.FLAGS.mark_as_parsed()  # tf.test would parse those of pytest
    stand_in = types.ModuleType(quantize.__name__)
    vars(stand_in).update(vars(quantize) | {name: getattr(keras_rat, name) for name in NAMES})
    sys.modules[quantize.__name__] = tfmot_quantization.quantize = stand_in
    for argument in config.args:  # helpers of tests that wheels leave out
        for folder in pathlib.Path(argument).resolve().parents:
            helpers = folder / "tensorflow_model_optimization" / "python" / "core" / "keras"
            if helpers.is_dir() and str(helpers) not in tfmot_keras.__path__:
                tfmot_keras.__path__.append(str(helpers))


def pytest_collection_modifyitems(items):
    different = differences()
    for item in items:
        if item.name in different:
            item.add_marker(pytest.mark.xfail(strict=True, reason=f"a difference that {PAGE.name} lists"))


def differences() -> set[str]:
    """The tests that the documentation says fail on purpose."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## Differences from tfmot\n")
    rows = section.partition("Beyond those tests")[0]
    return {name for line in rows.splitlines() for name in re.findall(r"`(test\w+)`", line.split(" | ")[0])}
