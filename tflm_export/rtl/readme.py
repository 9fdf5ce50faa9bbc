# SPDX-License-Identifier: Apache-2.0
"""What is in a folder, for people."""

import textwrap
from collections.abc import Sequence

from tflm_export.rtl.design import Design
from tflm_export.rtl.headers import localparams
from tflm_export.rtl.index import channel_records, factor_bits
from tflm_export.rtl.labels import counted, markdown, short
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.tables import Placed

_WIDTH = 120  # of a line of prose
_FILES = """
| file | |
|---|---|
| `narrow_parameters.vh` | the parameters of the blocks: the narrowest that are right for all inputs of the network |
| `blocks/*.v` | the blocks, Verilog-2005, one module a file; the same for every model |
| `tables/*.hex` | for `$readmemh`: a record for each channel of a layer; the first lines say the layout |
| `tables/layers.hex` | a record for each layer: the first of its channels among all, and what is the same in them |
| `lane.v` | the rescaler with the records of all layers in memory, to start from |
| `index.json` | all of this for machines |
| `vectors.hex` | {vectors}, `layer channel first second expected`, of {inferences} |
| `testbench.v` | runs the blocks with the tables on the vectors, with `narrow_vectors.vh` (widths of the vectors) |
| `narrow_tables.vh` | the testbench's readers of the tables, to start from |
| `Makefile` | `make` runs the testbench in Icarus Verilog or Verilator; `make icarus`, `make verilator` in that one |

Verilator's own makefiles know no spaces in the path of a folder; Icarus does.
"""
_RESCALER = """
    acc = sum(weight * (input - input zero point)) + bias
    y   = min(max(zero_point + ((acc * m + half) >> s), low), high)
    s   = SHIFT_MIN + shift,  half = 2**(s-1), or 0 where s <= 0; where s < 0, a shift to the left

{explained}

{factors}, a shift and a multiplier each: {factor_bytes}, {factor_bits} a factor.
"""
_EXPLAINED = (
    "{multiplier} `bias` is modulo 2**ACC_BITS: partial sums may wrap, as additions do in hardware; the last one ends "
    "within its bits, for every input of the network. (Where a channel's low is its high, it may not: that is y, "
    "whatever the sum.) Hardware that multiplies raw inputs adds "
    "`bias - input zero point * sum(weights)` instead. Records of channels have one layout in all layers, "
    "{record_bits}: {layout}. {records} in all, {record_bytes}. What no layer has for each channel is "
    "in `tables/layers.hex` (`constants` in index.json)."
)
_FOLDED = """\
FOLDED is 1: half and zero_point * 2**s are part of `bias`, what comes beside it is 0, and y = min(max(acc >> s, low),
high).
"""
_CHANGED = """\
{changed} of {channels} channels have other numbers than the model, with the same output for every accumulator they can
get. They have one output or few, and a bias and a shift that would take wider hardware: so they saturate through
another bias, have their step at another shift, count from another zero point, or have limits of their own.
"""


def readme(name: str, head: str, design: Design, layers: Sequence[Placed], inferences: str, vectors: int) -> str:
    """The text of README.md.

    Args:
      name: of the model.
      head: who wrote it, in Markdown.
      design: the design.
      layers: its layers with their tables.
      inferences: how many of what vectors are of: "1 inference of random inputs".
      vectors: how many there are.
    """
    coding = design.parameters.coding
    rescaled = [placed.layer for placed in layers if isinstance(placed.layer, Rescaled)]
    changed, channels = sum(layer.changed for layer in rescaled), sum(len(layer.channels) for layer in rescaled)
    bits = factor_bits(design.parameters, layers)
    multiplier = {
        "narrow_rescale": f"m has {coding.bits} bits; the top one is 1, and in no table."
        if coding.bits > 1
        else "m is 1: a rescale is a shift.",
    }.get(coding.block, "m is 2**distance + 1, or 2**distance - 1 where `negative` is set.")
    parts = [
        f"# {markdown(name)}: rescales in hardware\n",
        f"{head}\n",
        "## Files",
        _FILES.format(inferences=inferences, vectors=counted(vectors, "line")),
        "## Parameters\n",
        *(f"    {key} = {value}" for key, value in localparams(design).items()),
        f"\n## {coding.block}",
        _RESCALER.format(
            explained=textwrap.fill(_EXPLAINED.format(multiplier=multiplier, **_memory(layers)), _WIDTH),
            factors=counted(sum(placed.factors for placed in layers), "factor"),
            factor_bytes=counted(-(-bits // 8), "byte"),
            factor_bits=counted(design.parameters.factor_bits, "bit"),
        ),
        *([_FOLDED] if design.parameters.is_folded else []),
        *([_CHANGED.format(changed=changed, channels=channels)] if changed else []),
        *_others(design),
        "## Layers\n",
        "| layer | operator | block | table | records | channels re-expressed |",
        "|--:|---|---|---|--:|--:|",
        *(_row(placed) for placed in layers),
        "",
        *_without(design),
    ]
    return "\n".join(parts)


def _memory(layers: Sequence[Placed]) -> dict:
    """What is said of the records of all channels."""
    found = channel_records(layers)
    fields = (f"`{place['field']}` {place['bits']}" for place in found["layout"])
    return {
        "record_bits": counted(found["record_bits"], "bit"), "layout": ", ".join(fields) + ", from bit 0 up",
        "records": counted(found["records"], "record"), "record_bytes": counted(found["bytes"], "byte"),
    }  # fmt: skip


def _others(design: Design) -> list[str]:
    text = []
    if design.sums:
        text += [
            "## narrow_add\n",
            "    y = min(max((fa * a + fb * b + start) >> s, low), high),  s = ADD_SHIFT_MIN + shift",
            "    fa = (multiplier_a with its top bit) << align_a, less than 0 where negative_a is set; fb likewise\n",
            "`a` and `b` are raw inputs; `start` holds the zero points and half a unit.\n",
        ]
    if design.means:
        text += [
            "## narrow_mean\n",
            "    y = min(max((sum * multiplier + start) >> s, low), high),  s = MEAN_SHIFT_MIN + shift\n",
            "`sum` is of raw inputs. The numbers give the exact mean, or average pool, for every sum there can be,",
            "which may take a multiplier wider than those of the rescales: it is one over a count, times a factor.\n",
        ]
    return text


def _row(placed: Placed) -> str:
    layer = placed.layer
    is_rescaled = isinstance(layer, Rescaled)
    where = placed.table.path if is_rescaled else f"{placed.table.path}, record {placed.record}"
    records, changed = (placed.table.records, layer.changed) if is_rescaled else (1, "")
    return f"| {placed.number} | {markdown(short(layer.label))} | {layer.block} | {where} | {records} | {changed} |"


def _without(design: Design) -> list[str]:
    if not design.without:
        return []
    rows = [f"| {markdown(short(label))} | {markdown(reason)} |" for label, reason in design.without]
    return ["## Without a block\n", "| operator | |", "|---|---|", *rows, ""]
