// SPDX-License-Identifier: Apache-2.0
// narrow_rescale with multipliers of two signed digits, m = 2**distance + 1 or 2**distance - 1: two shifts and an
// addition in place of the product.
//
//   y = min(max(zero_point + (((acc << distance) +- acc + half) >> s), low), high),  s = SHIFT_MIN + shift
//
// `negative` subtracts: -acc is ~acc + 1, and the 1 is the carry into the addition. m = 1 is (1, negative), and m = 0
// is (0, negative). With D = 2**DISTANCE_BITS - 1, m is at most 2**D + 1 < 2**(D + 1): products take ACC_BITS + D + 1
// bits. Pipeline and the rest as in narrow_rescale.

`default_nettype none

module narrow_rescale_csd #(
    parameter integer ACC_BITS = 32,
    parameter integer DISTANCE_BITS = 2,
    parameter integer SHIFT_MIN = 1,
    parameter integer SHIFT_BITS = 5,  // at least 1
    parameter integer OUT_BITS = 8,
    parameter integer REGISTER_PRODUCT = 0,
    parameter integer REGISTER_SHIFT = 0,
    parameter integer REGISTER_OUTPUT = 0
) (
    input wire clk,
    input wire signed [ACC_BITS-1:0] acc,
    input wire [DISTANCE_BITS-1:0] distance,
    input wire negative,
    input wire [SHIFT_BITS-1:0] shift,
    input wire signed [OUT_BITS-1:0] zero_point,
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire signed [OUT_BITS-1:0] y
);

  localparam EXTRA = 1 << DISTANCE_BITS;  // D + 1
  localparam PRODUCT_BITS = ACC_BITS + EXTRA;

  wire [PRODUCT_BITS-1:0] extended = {{EXTRA{acc[ACC_BITS-1]}}, acc};
  wire [PRODUCT_BITS-1:0] second = extended ^ {PRODUCT_BITS{negative}};
  wire [PRODUCT_BITS-1:0] product = (extended << distance) + second + {{(PRODUCT_BITS - 1) {1'b0}}, negative};

  wire [PRODUCT_BITS-1:0] product_held;
  wire [SHIFT_BITS-1:0] shift_held;
  wire [OUT_BITS-1:0] zero_point_held, low_held, high_held;

  optional_register #(
      .BITS(PRODUCT_BITS + SHIFT_BITS + 3 * OUT_BITS), .ENABLE(REGISTER_PRODUCT)
  ) product_stage (
      .clk(clk),
      .d({product, shift, zero_point, low, high}),
      .q({product_held, shift_held, zero_point_held, low_held, high_held})
  );

  rescale_end #(
      .VALUE_BITS(PRODUCT_BITS), .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS),
      .REGISTER_SHIFT(REGISTER_SHIFT), .REGISTER_OUTPUT(REGISTER_OUTPUT)
  ) finish (
      .clk(clk), .value(product_held), .shift(shift_held),
      .zero_point(zero_point_held), .low(low_held), .high(high_held), .y(y)
  );

endmodule

`default_nettype wire
