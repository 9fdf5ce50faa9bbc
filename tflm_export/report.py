# SPDX-License-Identifier: Apache-2.0
"""What was done to a model, for people (a table) and for machines (a dict)."""

import dataclasses

from tflm_export.errors import ModelError
from tflm_export.grid import Grid
from tflm_export.terminal import visible

LOUD = 0.25  # steps of noise (RMS) at an addition that are worth a line; the rounding of one tensor makes 0.29
MOST_ADDITIONS = 3  # named in it


@dataclasses.dataclass(frozen=True)
class Row:
    """One operator that rescales.

    Attributes:
      subgraph, index, op, label: which operator; `label` is for people.
      name: its first output tensor's name as in the file; empty where it has none.
      grid: what its factors were to be on.
      factors: number of its rescale factors: output channels, or inputs of an operator without weights.
      bits_before, bits_after: significant bits of its widest multiplier; 31 stands for 17 and more.
      narrow: whether all its factors are on the grid.
      gain_error: largest |M_after / M_before - 1| of a factor that was rounded with nothing to make up for it ("keep");
        with data, where scales of activations move and are no error, largest change of the real weights' scale.
      weight_error: largest relative RMS change of a channel's real weights ("requantize").
      accumulator: largest |acc| over all inputs of the tensors' types; 2**62 stands for anything larger.
      fits_int32: whether |acc * m| plus the rounding constant stays below 2**31.
      reason: why it was not narrowed, for people; empty where it was.
      obstacle: the reason without the names of tensors: the same text for all that it stops.
      step_noise: of an ADD or SUB: what the coarser steps of its inputs and output add to it, RMS, in steps of its
        stock output ("requantize").
      activation: written into its options, as its output's range grew beyond the end that stood for it; else empty.
    """

    subgraph: int
    index: int
    op: str
    label: str
    grid: Grid
    factors: int = 0
    bits_before: int | None = None
    bits_after: int | None = None
    narrow: bool = False
    gain_error: float | None = None
    weight_error: float | None = None
    accumulator: int | None = None
    fits_int32: bool | None = None
    reason: str = ""
    name: str = ""
    obstacle: str = ""
    activation: str = ""
    step_noise: float | None = None

    @property
    def bits(self) -> int:
        """The width k it was to have."""
        return self.grid.bits


@dataclasses.dataclass(frozen=True)
class Report:
    """The rescales of a model.

    Attributes:
      grid: what was asked for.
      method: "requantize" or "keep"; empty for a check.
      rows: one for each operator that rescales, in execution order.
      synthetic: what was done with synthetic images, for people; empty where nothing was to be done.
    """

    grid: Grid
    method: str
    rows: tuple[Row, ...]
    synthetic: str = ""

    @property
    def bits(self) -> int:
        """The width k that was asked for."""
        return self.grid.bits

    @property
    def offenders(self) -> tuple[Row, ...]:
        """The rows that are not on their grid or cannot be read."""
        return tuple(row for row in self.rows if not row.narrow)

    @property
    def max_bits(self) -> int:
        """Significant bits of the widest multiplier that can be read; 0 where there is none."""
        return max((row.bits_after for row in self.rows if row.bits_after is not None), default=0)

    def to_dict(self) -> dict:
        """The report as JSON-serialisable values; a grid is its `name`, and its `bits`."""
        return _values(self) | {"rows": [_values(row) for row in self.rows], "max_bits": self.max_bits}

    def require_narrow(self) -> None:
        """Raises ModelError where a rescale is not on its grid."""
        if self.offenders:
            first = self.offenders[0]
            more = f", and {len(self.offenders) - 1} more" if len(self.offenders) > 1 else ""
            raise ModelError(f"--strict: a rescale cannot be narrowed: {first.label}: {first.reason}{more}")

    def summary(self) -> str:
        """The report in a line for people."""
        narrowed = len(self.rows) - len(self.offenders)
        if not self.rows:
            return "no operator has a rescale"
        widest = max((row.grid for row in self.rows), key=lambda grid: grid.bits)
        wide = f"at most {widest} wide" if isinstance(widest, Grid) else f"of {widest}"
        text = f"{narrowed} of {len(self.rows)} operators with a rescale are {wide}"
        return text + (f"; {len(self.offenders)} not" if self.offenders else "")

    def table(self) -> str:
        """The report as text, one line an operator, and its notes."""
        head = ("", "op", "factors", "bits", "gain error", "weight error", "worst |acc|", "acc*m", "")
        lines = [columns([head, *(_cells(row) for row in self.rows)], right={0, 2, 4, 5, 6})]
        return "\n".join([*lines, *self.notes()])

    def notes(self) -> list[str]:
        """What there is to say of synthetic images and of additions, in lines for people."""
        return [visible(line) for line in (self.synthetic, self._additions()) if line]

    def _additions(self) -> str:
        """The additions that lose most, in a line for people; empty where none loses much."""
        rows = sorted(self.rows, key=lambda row: -(row.step_noise or 0.0))[:MOST_ADDITIONS]
        named = [
            f"{place(row.subgraph, row.index)} {row.op} {row.step_noise:.2f}"
            for row in rows
            if (row.step_noise or 0) > LOUD
        ]
        if not named:
            return ""
        return f"coarser steps add most noise (steps, RMS) at {', '.join(named)}; more bits for additions: --add_bits 8"


def _values(item: Report | Row) -> dict:
    """The fields, with the name and the width of a grid in its place."""
    values = {"grid": item.grid.name, "bits": item.bits}
    return values | {f.name: getattr(item, f.name) for f in dataclasses.fields(item) if f.name != "grid"}


def columns(lines: list[tuple[str, ...]], right: set[int]) -> str:
    """Lines of cells as text with aligned columns; `right` are the columns that are aligned to the right.

    What could not be seen in a cell, such as a line break in a name, is made visible.
    """
    lines = [tuple(map(visible, line)) for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    bits = "" if row.bits_before is None else f"{row.bits_before} -> {row.bits_after}"
    fits = {None: "", True: "32 bits", False: "64 bits"}[row.fits_int32]
    return (
        place(row.subgraph, row.index),
        row.op,
        str(row.factors or ""),
        bits,
        "" if row.gain_error is None else f"{row.gain_error:.2%}",
        "" if row.weight_error is None else f"{row.weight_error:.2%}",
        "" if row.accumulator is None else str(row.accumulator),
        fits,
        _note(row),
    )


def place(subgraph: int, index: int) -> str:
    """Which operator, for people."""
    return str(index) if subgraph == 0 else f"{subgraph}.{index}"


def _note(row: Row) -> str:
    if row.reason:
        return f"not narrowed: {row.reason}"
    return f"{row.activation} written: its range ended there" if row.activation else ""
