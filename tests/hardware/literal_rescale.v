// SPDX-License-Identifier: Apache-2.0
// The definition, as it is written: min(max(zero_point + ((acc * m + half) >> s), low), high), wide enough for
// everything. To hold narrow_rescale and narrow_rescale_csd against, by proof. No care is taken of its size.

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

  localparam integer WIDE = 80;

  wire signed [WIDE-1:0] m = HIDDEN_BIT == 0 ? multiplier : MULTIPLIER_BITS == 1 ? 1 : {1'b1, multiplier};
  wire signed [31:0] s = SHIFT_MIN + $signed({1'b0, shift});
  wire signed [WIDE-1:0] one = 1;
  wire signed [WIDE-1:0] half = s > 0 ? one << (s - 1) : 0;
  wire signed [WIDE-1:0] sum = acc * m + half;
  wire signed [WIDE-1:0] rounded = s > 0 ? sum >>> s : sum <<< -s;
  wire signed [WIDE-1:0] output_value = rounded + zero_point;
  assign y = output_value < low ? low : output_value > high ? high : output_value;  // where low <= high

endmodule

// The same with m = 2**distance + 1 or - 1.
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

  localparam integer MULTIPLIER_BITS = (1 << DISTANCE_BITS) + 1;
  wire [MULTIPLIER_BITS-1:0] power = 1 << distance;

  literal_rescale #(
      .ACC_BITS(ACC_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(0), .SHIFT_MIN(SHIFT_MIN),
      .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS)
  ) rescaler (
      .clk(clk), .acc(acc), .multiplier(negative ? power - 1 : power + 1), .shift(shift),
      .zero_point(zero_point), .low(low), .high(high), .y(y)
  );

endmodule
