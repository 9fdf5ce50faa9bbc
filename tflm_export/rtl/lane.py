# SPDX-License-Identifier: Apache-2.0
"""lane.v: a rescaler with the records of all channels of a network in one memory."""

from collections.abc import Sequence

from tflm_export.rtl.design import Design
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.table import Field, Table
from tflm_export.rtl.tables import LAYERS, Placed, lane_bits, layers_table

LANE = "lane.v"
_FIRST = "first"
_HEAD = """\
// A lane: records of all channels and layers in two memories, bias, and the rescaler. `sum` is what the MACs come to;
// y is what {block} makes of it with the numbers of the channel. A new sum may come with every clock:
//
//   clock 1   the layer's record: where its channels begin, and what is the same in all of them
//   clock 2   the channel's record
//   clock 3   bias and product
//   clock 4   shift
//   clock 5   rounding, zero point and clamp: y
//
// Numbers of layers are those in index.json; README.md says which they are.

`default_nettype none

module lane (clk, layer, channel, sum, y);

  // verilator lint_off UNUSED
  `include "narrow_parameters.vh"
  // verilator lint_on UNUSED
  localparam LAYERS = {layers}, LAYER_BITS = {layer_bits}, RECORDS = {records}, ADDRESS_BITS = {address_bits};

  input wire clk;
  input wire [LAYER_BITS-1:0] layer;
  input wire [ADDRESS_BITS-1:0] channel;
  input wire signed [ACC_BITS-1:0] sum;
  output wire signed [OUT_BITS-1:0] y;

  reg [{last_of_layer}:0] layers[0:LAYERS-1];  // {{{of_layer}}}
  reg [{last_of_record}:0] records[0:RECORDS-1];  // {{{of_record}}}
  reg [{last_of_layer}:0] layer_record;
  reg [{last_of_record}:0] record;
  reg [ADDRESS_BITS-1:0] channel_held;
  reg signed [ACC_BITS-1:0] sum_held, sum_with_record;

  initial begin
{loads}
  end

"""


def lane(design: Design, layers: Sequence[Placed]) -> str:
    """The text of lane.v."""
    rescaled = [placed for placed in layers if isinstance(placed.layer, Rescaled)]
    table, of_layers = rescaled[0].table, layers_table(layers)
    constants = [field for field in of_layers.fields if field.name != _FIRST]
    layer_bits, address_bits = lane_bits(layers)
    records = sum(placed.table.records for placed in rescaled)
    head = _HEAD.format(
        block=design.parameters.coding.block, layers=len(layers), layer_bits=layer_bits,
        records=records, address_bits=address_bits, last_of_layer=of_layers.bits - 1,
        last_of_record=table.bits - 1, of_layer=_names(of_layers.fields), of_record=_names(table.fields),
        loads="\n".join(_loads(rescaled)),
    )  # fmt: skip
    return head + "\n".join([*_wires(table, constants), *_clocked(table, constants), *_block(design, table, constants)])


def _names(fields: Sequence[Field]) -> str:
    """From the highest bit down."""
    return ", ".join(field.name for field in reversed(fields))


def _loads(rescaled: Sequence[Placed]) -> list[str]:
    places = ((p.table.path, p.record, p.record + p.table.records - 1) for p in rescaled)
    return [
        f'    $readmemh("{LAYERS}", layers);',
        *(f'    $readmemh("{path}", records, {first}, {last});' for path, first, last in places),
    ]


def _wires(table: Table, constants: Sequence[Field]) -> list[str]:
    """What records are taken apart into."""
    every = [*table.fields, *constants]
    lines = [f"  wire {'signed ' * field.is_signed}[{field.bits - 1}:0] {field.name};" for field in every]
    lines += ["  wire [ADDRESS_BITS-1:0] first;", f"  assign {{{_names(table.fields)}}} = record;"]
    if not constants:
        return [*lines, "  assign first = layer_record;", ""]
    names, bits = _names(constants), sum(field.bits for field in constants)
    return [
        *lines,
        f"  wire [{bits - 1}:0] same;",
        f"  reg [{bits - 1}:0] same_held;",
        "  assign {same, first} = layer_record;",
        f"  assign {{{names}}} = same_held;",
        "",
    ]


def _clocked(table: Table, constants: Sequence[Field]) -> list[str]:
    return [
        "  always @(posedge clk) begin",
        "    layer_record <= layers[layer];",
        "    channel_held <= channel;",
        "    sum_held <= sum;",
        "    record <= records[first+channel_held];",
        *(["    same_held <= same;"] if constants else []),
        "    sum_with_record <= sum_held;",
        "  end",
        "",
    ]


def _block(design: Design, table: Table, constants: Sequence[Field]) -> list[str]:
    own = design.parameters
    ports = {field.name: field.name for field in (*table.fields, *constants) if field.name != "bias"}
    if own.coding.block == "narrow_rescale":
        ports.setdefault("multiplier", "1'b0 /* is not read: it is 1 */")
    values = [f".{name}({name})" for name in own.localparams]
    values += [f".REGISTER_{stage}(1)" for stage in ("PRODUCT", "SHIFT", "OUTPUT")]
    return [
        f"  {own.coding.block} #(",
        ",\n".join(f"      {value}" for value in values),
        "  ) rescaler (",
        "      .clk(clk), .acc(sum_with_record + bias),",
        *(f"      .{name}({value})," for name, value in ports.items()),
        "      .y(y)",
        "  );",
        "",
        "endmodule",
        "",
        "`default_nettype wire",
        "",
    ]
