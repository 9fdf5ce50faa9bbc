# SPDX-License-Identifier: Apache-2.0
"""Figures of a run of benchmarks.hardware: what rescalers cost, in shares of the stock one, and what networks lose."""

from matplotlib.axes import Axes

from benchmarks import plots
from benchmarks.cells import POST_TRAINING, TRAINED
from benchmarks.hardware import report
from benchmarks.hardware.designs import CSD, FOLDED, STOCK, WIDE
from benchmarks.plots import Chart, Marks
from tflm_export import METHODS

_COSTS = (
    ("um2", "area", "um\N{SUPERSCRIPT TWO}", ",.0f"),
    ("transistors", "CMOS transistors", "transistors", ",.0f"),
    ("ns", "delay", "ns", ".1f"),
    ("pj", "energy of a rescale", "pJ", ".2f"),
    ("ice40_luts", "LUTs of an iCE40", "LUTs", ",.0f"),
)
_SHORT = {STOCK: "stock", CSD: "two\ndigits", FOLDED: "1,\nfolded"}

_MODELS = {POST_TRAINING: (0.1, plots.COLORS[METHODS[1]]), TRAINED: (-0.1, plots.COLORS[METHODS[0]])}
_REACH = 1.5  # points


def costs(stored: dict) -> list[Chart]:
    """A chart for each thing that was measured: area, delay, energy, LUTs."""
    rows, base = report.single(stored, WIDE.bits), report.stock(stored)
    known = [cost for cost in _COSTS if base.get(cost[0])]
    if base.get("um2"):
        known = [cost for cost in known if cost[0] != "transistors"]
    return [
        _shares(f"{title}, stock = {base[key]:{form}} {unit}", key, rows, base, form, unit)
        for key, title, unit, form in known
    ]


def _shares(title: str, key: str, rows: list[dict], base: dict, form: str, unit: str) -> Chart:
    """Columns in percent of the stock rescaler."""

    def draw(axes: Axes) -> None:
        marks = Marks()
        for x, row in enumerate(rows):
            share = 100 * row[key] / base[key]
            color = plots.STOCK if row is base else plots.COLORS[METHODS[0]]
            axes.bar(x, share, 0.7, color=color, gid=marks(f"{row['label']}: {row[key]:{form}} {unit}, {share:.1f} %"))
            axes.text(x, share + 1.5, f"{share:.0f}" if share >= 10 else f"{share:.1f}", ha="center", fontsize=7)
        axes.set_ylim(0, 112)
        axes.set_ylabel("% of the stock rescaler")
        _name(axes, rows)

    return Chart(title, draw)


def _name(axes: Axes, rows: list[dict]) -> None:
    axes.set_xticks(range(len(rows)), [_SHORT.get(row["name"], row["name"]) for row in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.tick_params(length=0)
    axes.set_xlabel("rescale multiplier, bits")


def accuracy(stored: dict) -> Chart | None:
    """What networks lose with each multiplier, on average over tasks; None where nothing is known."""
    rows = report.single(stored, WIDE.bits)
    found = stored["accuracy"]
    if not found:
        return None
    counts = sorted({points["tasks"] for by_name in found.values() for points in by_name.values()})
    tasks = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))

    def draw(axes: Axes) -> None:
        marks = Marks()
        axes.axhline(0, color=plots.SOFT, linestyle="--", linewidth=1)
        for model, (offset, color) in _MODELS.items():
            known = found.get(model, {})
            shown = [(x, row, known[name]) for x, row in enumerate(rows) if (name := _network(row)) in known]
            for i, (x, row, points) in enumerate(shown):
                span = f"{points['least']:+.2f} to {points['most']:+.2f}"
                text = f"{model}, {row['label']}: {points['mean']:+.2f} points, {span}, {points['tasks']} tasks"
                axes.vlines(x + offset, points["least"], points["most"], color=color, linewidth=1)
                look = {"markersize": 4.5, "color": color, "label": "" if i else model}
                axes.plot(x + offset, points["mean"], "o", gid=marks(text), **look)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -_REACH), max(high, _REACH))  # differences of a tenth of a point are not to look large
        axes.set_ylabel("points, mean and range")
        _name(axes, rows)

    return Chart(f"accuracy against 31 bits, {tasks} tasks", draw)


def _network(row: dict) -> str:
    """Which networks a rescaler serves: folding changes the hardware alone."""
    return "1" if row["name"] == FOLDED else row["name"]


def every(stored: dict) -> list[Chart]:
    """All of a run."""
    return [chart for chart in (*costs(stored), accuracy(stored)) if chart is not None]


def first(stored: dict) -> list[Chart]:
    """Cost and accuracy, for a page that has room for two."""
    return [chart for chart in (costs(stored)[0], accuracy(stored)) if chart is not None]
