# SPDX-License-Identifier: Apache-2.0
"""The setting of each operator of a model: a default, and rules for single ones."""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Mapping

from tflm_export.errors import UsageError
from tflm_export.flatbuffer.model import Model, Operator
from tflm_export.grid import Grid, grid_of
from tflm_export.ops import op_for
from tflm_export.rules_file import load_rules
from tflm_export.setting import Setting

SECONDS = 2.0  # of processor time for all names of a model; patterns that are no trap take microseconds
TYPE = "op:"  # what the key of a rule for operators of a type starts with
ADDITIONS = f"{TYPE}ADD|SUB"


def resolve(
    model: Model, default: Setting, rules: Mapping | str | os.PathLike | None
) -> dict[tuple[int, int], Setting]:
    """The setting of every operator, by (subgraph, index).

    Args:
      model: the model.
      default: for operators that no rule names.
      rules: by operator index (of the main subgraph), by a regular expression that is searched in the name of the
        operator's first output tensor, or by "op:" and one that is its type as a whole ("op:ADD|SUB"): the bits, a
        grid or its name, or a dict of bits or grid and method. The first rule that fits counts. Or the path of a file
        of rules.

    Raises:
      UsageError: a rule is not of that form, or fits no operator with a rescale, or its regular expression takes
        forever.
    """
    if isinstance(rules, str | os.PathLike):
        rules = load_rules(os.fspath(rules))
    if not isinstance(rules, Mapping | None):
        raise UsageError(f"rules must be a dict, or the path of a file of rules, got {type(rules).__name__}")
    parsed = [(key, _setting(key, value, default)) for key, value in (rules or {}).items()]
    unused = {key for key, _ in parsed}
    settings = {}
    with _limited([key for key, _ in parsed]):
        for operator in model.operators:
            fitting = [(key, setting) for key, setting in parsed if _fits(key, operator)]
            if fitting and op_for(operator).factors(operator) is not None:
                unused -= {key for key, _ in fitting}
            settings[operator.key] = fitting[0][1] if fitting else default
    if unused:
        raise UsageError(f"rules that fit no operator with a rescale: {', '.join(map(repr, sorted(unused, key=str)))}")
    return settings


def with_additions(model: Model, rules: dict | None, bits: int | Grid) -> dict:
    """Rules with one more at the end, which gives the ADDs and SUBs of a model bits of their own, if it has any."""
    rules = rules or {}
    rescaled = (operator for operator in model.operators if op_for(operator).factors(operator) is not None)
    if ADDITIONS in rules or not any(_fits(ADDITIONS, operator) for operator in rescaled):
        return rules
    return rules | {ADDITIONS: bits}


@contextlib.contextmanager
def _limited(keys: list):
    """Ends a block that searches in names after some processor time; in the main thread, where signals can.

    Raises:
      UsageError: it took longer.
    """
    if not any(isinstance(key, str) for key in keys) or not hasattr(signal, "setitimer"):
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number, frame):
        patterns = ", ".join(repr(key) for key in keys if isinstance(key, str))
        raise UsageError(
            f"searching the names of tensors took over {SECONDS:g} s; a regular expression tries too many ways to fit "
            f"(repetitions in repetitions?), one of {patterns}"
        )

    handler = signal.signal(signal.SIGVTALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)


def _setting(key, value, default: Setting) -> Setting:
    if isinstance(value, dict):
        unknown = value.keys() - {"bits", "grid", "method"}
        if unknown:
            raise UsageError(f"rule {key!r}: {', '.join(map(str, unknown))} is none of bits, grid, method")
        if {"bits", "grid"} <= value.keys():
            raise UsageError(f"rule {key!r} has bits and a grid, which exclude each other; leave one of them out")
        bits, method = value.get("grid", value.get("bits", default.grid)), value.get("method", default.method)
    else:
        bits, method = value, default.method
    try:
        return Setting(grid_of(bits), method)
    except UsageError as error:
        raise UsageError(f"rule {key!r}: {error}") from error


def _fits(key, operator: Operator) -> bool:
    if isinstance(key, int):
        return operator.key == (0, key)
    try:
        if key.startswith(TYPE):
            return re.fullmatch(key.removeprefix(TYPE), operator.name) is not None
        return bool(operator.outputs) and re.search(key, operator.outputs[0].name) is not None
    except (re.error, TypeError, AttributeError) as error:
        raise UsageError(f"rule {key!r} is neither an operator index nor a regular expression: {error}") from error
