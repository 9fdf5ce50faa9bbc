// SPDX-License-Identifier: Apache-2.0
// product = acc * m + ADDEND, of digits 0 to 3: two bits of m choose 0, acc, 2 acc or 3 acc, so that one row of adders
// does for two bits. 3 acc is made once, which one more adder pays for from three bits on; no row is inverted, as
// Booth's are.
//
// Rows are added in pairs, and `keep` holds the sums of pairs apart from what adds those up. One tree of carry-save
// adders for all rows would be 4 % smaller, but pass on every change that has not settled.

`default_nettype none

module multiply_radix4 #(
    parameter integer ACC_BITS = 32,
    parameter integer MULTIPLIER_BITS = 8,
    parameter integer PRODUCT_BITS = ACC_BITS + MULTIPLIER_BITS,  // follows
    parameter [PRODUCT_BITS-1:0] ADDEND = 0
) (
    input wire [ACC_BITS-1:0] acc,  // signed
    input wire [MULTIPLIER_BITS-1:0] m,
    output wire [PRODUCT_BITS-1:0] product  // signed
);

  localparam integer DIGITS = (MULTIPLIER_BITS + 1) / 2;
  localparam integer PAIRS = (DIGITS + 1) / 2;

  wire [2*DIGITS-1:0] bits;
  wire [ACC_BITS+1:0] once = {{2{acc[ACC_BITS-1]}}, acc};
  wire [ACC_BITS+1:0] twice = {acc[ACC_BITS-1], acc, 1'b0};
  wire [ACC_BITS+1:0] thrice = once + twice;

  genvar i;
  generate
    for (i = 0; i < 2 * DIGITS; i = i + 1) begin : padded
      if (i < MULTIPLIER_BITS) assign bits[i] = m[i];
      else assign bits[i] = 1'b0;
    end

    for (i = 0; i < DIGITS; i = i + 1) begin : digit
      wire [1:0] d = bits[2*i+:2];
      wire [ACC_BITS+1:0] ones = once & {(ACC_BITS + 2) {d == 2'd1}};
      wire [ACC_BITS+1:0] twos = twice & {(ACC_BITS + 2) {d == 2'd2}};
      wire [ACC_BITS+1:0] threes = thrice & {(ACC_BITS + 2) {d == 2'd3}};
      wire [ACC_BITS+1:0] row = ones | twos | threes;
      wire [PRODUCT_BITS-1:0] placed = {{(MULTIPLIER_BITS - 1) {row[ACC_BITS+1]}}, row[ACC_BITS:0]} << (2 * i);
    end

    for (i = 0; i < PAIRS; i = i + 1) begin : pair
      (* keep *) wire [PRODUCT_BITS-1:0] two_rows;
      wire [PRODUCT_BITS-1:0] sum;
      if (2 * i + 1 < DIGITS) assign two_rows = digit[2*i].placed + digit[2*i+1].placed;
      else assign two_rows = digit[2*i].placed;
      if (i > 0) assign sum = pair[i-1].sum + two_rows;
      else assign sum = ADDEND + two_rows;
    end
  endgenerate

  assign product = pair[PAIRS-1].sum;

endmodule

`default_nettype wire
