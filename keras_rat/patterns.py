# SPDX-License-Identifier: Apache-2.0
"""Values of layers: one for all, or by regular expressions on their names, and annotated layers' own."""

import dataclasses
import re
from collections.abc import Callable, Mapping

from tflm_export.errors import UsageError


@dataclasses.dataclass(frozen=True)
class PerLayer:
    """What an argument says about every layer.

    Attributes:
      argument: its name, for messages.
      values: one for all layers, or {regular expression: value}, searched for in a layer's name; the first that is
        found counts.
      own: of layers of a model, by name, whatever the patterns say.
    """

    argument: str
    values: int | Mapping[str, int]
    own: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def of(self, name: str) -> int | None:
        """The value of the layer of this name; None where no pattern is found in it."""
        if name in self.own:
            return self.own[name]
        if not isinstance(self.values, Mapping):
            return self.values
        return next((value for pattern, value in self.values.items() if re.search(pattern, name)), None)

    def resolved(self, annotated: Mapping[str, int | None], which: str) -> "PerLayer":
        """The same for one model.

        Args:
          annotated: for every layer that is to have a value, the one it was annotated with or None; by the layer's name
            in the model as it is given. Parts of separable convolutions take its value.
          which: the relative clause that says what these layers are, for messages.

        Raises:
          UsageError: layers that no pattern matches, or patterns that match no layer; all are listed.
        """
        found = {name: self.of(name) if value is None else value for name, value in annotated.items()}
        if missing := [name for name, value in found.items() if value is None]:
            raise UsageError(
                f"no pattern of {self.argument} matches layers {', '.join(missing)}; "
                "add one, or '.*' as the last for all others"
            )
        if isinstance(self.values, Mapping):
            idle = [pattern for pattern in self.values if not any(re.search(pattern, name) for name in annotated)]
            if idle:
                raise UsageError(
                    f"patterns of {self.argument} that match no layer: {', '.join(map(repr, idle))}; "
                    f"the layers {which} are {', '.join(annotated)}"
                )
        parts = {f"{name}_{part}": value for name, value in found.items() for part in ("depthwise", "pointwise")}
        return dataclasses.replace(self, own=parts | found)


def checked(argument: str, values, check: Callable[[int], int]) -> int | dict[str, int]:
    """Returns one value, or those of a mapping by patterns, as `check` returns them.

    Raises:
      UsageError: a pattern is no regular expression, or `check` does.
    """
    if not isinstance(values, Mapping):
        return check(values)
    for pattern in values:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise UsageError(f"{argument} has the key {pattern!r}, which is no regular expression: {error}") from error
    return {pattern: check(value) for pattern, value in values.items()}
