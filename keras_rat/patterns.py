# SPDX-License-Identifier: Apache-2.0
"""Values of layers: one for all, or by regular expressions on their names, and annotated layers' own."""

import dataclasses
import re
from collections.abc import Callable, Mapping

from keras_rat.grid import K_BITS, Family, family_of
from tflm_export.errors import UsageError
from tflm_export.rescale import check_bits

AUTO = "auto"


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
    values: int | str | Mapping[str, int | str]
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
        own = {part: value for name, value in found.items() for part in parts_of(name)}
        return dataclasses.replace(self, own=own | found)


def parts_of(name: str) -> list[str]:
    """What a layer and its parts are called in the quantised model, but for the prefix.

    Separable convolutions become two; inputs of layers without weights may have a rescale of their own (`freedom`).
    """
    rescales = (f"{name}_rescale_{number}{part}" for number in (0, 1) for part in ("", "_scale"))
    return [name, f"{name}_depthwise", f"{name}_pointwise", *rescales]


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
    found = {}
    for pattern, value in values.items():
        try:
            found[pattern] = check(value)
        except UsageError as error:
            raise UsageError(f"{argument} of {pattern!r}: {error}") from error
    return found


def is_open(bits: object) -> bool:
    """Whether widths are to be chosen: "auto", or a mapping with such values."""
    return AUTO in (bits.values() if isinstance(bits, Mapping) else (bits,))


def require_widths(bits: object) -> None:
    """Raises UsageError where widths are to be chosen, of what has no data to choose them on."""
    if is_open(bits):
        raise UsageError(
            f"bits {bits!r} is chosen on data: give quantize_model the data, too, or pass on the bits that "
            "keras_rat.choose_bits(model, data) finds"
        )


def open_widths(bits: int | str | Mapping[str, int | str] | None, grid: str | Family = K_BITS) -> PerLayer:
    """What `bits` says of every layer: a width, or "auto" where one is to be chosen; else raises UsageError."""
    widths = bits if bits is None else checked("bits", bits, lambda each: each if each == AUTO else check_bits(each))
    if not is_open(widths):
        raise UsageError(f'bits {bits!r} leaves nothing to choose; give "auto", or a mapping with values "auto"')
    if family_of(grid) is not K_BITS:
        raise UsageError(f"bits {bits!r} chooses among multipliers of k bits; leave out grid {family_of(grid).name}")
    return PerLayer("bits", widths)
