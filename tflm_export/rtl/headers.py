# SPDX-License-Identifier: Apache-2.0
"""The generated parts in Verilog: parameters of the blocks, widths of vectors, and the tables with their readers."""

from collections.abc import Sequence

from tflm_export.rtl.design import Design
from tflm_export.rtl.labels import plain, quoted, short
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.sums import Sum
from tflm_export.rtl.table import Field
from tflm_export.rtl.tables import Placed, lane_bits

LAYER_BITS, CHANNEL_BITS = 16, 24  # of the first numbers of a vector
_PREFIXES = {Rescaled: "", Sum: "add_"}  # of the registers in the testbench
_KINDS = {Rescaled: "RESCALE", Sum: "ADD"}


def operand_bits(design: Design) -> tuple[int, int, int]:
    """The widths of both operands and of the output of a vector."""
    first, second, result = [design.parameters.accumulator_bits], [1], [design.parameters.output_bits]
    if design.sums:
        first.append(design.sum_parameters.input_bits)
        second.append(design.sum_parameters.input_bits)
        result.append(design.sum_parameters.output_bits)
    if design.means:
        first.append(design.mean_parameters.sum_bits)
        result.append(design.mean_parameters.output_bits)
    return max(first), max(second), max(result)


def localparams(design: Design) -> dict[str, int]:
    """All parameters of the blocks by their names in Verilog."""
    found = dict(design.parameters.localparams)
    if design.sums:
        found |= {f"ADD_{name}": value for name, value in design.sum_parameters.localparams.items()}
    if design.means:
        found |= {f"MEAN_{name}": value for name, value in design.mean_parameters.localparams.items()}
    return found


def parameters_header(design: Design) -> str:
    """narrow_parameters.vh: to be included in a module that has the blocks."""
    block = design.parameters.coding.block
    lines = [
        f"// The narrowest {block}, and other blocks where there are any, for all inputs that the network can get."
    ]
    lines += [f"localparam {name} = {value};" for name, value in localparams(design).items()]
    return "\n".join(lines) + "\n"


def vectors_header(design: Design, layers: Sequence[Placed], vectors: int) -> str:
    """narrow_vectors.vh: for the testbench."""
    macros = {
        "NARROW_CSD": design.parameters.coding.block != "narrow_rescale",
        "NARROW_ADD": bool(design.sums),
        "NARROW_MEAN": bool(design.means),
    }
    names = ("FIRST_BITS", "SECOND_BITS", "RESULT_BITS", "LANE_LAYER_BITS", "LANE_CHANNEL_BITS", "VECTORS")
    values = (*operand_bits(design), *lane_bits(layers), vectors)
    lines = [f"`define {name}" for name, is_there in macros.items() if is_there]
    lines += [f"localparam {n} = {v};" for n, v in zip(names, values, strict=True)]
    return "\n".join(lines) + "\n"


def tables_header(layers: Sequence[Placed]) -> str:
    """narrow_tables.vh: memories of all tables, and tasks that read them; for the testbench, and as an example."""
    tables = {placed.table.path: placed.table for placed in layers}
    memories = {path: f"table_{number}" for number, path in enumerate(tables)}
    lines = [f"reg [{t.bits - 1}:0] {memories[path]}[0:{t.records - 1}];" for path, t in tables.items()]
    lines += ["", "task load_tables;", "  begin"]
    lines += [f'    $readmemh("{path}", {memory});' for path, memory in memories.items()]
    lines += ["  end", "endtask", "", "task fetch;", "  case (layer)"]
    lines += [line for placed in layers for line in _fetched(placed, memories[placed.table.path])]
    lines += ["    default: kind = NONE;", "  endcase", "endtask", "", "task write_label;", "  case (layer)"]
    lines += [f'    {placed.number}: $write("{quoted(short(placed.layer.label))}");' for placed in layers]
    lines += ['    default: $write("which there is not");', "  endcase", "endtask"]
    return "\n".join(lines) + "\n"


def _fetched(placed: Placed, memory: str) -> list[str]:
    kind = type(placed.layer)
    prefix = _PREFIXES.get(kind, "mean_")
    fields = ", ".join(f"{prefix}{field.name}" for field in reversed(placed.table.fields))
    bits = (placed.table.records - 1).bit_length()
    of_channel = f"channel[{bits - 1}:0]" if bits else 0
    record, channels = (of_channel, placed.table.records) if kind is Rescaled else (placed.record, 1)
    return [
        f"    {placed.number}: begin  // {plain(short(placed.layer.label))}",
        f"      kind = {_KINDS.get(kind, 'MEAN')};",
        f"      channels = {channels};",
        *(f"      {prefix}{field.name} = {_literal(field)};" for field in placed.table.constants),
        f"      {{{fields}}} = {memory}[{record}];",
        "    end",
    ]


def _literal(field: Field) -> str:
    """A constant field's bits, with their value beside them where that has a sign."""
    value = int(field.values[0])
    text = f"{field.bits}'h{value & ((1 << field.bits) - 1):x}"
    return f"{text} /* {value} */" if value < 0 else text
