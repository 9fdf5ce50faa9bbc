// SPDX-License-Identifier: Apache-2.0
// y = min(max(zero_point + ((acc * m + half) >> s), low), high) with a narrow multiplier: one product, one rounding.
//
//   s = SHIFT_MIN + shift;  half = 2**(s-1), or 0 where s <= 0; where s < 0, a shift to the left
//   m: MULTIPLIER_BITS bits, not signed. A factor is in 2**-s * [2**(k-1), 2**k), so the top bit of its multiplier is
//   always 1 and, with HIDDEN_BIT, no port bit. The factor 0 is the smallest m with a shift that leaves nothing:
//   2**s > 2 * |acc * m|.
//
// FOLDED: half and zero point are part of acc, which with m = 1 is a matter of the bias: half + (zero_point << s).
// |acc * m| <= 2**(ACC_BITS-1) * (2**k - 1), so the product takes ACC_BITS + k bits, and ACC_BITS where k is 1.
//
// A new vector may come with every clock; y follows REGISTER_PRODUCT + REGISTER_SHIFT + REGISTER_OUTPUT clocks later.
// Parameters travel with their accumulator. low <= high.

`default_nettype none

module narrow_rescale #(
    parameter integer ACC_BITS = 32,
    parameter integer MULTIPLIER_BITS = 8,
    parameter integer HIDDEN_BIT = 1,
    parameter integer SHIFT_MIN = 1,
    parameter integer SHIFT_BITS = 5,  // at least 1
    parameter integer OUT_BITS = 8,
    parameter integer FOLDED = 0,
    parameter integer PRODUCT = MULTIPLIER_BITS > 3 ? 2 : 0,  // how it is made: see narrow_multiply.v; 0 for DSP blocks
    parameter integer REGISTER_PRODUCT = 0,
    parameter integer REGISTER_SHIFT = 0,
    parameter integer REGISTER_OUTPUT = 0,
    parameter integer PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1  // follows; leave it
) (
    input wire clk,
    input wire signed [ACC_BITS-1:0] acc,
    input wire [PORT_BITS-1:0] multiplier,  // not read where one hidden bit is all of it
    input wire [SHIFT_BITS-1:0] shift,
    input wire signed [OUT_BITS-1:0] zero_point,
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire signed [OUT_BITS-1:0] y
);

  localparam PRODUCT_BITS = MULTIPLIER_BITS > 1 ? ACC_BITS + MULTIPLIER_BITS : ACC_BITS;

  wire [PRODUCT_BITS-1:0] product, product_held;
  wire [SHIFT_BITS-1:0] shift_held;
  wire [OUT_BITS-1:0] zero_point_held, low_held, high_held;

  narrow_multiply #(
      .ACC_BITS(ACC_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(HIDDEN_BIT), .PRODUCT(PRODUCT)
  ) multiplication (
      .acc(acc), .multiplier(multiplier), .product(product)
  );

  optional_register #(
      .BITS(PRODUCT_BITS + SHIFT_BITS + 3 * OUT_BITS), .ENABLE(REGISTER_PRODUCT)
  ) product_stage (
      .clk(clk),
      .d({product, shift, zero_point, low, high}),
      .q({product_held, shift_held, zero_point_held, low_held, high_held})
  );

  rescale_end #(
      .VALUE_BITS(PRODUCT_BITS), .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS), .FOLDED(FOLDED),
      .REGISTER_SHIFT(REGISTER_SHIFT), .REGISTER_OUTPUT(REGISTER_OUTPUT)
  ) finish (
      .clk(clk), .value(product_held), .shift(shift_held),
      .zero_point(zero_point_held), .low(low_held), .high(high_held), .y(y)
  );

endmodule

`default_nettype wire
