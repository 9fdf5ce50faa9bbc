// SPDX-License-Identifier: Apache-2.0
// The mean of a constant number of inputs, from their sum, without a division:
//
//   y = min(max((sum * multiplier + start) >> s, low), high),  s = SHIFT_MIN + shift >= 0
//
// multiplier / 2**s is near the factor between the scales over the count, and `start` holds zero points and half a
// unit. A mean is a staircase: the sums at which its output changes say all about it. So integers that give each
// output at its first sum, and not one sum before, give the exact division, for every sum that there can be; they are
// found, and proved so, where tables are written. Sums are of raw inputs: IN_BITS + ceil(log2(count)) bits.
//
// |sum * multiplier| takes SUM_BITS + MULTIPLIER_BITS, and with the start value one more than the wider of them. The
// multiplier has no sign. Pipeline as in narrow_rescale.

`default_nettype none

module narrow_mean #(
    parameter integer SUM_BITS = 16,
    parameter integer MULTIPLIER_BITS = 8,
    parameter integer START_BITS = 32,
    parameter integer SHIFT_MIN = 0,
    parameter integer SHIFT_BITS = 5,  // at least 1
    parameter integer OUT_BITS = 8,
    parameter integer REGISTER_PRODUCT = 0,
    parameter integer REGISTER_SHIFT = 0,
    parameter integer REGISTER_OUTPUT = 0
) (
    input wire clk,
    input wire signed [SUM_BITS-1:0] sum,
    input wire [MULTIPLIER_BITS-1:0] multiplier,
    input wire signed [START_BITS-1:0] start,
    input wire [SHIFT_BITS-1:0] shift,
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire signed [OUT_BITS-1:0] y
);

  localparam PRODUCT_BITS = MULTIPLIER_BITS > 1 ? SUM_BITS + MULTIPLIER_BITS : SUM_BITS;
  localparam TOTAL_BITS = (PRODUCT_BITS > START_BITS ? PRODUCT_BITS : START_BITS) + 1;

  wire [PRODUCT_BITS-1:0] product;

  narrow_multiply #(
      .ACC_BITS(SUM_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(0)
  ) multiplication (
      .acc(sum), .multiplier(multiplier), .product(product)
  );

  wire [TOTAL_BITS-1:0] total = {{(TOTAL_BITS - PRODUCT_BITS) {product[PRODUCT_BITS-1]}}, product}
      + {{(TOTAL_BITS - START_BITS) {start[START_BITS-1]}}, start};

  wire [TOTAL_BITS-1:0] total_held;
  wire [SHIFT_BITS-1:0] shift_held;
  wire [OUT_BITS-1:0] low_held, high_held;

  optional_register #(
      .BITS(TOTAL_BITS + SHIFT_BITS + 2 * OUT_BITS), .ENABLE(REGISTER_PRODUCT)
  ) total_stage (
      .clk(clk), .d({total, shift, low, high}), .q({total_held, shift_held, low_held, high_held})
  );

  rescale_end #(
      .VALUE_BITS(TOTAL_BITS), .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS), .FOLDED(1),
      .REGISTER_SHIFT(REGISTER_SHIFT), .REGISTER_OUTPUT(REGISTER_OUTPUT)
  ) finish (
      .clk(clk), .value(total_held), .shift(shift_held),
      .zero_point({OUT_BITS{1'b0}}), .low(low_held), .high(high_held), .y(y)
  );

endmodule

`default_nettype wire
