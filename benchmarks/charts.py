"""Geometry of the report's figures, in units of their SVG view boxes; the template draws them."""

import dataclasses
import math

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 44
MINUS = "\N{MINUS SIGN}"
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


@dataclasses.dataclass(frozen=True)
class Series:
    """A line to draw: `style` is its CSS class, points are (x, value, error or None, text for people)."""

    name: str
    style: str
    points: list[tuple[float, float, float | None, str]]


@dataclasses.dataclass(frozen=True)
class Mark:
    """A point of a line; `below` is the value of one that lies under the axis, as text, and empty elsewhere."""

    x: float
    y: float
    low: float
    high: float
    text: str
    below: str


@dataclasses.dataclass(frozen=True)
class LineChart:
    """Lines over a logarithmic axis.

    Attributes:
      title, x_label, y_label: text.
      x_ticks, y_ticks: (position, text).
      lines: (series, path, marks).
      reference: (y, highest y, lowest y, text) of a horizontal line with a band, or None.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[tuple[Series, str, list[Mark]]]
    reference: tuple[float, float, float, str] | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(title, x_label, y_label, series: list[Series], reference=None, reach=12.0, ceiling=100.0) -> LineChart:
    """A chart of series over bits.

    Args:
      reference: (value, error, text) of a horizontal line.
      reach: how far below the highest value or the reference the axis goes, at most; what is lower is written out.
      ceiling: no value is above it.
    """
    values = [(value, error or 0.0) for line in series for _, value, error, _ in line.points]
    anchors = [value + error for value, error in values] + ([reference[0] + reference[1]] if reference else [])
    middle = reference[0] if reference else max(anchors)
    lowest = min([value - error for value, error in values] + ([reference[0] - reference[1]] if reference else []))
    low, high = max(lowest, middle - reach), min(max(anchors), ceiling)
    step = next((s for s in STEPS if (high - low) / s <= 6), STEPS[-1])
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    high = max(high, low + step)
    bits = sorted({x for line in series for x, *_ in line.points})
    span = (math.log2(bits[0]), math.log2(bits[-1])) if len(bits) > 1 else (math.log2(bits[0]) - 1,) * 2
    inner = (LEFT + 18, WIDTH - RIGHT - 18)

    def x_at(k):
        share = 0.5 if span[0] == span[1] else (math.log2(k) - span[0]) / (span[1] - span[0])
        return round(inner[0] + share * (inner[1] - inner[0]), 1)

    def y_at(value):
        share = (min(max(value, low), high) - low) / (high - low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)

    lines = []
    for offset, line in enumerate(series):
        shift = 3 * (offset - (len(series) - 1) / 2)  # so that error bars stand beside each other
        marks = [
            Mark(
                round(x_at(k) + shift, 1), y_at(value), y_at(value - (error or 0)), y_at(value + (error or 0)), text,
                f"{value:.0f}".replace("-", MINUS) if value < low else "",
            )
            for k, value, error, text in sorted(line.points)
        ]  # fmt: skip
        path = "M" + "L".join(f"{mark.x},{mark.y}" for mark in marks)
        lines.append((line, path, marks))
    digits = 1 if step < 1 else 0
    levels = [low + i * step for i in range(math.floor((high - low) / step + 1.5))]
    y_ticks = [(y_at(level), f"{level:.{digits}f}".replace("-", MINUS)) for level in levels]
    drawn = None
    if reference:
        value, error, text = reference
        drawn = (y_at(value), y_at(value + error), y_at(value - error), text)
    return LineChart(title, x_label, y_label, [(x_at(k), str(k)) for k in bits], y_ticks, lines, drawn)


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """Counts in a grid.

    Attributes:
      title, x_label: text.
      rows: (y, label).
      columns: (x, exponent).
      cells: (x, y, share of its row, count, text for people).
    """

    title: str
    x_label: str
    rows: list[tuple[float, str]]
    columns: list[tuple[float, int]]
    cells: list[tuple[float, float, float, int, str]]
    cell: tuple[int, int]
    left: int
    width: int
    height: int


def heat_map(title: str, layers: dict[str, list[float]], exponents: range) -> HeatMap:
    """How many of a layer's multipliers lie at each power of two; layers as log2 of their factors by name."""
    wide, high, left, top = 26, 18, 154, 6
    columns = {exponent: left + i * wide for i, exponent in enumerate(exponents)}
    rows, drawn = [], []
    for i, (name, values) in enumerate(layers.items()):
        y = top + i * high
        rows.append((y, name))
        nearest = [round(value) for value in values]
        for exponent in sorted(set(nearest)):
            count = nearest.count(exponent)
            text = f"{name}: {count} of {len(values)} multipliers at about 2^{exponent}"
            drawn.append((columns[exponent], y, count / len(values), count, text))
    height = top + len(rows) * high
    return HeatMap(
        title, "multiplier, power of two", rows, [(x, exponent) for exponent, x in columns.items()], drawn,
        (wide, high), left, left + max(wide * len(columns), 150) + 8, height + 40,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BarChart:
    """Horizontal bars in groups, as shares of each group's first.

    Attributes:
      title, x_label: text.
      groups: (y, label).
      bars: (y, width, style, label, text for people).
      ticks: (x, text).
    """

    title: str
    x_label: str
    groups: list[tuple[float, str]]
    bars: list[tuple[float, float, str, str, str]]
    ticks: list[tuple[float, str]]
    bar: int
    left: int
    width: int
    height: int


def bar_chart(title: str, x_label: str, groups: dict[str, list[tuple[str, float, str]]]) -> BarChart:
    """Bars of (label, value, value as text); a group's first bar is its 100 %."""
    bar, gap, left, width, room = 15, 26, 74, 420, 116
    largest = max(value / bars[0][1] for bars in groups.values() for _, value, _ in bars)
    scale = (width - left - room) / max(1.0, largest)
    y, labels, drawn = 4, [], []
    for name, bars in groups.items():
        labels.append((y + 12, name))
        y += 18
        for i, (label, value, text) in enumerate(bars):
            share = value / bars[0][1]
            note = text if i == 0 else f"{text} ({100 * share - 100:+.0f} %)".replace("-", MINUS)
            drawn.append((y, round(scale * share, 1), "stock" if i == 0 else "narrow", label, note))
            y += bar + 3
        y += gap - 18
    ticks = [(round(left + scale * share / 100, 1), f"{share} %") for share in (0, 25, 50, 75, 100)]
    return BarChart(title, x_label, labels, drawn, ticks, bar, left, width, y + 34)
