# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' figures, drawn by matplotlib: each as one chart, for a PNG file or as SVG inside the page.

Colours in SVG are the page's CSS variables, so that they follow its light or dark scheme; marks have their figures as
text that shows when the pointer is on them.
"""

import dataclasses
import io
import itertools
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import widths
from benchmarks.cells import CONTROL, POST_TRAINING, TRAINED
from benchmarks.widths import Width
from tflm_export import MAX_BITS, METHODS

INK, SOFT, LINE, BAND, CARD, STOCK = "#1c2127", "#5a646f", "#dfe2e6", "#e9ebee", "#fefefe", "#8a95a1"
COLORS = dict(zip(METHODS, ("#1767ad", "#b4540a"), strict=True))
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", BAND: "band", CARD: "card", STOCK: "stock"} | {
    color: method for method, color in COLORS.items()
}
SERIES = tuple(itertools.product((POST_TRAINING, TRAINED), METHODS))
REACH = {"accuracy": 12.0, "difference": 6.0, "agreement": 15.0}  # points that a chart shows below its middle
_LABELS = {
    "accuracy": "accuracy, % of {rows} rows", "difference": "difference to QAT, points",
    "agreement": "same answer as QAT, %",
}  # fmt: skip
_ERRORS = {"accuracy": "standard_error", "difference": "difference_error"}
_MARK = "mark: "  # begins the id of what becomes a mark in SVG
_LOOKS = {
    "font.family": "sans-serif", "font.size": 8, "text.color": INK, "axes.edgecolor": LINE, "axes.labelcolor": SOFT,
    "xtick.color": SOFT, "ytick.color": SOFT, "grid.color": LINE, "axes.axisbelow": True, "legend.frameon": False,
    "svg.fonttype": "none", "svg.hashsalt": "benchmarks",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Chart:
    """A figure of one panel.

    Attributes:
      title: what it shows.
      draw: draws it.
      width, height: inches.
    """

    title: str
    draw: Callable[[Axes], None]
    width: float = 4.2
    height: float = 2.7


def png(charts: list[Chart], columns: int = 4) -> bytes:
    """Charts side by side, with one legend below where they have any."""
    columns = min(columns, len(charts))
    lines = -(-len(charts) // columns)
    width, height = columns * max(chart.width for chart in charts), lines * max(chart.height for chart in charts)
    with mpl.rc_context(_LOOKS):
        figure = Figure((width, height + 0.4), layout="constrained")
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes, chart in itertools.zip_longest(panels, charts):
            if chart is None:
                axes.axis("off")
                continue
            axes.set_title(chart.title)
            chart.draw(axes)
        named = {
            name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if named:
            figure.legend(named.values(), named, loc="outside lower center", ncols=5)
        return _saved(figure, format="png", dpi=90)


def svg(chart: Chart) -> str:
    """A chart as an element of an HTML page."""
    with mpl.rc_context(_LOOKS):
        figure = Figure((chart.width, chart.height), layout="constrained")
        chart.draw(figure.subplots())
        text = _saved(figure, format="svg", transparent=True, metadata={"Date": None, "Creator": None}).decode()
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    root = ElementTree.fromstring(text)
    root.remove(root.find("{*}metadata"))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # HTML knows no namespaces
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if element.tag == "g" and (name := element.attrib.pop("id", "")).startswith(_MARK):
            element.set("class", "mark")
            title = ElementTree.Element("title")
            title.text = name.removeprefix(_MARK).rpartition("#")[0]
            element.insert(0, title)
    del root.attrib["width"], root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": chart.title}
    return ElementTree.tostring(root, encoding="unicode")


def _saved(figure: Figure, **options) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, **options)
    return buffer.getvalue()


class Marks:
    """Names for what a pointer can be on: an id may stand only once in a file."""

    def __init__(self):
        self._numbers = itertools.count()

    def __call__(self, text: str) -> str:
        return f"{_MARK}{text}#{next(self._numbers)}"


def accuracy_chart(results, task: str, value: str = "accuracy") -> Chart | None:
    """A figure of a task against multiplier width; None where no model has it.

    Args:
      results: a summary.Results.
      value: "accuracy", "difference" or "agreement".
    """
    rows = results.of(task)
    control = rows.get((CONTROL, "", MAX_BITS))
    if control is None or control.accuracy is None:
        return None
    # Of fewer seeds than the control, a mean would stand beside another one's.
    whole = [row for row in rows.values() if row.method and row.seeds == control.seeds]
    if not any(getattr(row, value) is not None for row in whole):
        return None

    def draw(axes: Axes) -> None:
        _draw_widths(axes, whole, value, control)
        axes.set_ylabel(_LABELS[value].format(rows=results.rows))

    return Chart(results.tasks[task]["title"], draw)


def _draw_widths(axes: Axes, rows: list, value: str, control) -> None:
    """One line for each model and method, about the control's value or, for the agreement, the highest."""
    shown = [100 * getattr(row, value) for row in rows]
    middle, error = (max(shown), 0.0) if value == "agreement" else (0.0, 0.0)
    if value == "accuracy":
        middle, error = 100 * control.accuracy, 100 * control.standard_error
    if value != "agreement":
        axes.axhspan(middle - error, middle + error, color=BAND, zorder=0)
        axes.axhline(middle, color=SOFT, linestyle="--", linewidth=1, label=f"{CONTROL}, 31 bits (± standard error)")
    floor, marks = middle - REACH[value], Marks()
    for offset, (model, method) in enumerate(SERIES):
        line = [row for row in rows if (row.model, row.method) == (model, method)]
        if line:
            shift = 1 + 0.02 * (offset - 1.5)  # so that error bars stand beside each other
            _draw_line(axes, sorted(line, key=lambda row: widths.place(row.bits)), value, shift, floor, marks)
    top = max(*shown, middle + error) + 1.0
    axes.set_ylim(max(floor, min(*shown, middle - error)) - 1.0, top if value == "difference" else min(top, 100.5))
    _width_axis(axes, widths.ordered(row.bits for row in rows)[::-1])


def _draw_line(axes: Axes, rows: list, value: str, shift: float, floor: float, marks: Marks) -> None:
    """The line of one model and method through bits, other grids as points beside it; below the floor in figures."""
    model, method, color = rows[0].model, rows[0].method, COLORS[rows[0].method]
    look = {"color": color, "linestyle": ":" if model == POST_TRAINING else "-", "linewidth": 1.2}
    look |= {"marker": "o", "markersize": 4.5, "markerfacecolor": CARD if model == POST_TRAINING else color}
    x = [widths.place(row.bits) * shift for row in rows]
    y = [100 * getattr(row, value) for row in rows]
    spread = [100 * getattr(row, _ERRORS[value]) for row in rows] if value in _ERRORS else None
    axes.errorbar(x, y, spread, **look | {"linestyle": "", "marker": ""}, capsize=2)
    bits = [i for i, row in enumerate(rows) if isinstance(row.bits, int)]
    axes.plot([x[i] for i in bits], [y[i] for i in bits], **look, label=f"{model}, {method}")
    for i, (at, height, row) in enumerate(zip(x, y, rows, strict=True)):
        sure = f" ± {spread[i]:.2f}" if spread else ""
        unit = "points" if value == "difference" else "%"
        text = f"{model}, {method}, {widths.title(row.bits)}: {height:.2f}{sure} {unit}"
        if height >= floor:
            shape = {} if isinstance(row.bits, int) else {"marker": "D", "markersize": 5}
            axes.plot(at, height, **look | shape, gid=marks(text))
            continue
        place = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{height:.0f} ↓", (at, floor - 1.0), color=color, gid=marks(text), **place)


def _width_axis(axes: Axes, shown: list[Width]) -> None:
    places = [widths.place(width) for width in shown]
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [str(width) if isinstance(width, int) else f"\n{width}" for width in shown])
    axes.minorticks_off()
    axes.set_xlim(0.8 * places[0], 1.25 * places[-1])
    axes.set_xlabel("rescale multiplier, bits")
    axes.grid(alpha=0.6)


def speedup_chart(title: str, x_label: str, names: list[str], series: dict[str, list[float]]) -> Chart:
    """Horizontal bars of ratios on a logarithmic axis, one of every series for each name; with a line at 1."""

    def draw(axes: Axes) -> None:
        marks, height = Marks(), 0.8 / len(series)
        colors = itertools.cycle((STOCK, *COLORS.values()))
        for i, (label, ratios) in enumerate(series.items()):
            color = next(colors)
            for y, (name, ratio) in enumerate(zip(names, ratios, strict=True)):
                at, text = y + (i + 0.5) * height - 0.4, f"{name}, {label}: {ratio:.2f}"
                axes.barh(at, ratio - 1, height, 1, color=color, label="" if y else label, gid=marks(text))
        axes.axvline(1, color=INK, linewidth=1)
        ends = [ratio for ratios in series.values() for ratio in ratios]
        axes.set_xscale("log", base=2)
        axes.set_xlim(min(0.5, *ends) / 1.1, max(2, *ends) * 1.1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(axis="x", alpha=0.6)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(length=0)
        axes.set_xlabel(x_label)

    return Chart(title, draw, 6.4, 0.6 + 0.2 * len(names))


def multipliers_chart(title: str, layers: dict[str, list[float]], exponents: range) -> Chart:
    """How many of a layer's multipliers lie at each power of two; layers as log2 of their factors by name."""

    def draw(axes: Axes) -> None:
        marks = Marks()
        for y, (name, values) in enumerate(layers.items()):
            nearest = [round(value) for value in values]
            for exponent in sorted(set(nearest)):
                count = nearest.count(exponent)
                part = count / len(values)
                text = f"{name}: {count} of {len(values)} multipliers at about 2^{exponent}"
                box = mpl.patches.Rectangle((exponent - 0.48, y - 0.46), 0.96, 0.92, gid=marks(text))
                box.set(facecolor=COLORS[METHODS[0]], alpha=0.12 + 0.88 * part, linewidth=0)
                axes.add_patch(box)
                ink = INK if part < 0.5 else "#14171b" if part < 0.8 else CARD
                axes.text(exponent, y, count, ha="center", va="center", fontsize=7, color=ink, gid=marks(text))
        axes.set_xlim(exponents[0] - 0.6, max(exponents[-1], exponents[0] + 5) + 0.6)
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.set_xticks(list(exponents))
        axes.set_yticks(range(len(layers)), list(layers))
        axes.tick_params(length=0)
        axes.set_xlabel("multiplier, power of two")

    return Chart(title, draw, 1.6 + 0.26 * max(6, len(exponents)), 0.6 + 0.2 * len(layers))


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar of a group.

    Attributes:
      label: what it is.
      value: its length, above 0.
      text: the value with its unit.
      range: lowest and highest of its ratio to the group's first bar; None where that is not known.
    """

    label: str
    value: float
    text: str
    range: tuple[float, float] | None = None


def ratio_chart(title: str, x_label: str, groups: dict[str, list[Bar]], target: float | None = None) -> Chart:
    """Horizontal bars in groups, as shares of each group's first, with a line at a ratio that is aimed at."""
    bars = sum(map(len, groups.values()))

    def draw(axes: Axes) -> None:
        marks, y, ticks = Marks(), 0.0, []
        for name, group in groups.items():
            axes.text(0, y + 0.2, name, weight="bold", clip_on=False)
            for i, bar in enumerate(group):
                y += 1
                ratio = bar.value / group[0].value
                note = bar.text if i == 0 else f"{bar.text} ({100 * ratio - 100:+.0f} %)"
                box = mpl.patches.Rectangle((0, y - 0.42), ratio, 0.84, gid=marks(f"{bar.label}: {note}"))
                box.set(facecolor=STOCK if i == 0 else COLORS[METHODS[0]], linewidth=0)
                axes.add_patch(box)
                end = max(ratio, target or 0.0)
                if bar.range is not None:
                    axes.plot(bar.range, (y, y), color=INK, linewidth=1, marker="|")
                    end = max(end, bar.range[1])
                axes.text(end + 0.01, y, note, va="center")
                ticks.append((y, bar.label))
            y += 1.4
        if target is not None:
            axes.axvline(target, color=SOFT, linestyle="--", linewidth=1)
        axes.set_yticks(*zip(*ticks, strict=True))
        axes.tick_params(length=0)
        highest = max(bar.value / group[0].value for group in groups.values() for bar in group)
        axes.set_xlim(0, 1.42 * max(1.0, highest))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set_ylim(y - 0.8, -0.5)
        axes.set_xlabel(x_label, loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)

    return Chart(title, draw, 4.2, 0.5 + 0.19 * (bars + 1.4 * len(groups)))


def columns_chart(
    title: str, y_label: str, names: list[str], series: dict[str, list[float]],
    pale: dict[str, list[float]] | None = None, least: Sequence[float] = (),
) -> Chart:  # fmt: skip
    """Columns side by side: for each name one of every series.

    Args:
      title, y_label, names, series: what is shown.
      pale: how much of each column's upper end is paler.
      least: a line across the columns of each name, where it is not 0.
    """

    def draw(axes: Axes) -> None:
        width = 0.8 / len(series)
        for i, (label, heights) in enumerate(series.items()):
            places = np.arange(len(names)) + (i + 0.5) * width - 0.4
            ends = np.array((pale or {}).get(label, np.zeros(len(names))))
            drawn = axes.bar(places, np.array(heights) - ends, width, label=label)
            if ends.any():
                axes.bar(places, ends, width, np.array(heights) - ends, color=drawn[0].get_facecolor(), alpha=0.4)
        shown = [i for i, value in enumerate(least) if value]
        if shown:
            starts = np.array(shown) - 0.4
            axes.hlines([least[i] for i in shown], starts, starts + 0.8, color=INK, linewidth=1)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
        axes.set_ylabel(y_label)

    return Chart(title, draw, max(6.0, 0.6 * len(names)), 4.0)
