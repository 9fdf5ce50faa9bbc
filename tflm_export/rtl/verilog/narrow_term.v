// SPDX-License-Identifier: Apache-2.0
// (x * m) << align, inverted where `negative`: a term of narrow_add, short of the 1 that completes a negative one.
// |x * m| <= 2**(IN_BITS-1) * (2**k - 1), shifted by up to 2**ALIGN_BITS - 1.

`default_nettype none

module narrow_term #(
    parameter integer IN_BITS = 8,
    parameter integer MULTIPLIER_BITS = 8,
    parameter integer HIDDEN_BIT = 1,
    parameter integer ALIGN_BITS = 3,
    parameter integer PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1,  // follows
    parameter integer TERM_BITS = IN_BITS + MULTIPLIER_BITS + (1 << ALIGN_BITS) - 1
) (
    input wire [IN_BITS-1:0] x,  // signed
    input wire [PORT_BITS-1:0] multiplier,
    input wire [ALIGN_BITS-1:0] align,
    input wire negative,
    output wire [TERM_BITS-1:0] term  // signed
);

  localparam PRODUCT_BITS = MULTIPLIER_BITS > 1 ? IN_BITS + MULTIPLIER_BITS : IN_BITS;

  wire [PRODUCT_BITS-1:0] product;

  narrow_multiply #(
      .ACC_BITS(IN_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(HIDDEN_BIT)
  ) multiplication (
      .acc(x), .multiplier(multiplier), .product(product)
  );

  wire [TERM_BITS-1:0] extended = {{(TERM_BITS - PRODUCT_BITS) {product[PRODUCT_BITS-1]}}, product};
  assign term = (extended << align) ^ {TERM_BITS{negative}};

endmodule

`default_nettype wire
