# SPDX-License-Identifier: Apache-2.0
"""The setting of each operator of a model: a default, and rules for single ones."""

import json
import re

from tflm_export import files
from tflm_export.errors import UsageError
from tflm_export.flatbuffer.model import Model, Operator
from tflm_export.grid import Grid, grid_of
from tflm_export.ops import op_for
from tflm_export.setting import Setting

TYPE = "op:"  # what the key of a rule for operators of a type starts with
ADDITIONS = f"{TYPE}ADD|SUB"


def resolve(model: Model, default: Setting, rules: dict | None) -> dict[tuple[int, int], Setting]:
    """The setting of every operator, by (subgraph, index).

    Args:
      model: the model.
      default: for operators that no rule names.
      rules: by operator index (of the main subgraph), by a regular expression that is searched in the name of the
        operator's first output tensor, or by "op:" and one that is its type as a whole ("op:ADD|SUB"): the bits or a
        grid, or a dict of bits and method. The first rule that fits counts.

    Raises:
      UsageError: a rule is not of that form, or fits no operator with a rescale.
    """
    parsed = [(key, _setting(key, value, default)) for key, value in (rules or {}).items()]
    unused = {key for key, _ in parsed}
    settings = {}
    for operator in model.operators:
        fitting = [(key, setting) for key, setting in parsed if _fits(key, operator)]
        if fitting and op_for(operator).factors(operator) is not None:
            unused -= {key for key, _ in fitting}
        settings[operator.subgraph, operator.index] = fitting[0][1] if fitting else default
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


def load_rules(path: str) -> dict:
    """The rules of a YAML or JSON file.

    Raises:
      UsageError: the file cannot be read, is no mapping, or is YAML and PyYAML is not installed.
    """
    text = files.read(path).decode("utf-8", "replace")
    try:
        rules = json.loads(text)
    except ValueError:
        rules = _yaml(path, text)
    if not isinstance(rules, dict):
        there = type(rules).__name__ if text.strip() else "nothing"
        raise UsageError(f"{path} must map operator indices or name patterns to bits, got {there}")
    return {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in rules.items()}


def _yaml(path: str, text: str):
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{path} is no JSON, and PyYAML is not installed; pip install pyyaml") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from error


def _setting(key, value, default: Setting) -> Setting:
    if isinstance(value, dict):
        unknown = value.keys() - {"bits", "method"}
        if unknown:
            raise UsageError(f"rule {key!r}: {', '.join(map(str, unknown))} is none of bits, method")
        bits, method = value.get("bits", default.grid), value.get("method", default.method)
    else:
        bits, method = value, default.method
    try:
        return Setting(grid_of(bits), method)
    except UsageError as error:
        raise UsageError(f"rule {key!r}: {error}") from error


def _fits(key, operator: Operator) -> bool:
    if isinstance(key, int):
        return (operator.subgraph, operator.index) == (0, key)
    try:
        if key.startswith(TYPE):
            return re.fullmatch(key.removeprefix(TYPE), operator.name) is not None
        return bool(operator.outputs) and re.search(key, operator.outputs[0].name) is not None
    except (re.error, TypeError, AttributeError) as error:
        raise UsageError(f"rule {key!r} is neither an operator index nor a regular expression: {error}") from error
