// SPDX-License-Identifier: Apache-2.0
// The rescaler of TensorFlow Lite Micro's arithmetic: a multiplier of 31 bits and two roundings. The reference that
// narrow rescalers are compared with; nothing here needs it otherwise.
//
//   high = (acc * m + 2**30) >> 31        SaturatingRoundingDoublingHighMul of gemmlowp, halves up
//   y = zero_point + high / 2**(s - 31)   RoundingDivideByPOT, halves away from zero; then clamped
//
// for the factor m * 2**-s, s = SHIFT_MIN + shift. Where s < 31, acc is first shifted left by 31 - s, in bits that
// wrap. Of two negative numbers alone does the high multiply saturate, and m has no sign: QuantizeMultiplier gives
// 2**30 <= m < 2**31, so with HIDDEN_BIT its top bit is no port bit. (It gives 0, too, for factors below 2**-32; they
// need HIDDEN_BIT = 0.)

`default_nettype none

module tflm_rescale #(
    parameter integer ACC_BITS = 32,
    parameter integer HIDDEN_BIT = 1,
    parameter integer SHIFT_MIN = 31,  // below 31: with shifts to the left
    parameter integer SHIFT_BITS = 5,  // at least 1
    parameter integer OUT_BITS = 8,
    parameter integer PRODUCT = 1,  // how it is made: see narrow_multiply.v; 0 for DSP blocks
    parameter integer REGISTER_PRODUCT = 0,
    parameter integer REGISTER_SHIFT = 0,
    parameter integer REGISTER_OUTPUT = 0
) (
    input wire clk,
    input wire signed [ACC_BITS-1:0] acc,
    input wire [30-HIDDEN_BIT:0] multiplier,
    input wire [SHIFT_BITS-1:0] shift,
    input wire signed [OUT_BITS-1:0] zero_point,
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire signed [OUT_BITS-1:0] y
);

  localparam PRODUCT_BITS = ACC_BITS + 31;
  localparam LEFT_MOST = SHIFT_MIN < 31 ? 31 - SHIFT_MIN : 0;
  localparam RIGHT_MIN = SHIFT_MIN < 31 ? 31 : SHIFT_MIN;

  wire signed [ACC_BITS-1:0] moved;
  wire [SHIFT_BITS-1:0] right;

  generate
    if (LEFT_MOST > 0) begin : left
      wire is_left = shift < LEFT_MOST[SHIFT_BITS-1:0];
      assign moved = is_left ? acc << (LEFT_MOST[SHIFT_BITS-1:0] - shift) : acc;
      assign right = is_left ? {SHIFT_BITS{1'b0}} : shift - LEFT_MOST[SHIFT_BITS-1:0];
    end else begin : right_alone
      assign moved = acc;
      assign right = shift;
    end
  endgenerate

  // verilator lint_off UNUSED
  wire [PRODUCT_BITS-1:0] product;  // whose low 31 bits have done their work when half a unit was added
  // verilator lint_on UNUSED

  narrow_multiply #(
      .ACC_BITS(ACC_BITS), .MULTIPLIER_BITS(31), .HIDDEN_BIT(HIDDEN_BIT), .HALF_AT(31), .PRODUCT(PRODUCT)
  ) multiplication (
      .acc(moved), .multiplier(multiplier), .product(product)
  );

  wire [ACC_BITS-1:0] doubled_high;
  wire [SHIFT_BITS-1:0] right_held;
  wire [OUT_BITS-1:0] zero_point_held, low_held, high_held;

  optional_register #(
      .BITS(ACC_BITS + SHIFT_BITS + 3 * OUT_BITS), .ENABLE(REGISTER_PRODUCT)
  ) product_stage (
      .clk(clk),
      .d({product[PRODUCT_BITS-1:31], right, zero_point, low, high}),
      .q({doubled_high, right_held, zero_point_held, low_held, high_held})
  );

  rescale_end #(
      .VALUE_BITS(ACC_BITS), .SHIFT_MIN(RIGHT_MIN - 31), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS), .AWAY(1),
      .REGISTER_SHIFT(REGISTER_SHIFT), .REGISTER_OUTPUT(REGISTER_OUTPUT)
  ) finish (
      .clk(clk), .value(doubled_high), .shift(right_held),
      .zero_point(zero_point_held), .low(low_held), .high(high_held), .y(y)
  );

endmodule

`default_nettype wire
