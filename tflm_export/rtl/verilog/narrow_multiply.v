// SPDX-License-Identifier: Apache-2.0
// product = acc * m + 2**(HALF_AT - 1), exactly: |acc * m| <= 2**(ACC_BITS-1) * (2**k - 1) takes ACC_BITS + k bits, and
// half a unit at HALF_AT <= k fits beside it.
//
// m is multiplier, without a sign, with a 1 above it where HIDDEN_BIT. BOOTH = 0 leaves the product to the tool, which
// maps it to DSP blocks. BOOTH = 1 writes it out for gates: two bits of the multiplier are one digit, -2, -1, 0, 1 or 2,
// so a row of adders does for two bits and every row is a choice and an inversion. For digit i with b = multiplier
// bits 2i+1, 2i, 2i-1 (0 outside of it) that digit is -2 * b[2] + b[1] + b[0]. Negative rows are inverted; the 1 that
// completes them goes into one word, `ones`. Rows are not sign-extended: with the sign bit r of a row of weight 2**w
//   -r * 2**w = (1 - r) * 2**w - 2**w,
// so the bit is inverted and all the -2**w together are one constant. The hidden bit is a row without a choice.

`default_nettype none

module narrow_multiply #(
    parameter ACC_BITS = 32,
    parameter PORT_BITS = 7,  // of the multiplier, without the hidden one
    parameter HIDDEN_BIT = 1,
    parameter HALF_AT = 0,  // 0: nothing is added
    parameter BOOTH = 1,
    parameter PRODUCT_BITS = ACC_BITS + PORT_BITS + HIDDEN_BIT  // follows; leave it
) (
    input wire [ACC_BITS-1:0] acc,  // signed
    input wire [PORT_BITS-1:0] multiplier,
    output wire [PRODUCT_BITS-1:0] product  // signed
);

  localparam EXTRA = PORT_BITS + HIDDEN_BIT;  // bits of m
  localparam DIGITS = PORT_BITS / 2 + 1;
  localparam [PRODUCT_BITS-1:0] ONE = 1;
  localparam [PRODUCT_BITS-1:0] HALF = HALF_AT > 0 ? ONE << (HALF_AT - 1) : 0;

  wire [PRODUCT_BITS-1:0] extended = {{EXTRA{acc[ACC_BITS-1]}}, acc};

  genvar i;
  generate
    if (BOOTH == 0) begin : operator
      wire signed [PRODUCT_BITS-1:0] a = extended;
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

      if (HIDDEN_BIT != 0) assign start = (extended << PORT_BITS) + ones + (SIGNS + HALF);
      else assign start = ones + (SIGNS + HALF);

      for (i = 0; i < DIGITS; i = i + 1) begin : digit
        wire minus = bits[2*i+2];
        wire one = bits[2*i+1] ^ bits[2*i];
        wire two = ~one & (bits[2*i+2] ^ bits[2*i+1]);
        wire [ACC_BITS:0] chosen = ({acc[ACC_BITS-1], acc} & {(ACC_BITS + 1) {one}}) | ({acc, 1'b0} & {(ACC_BITS + 1) {two}});
        wire [ACC_BITS:0] row = {~chosen[ACC_BITS], chosen[ACC_BITS-1:0]} ^ {(ACC_BITS + 1) {minus}};
        wire [PRODUCT_BITS-1:0] sum;
        if (i > 0) assign sum = digit[i-1].sum + ({{(EXTRA - 1) {1'b0}}, row} << (2 * i));
        else assign sum = start + {{(EXTRA - 1) {1'b0}}, row};
      end
      assign product = digit[DIGITS-1].sum;
    end
  endgenerate

endmodule

`default_nettype wire
