// SPDX-License-Identifier: Apache-2.0
// product = acc * m + 2**(HALF_AT - 1), exactly. |acc * m| <= 2**(ACC_BITS-1) * (2**k - 1) takes ACC_BITS + k bits, or
// ACC_BITS where k is 1, and half a unit at HALF_AT <= k fits beside it.
//
// m is multiplier, without a sign, with a 1 above it where HIDDEN_BIT. BOOTH = 0 leaves the product to the tool, which
// maps it to DSP blocks. BOOTH = 1 writes it out for gates: two bits of the multiplier are one digit of -2, -1, 0, 1 or
// 2, a row of adders does for two bits, and every row is a choice and an inversion. Digit i is -2 * b[2i+1] + b[2i] +
// b[2i-1], of the multiplier's bits b, which are 0 outside of it. Negative rows are inverted; the ones that complete
// them go into one word, `ones`. Rows are not sign-extended: of a row whose sign bit r has the weight 2**w
//   -r * 2**w = (1 - r) * 2**w - 2**w,
// so the bit is inverted and all the -2**w together are one constant. The hidden bit is a row without a choice.

`default_nettype none

module narrow_multiply #(
    parameter integer ACC_BITS = 32,
    parameter integer MULTIPLIER_BITS = 8,  // k
    parameter integer HIDDEN_BIT = 1,
    parameter integer HALF_AT = 0,  // 0: nothing is added
    parameter integer BOOTH = MULTIPLIER_BITS > 4 ? 1 : 0,
    parameter integer PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1,  // follows, as the next
    parameter integer PRODUCT_BITS = MULTIPLIER_BITS > 1 ? ACC_BITS + MULTIPLIER_BITS : ACC_BITS
) (
    input wire [ACC_BITS-1:0] acc,  // signed
    // verilator lint_off UNUSED
    input wire [PORT_BITS-1:0] multiplier,  // where one hidden bit is all of it
    // verilator lint_on UNUSED
    output wire [PRODUCT_BITS-1:0] product  // signed
);

  localparam DIGITS = PORT_BITS / 2 + 1;
  localparam [PRODUCT_BITS-1:0] ONE = 1;
  localparam [PRODUCT_BITS-1:0] HALF = HALF_AT > 0 ? ONE << (HALF_AT - 1) : 0;

  genvar i;
  generate
    if (MULTIPLIER_BITS == 1) begin : power
      if (HIDDEN_BIT != 0) assign product = acc;
      else assign product = acc & {ACC_BITS{multiplier[0]}};

    end else if (BOOTH == 0) begin : operator
      wire signed [PRODUCT_BITS-1:0] a = {{MULTIPLIER_BITS{acc[ACC_BITS-1]}}, acc};
      wire signed [PRODUCT_BITS-1:0] m;
      if (HIDDEN_BIT != 0) assign m = {{ACC_BITS{1'b0}}, 1'b1, multiplier};
      else assign m = {{ACC_BITS{1'b0}}, multiplier};
      assign product = a * m + HALF;

    end else begin : booth
      // Signs of all rows: -(2**ACC_BITS) * (1 + 4 + 16 + ...).
      localparam [PRODUCT_BITS-1:0] FOURS = (ONE << (2 * DIGITS)) / 3;
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
    end
  endgenerate

endmodule

`default_nettype wire
