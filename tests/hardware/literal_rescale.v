// SPDX-License-Identifier: Apache-2.0
// The definition, as it is written: min(max(zero_point + ((product + half) >> s), low), high), wide enough for
// everything. To hold narrow_rescale and narrow_rescale_csd against, by proof. No care is taken of its size.

module literal_end #(
    parameter integer WIDE = 80,
    parameter integer SHIFT_MIN = 1,
    parameter integer SHIFT_BITS = 5,
    parameter integer OUT_BITS = 8
) (
    input wire signed [WIDE-1:0] product,
    input wire [SHIFT_BITS-1:0] shift,
    input wire signed [OUT_BITS-1:0] zero_point,
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire signed [OUT_BITS-1:0] y
);

  wire signed [31:0] s = SHIFT_MIN + $signed({1'b0, shift});
  wire signed [WIDE-1:0] one = 1;
  wire signed [WIDE-1:0] half = s > 0 ? one << (s - 1) : 0;
  wire signed [WIDE-1:0] sum = product + half;
  wire signed [WIDE-1:0] rounded = s > 0 ? sum >>> s : sum <<< -s;
  wire signed [WIDE-1:0] moved = rounded + zero_point;
  assign y = moved < low ? low : moved > high ? high : moved;  // where low <= high

endmodule

// product = acc * m
module literal_rescale #(
    parameter integer ACC_BITS = 32,
    parameter integer MULTIPLIER_BITS = 8,
    parameter integer HIDDEN_BIT = 1,
    parameter integer SHIFT_MIN = 1,
    parameter integer SHIFT_BITS = 5,
    parameter integer OUT_BITS = 8,
    parameter integer PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1
) (
    input wire clk,
    input wire signed [ACC_BITS-1:0] acc,
    input wire [PORT_BITS-1:0] multiplier,
    input wire [SHIFT_BITS-1:0] shift,
    input wire signed [OUT_BITS-1:0] zero_point,
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire signed [OUT_BITS-1:0] y
);

  wire signed [79:0] m = HIDDEN_BIT == 0 ? multiplier : MULTIPLIER_BITS == 1 ? 1 : {1'b1, multiplier};

  literal_end #(
      .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS)
  ) finish (
      .product(acc * m), .shift(shift), .zero_point(zero_point), .low(low), .high(high), .y(y)
  );

endmodule

// product = acc * 2**distance +- acc
module literal_rescale_csd #(
    parameter integer ACC_BITS = 32,
    parameter integer DISTANCE_BITS = 2,
    parameter integer SHIFT_MIN = 1,
    parameter integer SHIFT_BITS = 5,
    parameter integer OUT_BITS = 8
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

  wire signed [79:0] wide = acc;
  wire signed [79:0] product = negative ? (wide <<< distance) - wide : (wide <<< distance) + wide;

  literal_end #(
      .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS)
  ) finish (
      .product(product), .shift(shift), .zero_point(zero_point), .low(low), .high(high), .y(y)
  );

endmodule
