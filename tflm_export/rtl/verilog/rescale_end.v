// SPDX-License-Identifier: Apache-2.0
// What all rescalers end in: min(max(zero_point + ((value + half) >> s), low), high), s = SHIFT_MIN + shift, half =
// 2**(s-1). Where s <= 0 there is no half; where s < 0, the shift is to the left.
//
// AWAY rounds halves away from zero instead, as RoundingDivideByPOT of gemmlowp: down where the value is negative,
// which is where the rounding bit is all that was shifted out.

`default_nettype none

module rescale_end #(
    parameter integer VALUE_BITS = 40,
    parameter integer SHIFT_MIN = 1,
    parameter integer SHIFT_BITS = 5,  // at least 1
    parameter integer OUT_BITS = 8,
    parameter integer FOLDED = 0,
    parameter integer AWAY = 0,
    parameter integer REGISTER_SHIFT = 0,
    parameter integer REGISTER_OUTPUT = 0
) (
    input wire clk,
    input wire [VALUE_BITS-1:0] value,  // signed
    input wire [SHIFT_BITS-1:0] shift,
    input wire [OUT_BITS-1:0] zero_point,  // signed, as low and high
    input wire [OUT_BITS-1:0] low,
    input wire [OUT_BITS-1:0] high,
    output wire [OUT_BITS-1:0] y
);

  localparam KEPT_BITS = FOLDED != 0 ? OUT_BITS : OUT_BITS + 2;
  localparam BASE = FOLDED != 0 ? SHIFT_MIN : SHIFT_MIN - 1;  // the rounding bit is kept, too
  localparam STAGE_BITS = KEPT_BITS + 2 + 3 * OUT_BITS;

  wire [KEPT_BITS-1:0] shifted, kept, kept_held;
  wire negative, beyond, negative_held, beyond_held;
  wire [OUT_BITS-1:0] zero_point_held, low_held, high_held, clamped;
  // verilator lint_off UNUSED
  wire lost;  // unless halves go away from zero
  // verilator lint_on UNUSED

  rescale_shift #(
      .VALUE_BITS(VALUE_BITS), .BASE(BASE), .SHIFT_BITS(SHIFT_BITS), .KEEP_BITS(KEPT_BITS)
  ) shifter (
      .value(value), .shift(shift), .kept(shifted), .negative(negative), .beyond(beyond), .lost(lost)
  );

  generate
    if (AWAY != 0) begin : away
      assign kept = {shifted[KEPT_BITS-1:1], shifted[0] & (~negative | lost)};
    end else begin : up
      assign kept = shifted;
    end
  endgenerate

  optional_register #(
      .BITS(STAGE_BITS), .ENABLE(REGISTER_SHIFT)
  ) shift_stage (
      .clk(clk),
      .d({kept, negative, beyond, zero_point, low, high}),
      .q({kept_held, negative_held, beyond_held, zero_point_held, low_held, high_held})
  );

  rescale_clamp #(
      .OUT_BITS(OUT_BITS), .FOLDED(FOLDED)
  ) clamp (
      .kept(kept_held), .negative(negative_held), .beyond(beyond_held),
      .zero_point(zero_point_held), .low(low_held), .high(high_held), .y(clamped)
  );

  optional_register #(
      .BITS(OUT_BITS), .ENABLE(REGISTER_OUTPUT)
  ) output_stage (
      .clk(clk), .d(clamped), .q(y)
  );

endmodule

`default_nettype wire
