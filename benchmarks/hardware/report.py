# SPDX-License-Identifier: Apache-2.0
"""A run of benchmarks.hardware for people and for other programs: tables, as text and as Markdown, and CSV."""

import csv
import dataclasses
import io
import re

from benchmarks import command
from benchmarks.hardware.designs import MAC, NARROW, STOCK, WIDE
from benchmarks.hardware.synthesis import FPGAS

PRE_LAYOUT = "before layout: no wires, no clock tree"
MARKS = ("<!-- tables of benchmarks.hardware -->", "<!-- end of the tables -->")


@dataclasses.dataclass(frozen=True)
class Part:
    """A table.

    Attributes:
      title: of it.
      note: what has to be said of it.
      head, rows: texts; the first column is a name.
    """

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @property
    def is_number(self) -> tuple[bool, ...]:
        """Whether the cells of a column are numbers, where they are not empty."""
        return tuple(all(re.fullmatch(r"[\d,.]*", cell) for cell in column) for column in zip(*self.rows, strict=True))


def parts(stored: dict) -> list[Part]:
    """The tables of a stored run; those of which nothing was measured are left out."""
    made = [_cells(stored, WIDE.bits), _cells(stored, NARROW.bits), _fpgas(stored), _lanes(stored), _tables(stored)]
    return [part for part in (*made, _goals(stored)) if part.rows]


def single(stored: dict, bits: int) -> list[dict]:
    """The rows of single rescalers with accumulators of some bits, the stock one first."""
    return [
        row for row in stored["designs"] if row["accumulator_bits"] == bits and row["lanes"] == 1 and row["name"] != MAC
    ]


def stock(stored: dict) -> dict:
    """The row of the rescaler that the others are compared with."""
    return next(row for row in single(stored, WIDE.bits) if row["name"] == STOCK)


def _number(value: float | None, form: str = ",.0f") -> str:
    return "" if value is None else format(value, form)


def _share(row: dict, base: dict, key: str) -> str:
    return "" if not row[key] or not base[key] else f"{row[key] / base[key]:.3f}"


def _cells(stored: dict, bits: int) -> Part:
    """Standard cells."""
    library, base, found = stored["library"], stock(stored), single(stored, bits)
    mac = [row for row in stored["designs"] if row["name"] == MAC and bits == WIDE.bits]
    rows = [
        (
            row["label"], _number(row["um2"]), _number(row["nand2"]), _share(row, base, "um2"), row["multiplier"],
            _number(row["ns"], ".2f"), _number(row["ns_fast"], ".2f"), _number(row["pj"], ".2f"),
            _share(row, base, "pj"), row["pj_multiplier"] or "", _number(row["pj_by_pixel"], ".2f"),
        )
        for row in (*found, *mac)
        if row["um2"]
    ]  # fmt: skip
    head = (
        "rescaler", "um2", "NAND2", "of stock", "multiplier", "ns", "ns, fast", "pJ a rescale", "pJ of stock",
        "pJ, multiplier", "pJ, factors change",
    )  # fmt: skip
    if not rows:
        return Part("", "", head, [])
    left_out = max(row["left_out"] or 0 for row in found)
    note = (
        f"{library['name']}, {PRE_LAYOUT}; shares are of the stock rescaler with 32 bits. ns: the longest path of the "
        f"smallest netlist, and of the fastest. pJ: {stored['workload']}, {found[0]['rescales'] or 0:,} rescales, "
        "every netlist equal to the simulator"
        + (f"; up to {left_out:,} more, which do not fit, are left out" if left_out else "")
        + "."
    )
    return Part(f"Standard cells, {bits}-bit accumulator, {found[0]['shift_bits']}-bit shift", note, head, rows)


def _fpgas(stored: dict) -> Part:
    base = stock(stored)
    rows = [
        (
            row["label"],
            *(_fpga(row, kind) for kind in FPGAS),
            _number(row["transistors"]),
            _share(row, base, "transistors"),
        )
        for row in single(stored, WIDE.bits)
        if any(row.get(f"{kind}_luts") for kind in FPGAS) or row["transistors"]
    ]
    head = ("rescaler", *(target.title for target in FPGAS.values()), "CMOS transistors", "of stock")
    note = "LUTs, DSP blocks in front of them; not placed. Transistors: what yosys estimates for gates of its own."
    return Part("FPGA, and CMOS without a library", note, head, rows)


def _fpga(row: dict, kind: str) -> str:
    luts, dsps = (row.get(f"{kind}_{what}") for what in ("luts", "dsps"))
    return "" if luts is None else f"{dsps} + {luts:,}" if FPGAS[kind].dsp else f"{luts:,}"


def _lanes(stored: dict) -> Part:
    alone = {row["name"]: row["um2"] for row in single(stored, WIDE.bits)}
    many = [row for row in stored["designs"] if row["lanes"] > 1 and row["um2"]]
    counts = sorted({row["lanes"] for row in many})
    by_name = {name: {row["lanes"]: row["um2"] for row in many if row["name"] == name} for name in alone}
    labels = {row["name"]: row["label"] for row in many}
    rows = [
        (
            labels[name],
            *(_number(by_name[name].get(count)) for count in counts),
            *(_number(found / (count * alone[name]), ".3f") for count, found in sorted(by_name[name].items())),
        )
        for name in alone
        if by_name[name]
    ]
    head = ("rescaler", *(f"{n} lanes, um2" for n in counts), *(f"{n} lanes, of {n} single ones" for n in counts))
    return Part("Lanes side by side, each with its own factors", f"{PRE_LAYOUT}.".capitalize(), head, rows)


def _tables(stored: dict) -> Part:
    narrow = {row["name"]: row["table_bytes"] for row in single(stored, NARROW.bits)}
    rows = [
        (row["label"], _number(row["table_bytes"]), _number(narrow.get(row["name"])))
        for row in single(stored, WIDE.bits)
        if row["table_bytes"]
    ]
    note = (
        f"Of the {stored['factors']:,} factors of {stored['model']}; a multiplier's top bit, which is always 1, is not "
        "stored. Stock: two int32 a factor, as TensorFlow Lite Micro has them."
    )
    head = ("rescaler", f"{WIDE.shift_bits}-bit shift, bytes", f"{NARROW.shift_bits}-bit shift, bytes")
    return Part("Tables of factors", note, head, rows)


def _goals(stored: dict) -> Part:
    units = {"um2": "area", "pj": "energy"}
    rows = [
        (
            f"{units[goal['value']]}, k = {goal['name']}, {goal['accumulator_bits']}-bit accumulator",
            f"{goal['share']:.3f}", f"{goal['ratio']:.3f}", "held" if goal["holds"] else "missed",
        )
        for goal in stored["goals"]
    ]  # fmt: skip
    return Part("Goals", "Shares of the stock rescaler.", ("goal", "at most", "measured", ""), rows)


def table(part: Part):
    """A part for a terminal."""
    looks = {"title": f"{part.title}\n{part.note}", "title_justify": "left", "box": None, "pad_edge": False}
    return command.table(part.head, part.rows, 1, **looks)


def markdown(stored: dict) -> str:
    """All parts."""
    lines = []
    for part in parts(stored):
        lines += [f"### {part.title}", "", part.note, ""]
        cells = [" | ".join(row) for row in (part.head, *part.rows)]
        lines += [f"| {cells[0]} |", "|---|" + "--:|" * (len(part.head) - 1), *(f"| {row} |" for row in cells[1:]), ""]
    versions = ", ".join(f"{name} {version}" for name, version in stored["versions"].items())
    return "\n".join([*lines, f"Made by `{stored['command']}`; {versions}.", ""])


def between_marks(page: str, text: str) -> str:
    """A page with a text between its MARKS, in place of what was there."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{after}"


def to_csv(stored: dict) -> str:
    """A line for each design."""
    text = io.StringIO()
    writer = csv.DictWriter(text, stored["designs"][0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(stored["designs"])
    return text.getvalue()
