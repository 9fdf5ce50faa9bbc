// SPDX-License-Identifier: Apache-2.0
// LANES rescalers side by side. With SHARED_PARAMETERS, one set of numbers is for all of them, as in a layer with one
// factor for all channels or where lanes are windows of one channel; else each lane has its own. Ports are those of
// narrow_rescale, lane 0 in the lowest bits.

`default_nettype none

module narrow_lanes #(
    parameter integer LANES = 16,
    parameter integer SHARED_PARAMETERS = 0,
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
    parameter integer PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1,  // follows
    parameter integer SETS = SHARED_PARAMETERS != 0 ? 1 : LANES
) (
    input wire clk,
    input wire [LANES*ACC_BITS-1:0] acc,
    input wire [SETS*PORT_BITS-1:0] multiplier,
    input wire [SETS*SHIFT_BITS-1:0] shift,
    input wire [SETS*OUT_BITS-1:0] zero_point,
    input wire [SETS*OUT_BITS-1:0] low,
    input wire [SETS*OUT_BITS-1:0] high,
    output wire [LANES*OUT_BITS-1:0] y
);

  genvar i;
  generate
    for (i = 0; i < LANES; i = i + 1) begin : lane
      localparam SET = SHARED_PARAMETERS != 0 ? 0 : i;
      narrow_rescale #(
          .ACC_BITS(ACC_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(HIDDEN_BIT), .SHIFT_MIN(SHIFT_MIN),
          .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS), .FOLDED(FOLDED), .PRODUCT(PRODUCT),
          .REGISTER_PRODUCT(REGISTER_PRODUCT), .REGISTER_SHIFT(REGISTER_SHIFT), .REGISTER_OUTPUT(REGISTER_OUTPUT)
      ) rescaler (
          .clk(clk), .acc(acc[ACC_BITS*i+:ACC_BITS]), .multiplier(multiplier[PORT_BITS*SET+:PORT_BITS]),
          .shift(shift[SHIFT_BITS*SET+:SHIFT_BITS]), .zero_point(zero_point[OUT_BITS*SET+:OUT_BITS]),
          .low(low[OUT_BITS*SET+:OUT_BITS]), .high(high[OUT_BITS*SET+:OUT_BITS]), .y(y[OUT_BITS*i+:OUT_BITS])
      );
    end
  endgenerate

endmodule

`default_nettype wire
