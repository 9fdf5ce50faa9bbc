# SPDX-License-Identifier: Apache-2.0
"""Which kernels compute each operator in C: a page of the docs, found by translating small random models of each.

usage: python -m tests.c_operators     writes docs/c_operators.md
"""

import collections
import pathlib
import random
import re
from collections.abc import Iterable

from tests.helpers.random_graphs import OPERATORS, Graph
from tflm_export import ModelError, c, cores, lowering
from tflm_export.arithmetic import Narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.ops import known

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "c_operators.md"
TYPES = ("INT8", "UINT8", "INT16")
BACK_ENDS = ("portable", "cortex-m0plus", "cortex-m4")
DRAWN = 8  # models of an operator and a type, of sizes and options of their own
TRIED = 40  # at most, until so many could be made
SHAPES = ([1, 6, 6, 4], [2, 5, 4, 3], [1, 8, 8, 8], [1, 4, 6], [1, 12])
OWN, FAST, ANY, NOTHING, NOT_SIMULATED = "core", "int8", "any", "none", "not simulated"
LEGEND = f"""\
- `{OWN}`: kernels for this core alone, with assembly where it helps;
- `{FAST}`: C99 for int8, of which dot products use the M4's DSP instructions where the compiler has them;
- `{ANY}`: C99 for every type and shape, exact and small, slower; products of neighbours use DSP instructions, too;
- `{NOTHING}`: no code: its output is its input's memory, or a constant;
- `{NOT_SIMULATED}`: the simulator has no integers for these types, and so there is no C."""
TYPE_CHANGE = ("narrow_flip.h",)  # uint8 to int8 and back, between whichever operators
_LABEL = re.compile(r"^operator \d+ \S+.*?: ")
_NAMED = re.compile(r"tensor \d+ \([^)]*\) is ")


def drawn(name: str, kind: str) -> Iterable[tuple[bytes, str]]:
    """Models of one operator on one type of activations, and where there is none the reason."""
    for i in range(TRIED):
        source = random.Random(f"{name} {kind} {i}")
        g = Graph(source, kind)
        x = g.tensor(SHAPES[i % len(SHAPES)])
        g.inputs = g.values = [x]
        outputs = OPERATORS[name](g, name, x)
        if outputs is None:
            continue
        data = g.b.build(x, [y for y in outputs if y != x])
        problems = lowering.unsupported(parse(data))
        yield data, _NAMED.sub("", _LABEL.sub("", problems[0])) if problems else ""


def cells(name: str, kind: str) -> dict[tuple[str, str], collections.Counter]:
    """How often which kernels compute an operator of a type, by the operator and the back end.

    Those that come with it (READ_VARIABLE with ASSIGN_VARIABLE) are counted, too.
    """
    found: dict[tuple[str, str], collections.Counter] = collections.defaultdict(collections.Counter)
    made, why = 0, ""
    for data, reason in drawn(name, kind):
        why = why or reason
        if reason:
            continue
        made += 1
        names = [operator.name for operator in parse(data).operators]
        portable = None
        for core in BACK_ENDS:
            try:
                steps = c.translate(data, "m", Narrow(Grid(8)), core).steps
            except ModelError as error:
                found[name, core][_short(str(error).rpartition(": ")[2])] += 1
                continue
            portable = portable or [step.kernels for step in steps]
            for index, operator in enumerate(names):
                both = zip(steps, portable, strict=True)
                own = [(s, usual) for s, usual in both if s.origin.index == index and s.kernels != TYPE_CHANGE]
                found[operator, core].update({_kind(*pair) for pair in own} or {NOTHING})
        if made == DRAWN:
            break
    if not made:
        for core in BACK_ENDS:
            found[name, core][_short(why)] += 1
    return found


def _short(reason: str) -> str:
    return NOT_SIMULATED if reason.endswith((NOT_SIMULATED, "not supported")) else reason


def _kind(step, portable: tuple[str, ...]) -> str:
    if step.is_general:
        return ANY
    return FAST if step.kernels == portable else OWN


def page() -> str:
    """The page."""
    found: dict[tuple[str, str, str], collections.Counter] = collections.defaultdict(collections.Counter)
    for name in sorted(OPERATORS):
        for kind in TYPES:
            for (operator, core), counts in cells(name, kind).items():
                found[operator, kind, core].update(counts)
    titles = [cores.find(core).title if core != "portable" else core for core in BACK_ENDS]
    head = ["operator", *(f"{kind.lower()}, {title}" for kind in TYPES for title in titles)]
    lines = [head, ["---"] * len(head)]
    for name in known():
        row = [", ".join(_in_order(found[name, kind, core])) for kind in TYPES for core in BACK_ENDS]
        if not any(row):
            row = ["its subgraph's kernels, in the first inference"] + [""] * (len(row) - 1)
        lines.append([name, *row])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""# Operators in C

Made by `python -m tests.c_operators`: which kernels `--c_source` calls for each operator that the simulator computes,
by the type of its activations and by the core. Where several are named, sizes and options decide.

{LEGEND}

Every other core has the kernels of one of these: see `tflm_export/cores.py`. A uint8 model with convolutions or dense
layers computes in int8, exactly, wherever an operator can; those that cannot are of uint8, and so is a model without
such layers.

{table}
"""


def _in_order(counts: collections.Counter) -> list[str]:
    places = (OWN, FAST, ANY, NOTHING)
    return [kind for kind in places if kind in counts] + sorted(kind for kind in counts if kind not in places)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
