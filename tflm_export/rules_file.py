# SPDX-License-Identifier: Apache-2.0
"""Files of rules, in JSON or YAML: bits or a grid, or that and a method, by operator."""

import collections
import json
import re

from tflm_export import files
from tflm_export.errors import UsageError

_MERGE = "tag:yaml.org,2002:merge"  # of the key <<, which may be there again and again


def load_rules(path: str) -> dict:
    """The rules of a YAML or JSON file.

    Raises:
      UsageError: the file cannot be read, is no mapping, has a key twice, or is YAML and PyYAML is not installed.
    """
    text = files.read(path).decode("utf-8", "replace")
    try:
        rules = _parsed(path, text)
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply; it maps operators to bits, or to bits and method") from None
    if not isinstance(rules, dict):
        there = type(rules).__name__ if text.strip() else "nothing"
        raise UsageError(f"{path} must map operator indices or name patterns to bits, got {there}")
    for key, value in rules.items():
        parts = value.values() if isinstance(value, dict) else [value]
        if not all(isinstance(part, str | int | float | None) for part in parts):
            raise UsageError(f"{path}: rule {key!r} must be bits, or a mapping of bits or grid and method")
    return _unique([(_key(key), value) for key, value in rules.items()], path)


def _key(key):
    """A key of a file; an index may be written as text, as JSON must."""
    return int(key) if isinstance(key, str) and re.fullmatch("[0-9]{1,9}", key) else key


def _unique(pairs: list[tuple], path: str) -> dict:
    """A dict of pairs.

    Raises:
      UsageError: a key is there twice.
    """
    twice = [repr(key) for key, count in collections.Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise UsageError(f"{path} has {', '.join(twice)} more than once; leave one of them")
    return dict(pairs)


def _parsed(path: str, text: str):
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except UsageError:
        raise
    except ValueError:
        return _yaml(path, text)


def _yaml(path: str, text: str):
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{path} is no JSON, and PyYAML is not installed; pip install pyyaml") from None

    class Loader(yaml.SafeLoader):
        """As yaml.safe_load, which takes the last of equal keys."""

        def construct_mapping(self, node, deep=False):
            if isinstance(node, yaml.MappingNode):
                keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
                _unique([(self.construct_object(key), None) for key in keys], path)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # which is a safe one
    except UsageError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # of what is no date, or an integer of thousands of digits
        raise UsageError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from error
