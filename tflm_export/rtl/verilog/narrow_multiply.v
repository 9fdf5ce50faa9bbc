// SPDX-License-Identifier: Apache-2.0
// product = acc * m + 2**(HALF_AT - 1), exactly. m is multiplier, without a sign, with a 1 above it where HIDDEN_BIT.
// |acc * m| <= 2**(ACC_BITS-1) * (2**k - 1) takes ACC_BITS + k bits, or ACC_BITS where k is 1, and half a unit at
// HALF_AT <= k fits beside it.
//
// PRODUCT says how:
//   0  the tool's own way, for DSP blocks and the narrowest multipliers
//   1  Booth's digits, the smaller for wide multipliers
//   2  multiply_radix4: the smaller for narrow ones, and the one that takes the least energy
//
// Booth: two bits of the multiplier are one digit of -2, -1, 0, 1 or 2, so that a row of adders does for two bits, and
// every row is a choice and an inversion. Digit i is -2 * b[2i+1] + b[2i] + b[2i-1], of the multiplier's bits b, which
// are 0 outside of it. Negative rows are inverted; the ones that complete them go into one word, `ones`. Rows are not
// sign-extended: of a sign bit r of weight 2**w
//   -r * 2**w = (1 - r) * 2**w - 2**w,
// so the bit is inverted and all the -2**w together are one constant. The hidden bit is a row without a choice.

`default_nettype none

module narrow_multiply #(
    parameter integer ACC_BITS = 32,
    parameter integer MULTIPLIER_BITS = 8,  // k
    parameter integer HIDDEN_BIT = 1,
    parameter integer HALF_AT = 0,  // 0: nothing is added
    parameter integer PRODUCT = MULTIPLIER_BITS > 3 ? 2 : 0,
    parameter integer PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1,  // follows
    parameter integer PRODUCT_BITS = MULTIPLIER_BITS > 1 ? ACC_BITS + MULTIPLIER_BITS : ACC_BITS
) (
    input wire [ACC_BITS-1:0] acc,  // signed
    // verilator lint_off UNUSED
    input wire [PORT_BITS-1:0] multiplier,  // where one hidden bit is all of it
    // verilator lint_on UNUSED
    output wire [PRODUCT_BITS-1:0] product  // signed
);

  localparam [PRODUCT_BITS-1:0] ONE = 1;
  localparam integer DIGITS = PORT_BITS / 2 + 1;
  localparam [PRODUCT_BITS-1:0] HALF = HALF_AT > 0 ? ONE << (HALF_AT - 1) : 0;

  // verilator lint_off UNUSED
  wire [MULTIPLIER_BITS-1:0] m;  // by Booth's digits, which take the hidden bit apart
  // verilator lint_on UNUSED

  genvar i;
  generate
    if (HIDDEN_BIT == 0) assign m = multiplier;
    else if (MULTIPLIER_BITS == 1) assign m = 1'b1;
    else assign m = {1'b1, multiplier};

    if (MULTIPLIER_BITS == 1) begin : power
      assign product = acc & {ACC_BITS{m[0]}};

    end else if (PRODUCT == 0) begin : operator
      wire signed [PRODUCT_BITS-1:0] a = {{MULTIPLIER_BITS{acc[ACC_BITS-1]}}, acc};
      wire signed [PRODUCT_BITS-1:0] positive = {{ACC_BITS{1'b0}}, m};
      assign product = a * positive + HALF;

    end else if (PRODUCT == 1) begin : booth
      localparam [PRODUCT_BITS-1:0] FOURS = (ONE << (2 * DIGITS)) / 3;  // 1 + 4 + 16 + ..., a place for each digit
      localparam [PRODUCT_BITS-1:0] SIGNS = -(FOURS << ACC_BITS);

      wire [2*DIGITS:0] bits = {{(2 * DIGITS - PORT_BITS) {1'b0}}, multiplier, 1'b0};
      wire [PRODUCT_BITS-1:0] ones, start;

      for (i = 0; i < PRODUCT_BITS; i = i + 1) begin : completing
        if (i % 2 == 0 && i < 2 * DIGITS) assign ones[i] = bits[i+2];
        else assign ones[i] = 1'b0;
      end

      if (HIDDEN_BIT != 0) assign start = {acc[ACC_BITS-1], acc, {PORT_BITS{1'b0}}} + ones + (SIGNS + HALF);
      else assign start = ones + (SIGNS + HALF);

      for (i = 0; i < DIGITS; i = i + 1) begin : digit
        wire minus = bits[2*i+2];
        wire one = bits[2*i+1] ^ bits[2*i];
        wire two = ~one & (bits[2*i+2] ^ bits[2*i+1]);
        wire [ACC_BITS:0] single = {acc[ACC_BITS-1], acc} & {(ACC_BITS + 1) {one}};
        wire [ACC_BITS:0] double = {acc, 1'b0} & {(ACC_BITS + 1) {two}};
        wire [ACC_BITS:0] chosen = single | double;
        wire [ACC_BITS:0] row = {~chosen[ACC_BITS], chosen[ACC_BITS-1:0]} ^ {(ACC_BITS + 1) {minus}};
        wire [PRODUCT_BITS-1:0] sum;
        if (i > 0) assign sum = digit[i-1].sum + ({{(MULTIPLIER_BITS - 1) {1'b0}}, row} << (2 * i));
        else assign sum = start + {{(MULTIPLIER_BITS - 1) {1'b0}}, row};
      end
      assign product = digit[DIGITS-1].sum;

    end else begin : radix4
      multiply_radix4 #(
          .ACC_BITS(ACC_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .ADDEND(HALF)
      ) rows (
          .acc(acc), .m(m), .product(product)
      );
    end
  endgenerate

endmodule

`default_nettype wire
