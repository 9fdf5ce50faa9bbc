// SPDX-License-Identifier: Apache-2.0
// The sum of two inputs at scales of their own, rounded once:
//
//   y = min(max((fa * a + fb * b + start) >> s, low), high),  s = SHIFT_MIN + shift >= 0
//   fa = +-(multiplier_a << align_a), and fb likewise
//
// fa / 2**s is the input's scale over the output's. Both factors are multipliers of MULTIPLIER_BITS, of which the
// larger is shifted to the left until one s does for both. `start` holds the zero points of inputs and output and half
// a unit: zero_point * 2**s + half - fa * zero_a - fb * zero_b. Negative terms come inverted from narrow_term, and the
// sum adds the 1 that completes them.
//
// |a * fa| <= 2**(IN_BITS-1) * (2**k - 1) * 2**align: a term takes IN_BITS + k + the largest align; two of them and the
// start value two bits more than the wider.
//
// Numbers of a layer are ports: one unit serves the additions of all layers. Pipeline as in narrow_rescale, whose
// product is the sum here.

`default_nettype none

module narrow_add #(
    parameter integer IN_BITS = 8,
    parameter integer MULTIPLIER_BITS = 8,
    parameter integer HIDDEN_BIT = 1,
    parameter integer ALIGN_BITS = 3,
    parameter integer START_BITS = 32,
    parameter integer SHIFT_MIN = 0,
    parameter integer SHIFT_BITS = 5,  // at least 1
    parameter integer OUT_BITS = 8,
    parameter integer REGISTER_PRODUCT = 0,
    parameter integer REGISTER_SHIFT = 0,
    parameter integer REGISTER_OUTPUT = 0,
    parameter integer PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1  // follows; leave it
) (
    input wire clk,
    input wire signed [IN_BITS-1:0] a,
    input wire signed [IN_BITS-1:0] b,
    input wire [PORT_BITS-1:0] multiplier_a,
    input wire [PORT_BITS-1:0] multiplier_b,
    input wire [ALIGN_BITS-1:0] align_a,
    input wire [ALIGN_BITS-1:0] align_b,
    input wire negative_a,
    input wire negative_b,
    input wire signed [START_BITS-1:0] start,
    input wire [SHIFT_BITS-1:0] shift,
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire signed [OUT_BITS-1:0] y
);

  localparam TERM_BITS = IN_BITS + MULTIPLIER_BITS + (1 << ALIGN_BITS) - 1;
  localparam SUM_BITS = (TERM_BITS > START_BITS ? TERM_BITS : START_BITS) + 2;

  wire [TERM_BITS-1:0] term_a, term_b;

  narrow_term #(
      .IN_BITS(IN_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(HIDDEN_BIT), .ALIGN_BITS(ALIGN_BITS)
  ) first (
      .x(a), .multiplier(multiplier_a), .align(align_a), .negative(negative_a), .term(term_a)
  );

  narrow_term #(
      .IN_BITS(IN_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(HIDDEN_BIT), .ALIGN_BITS(ALIGN_BITS)
  ) second (
      .x(b), .multiplier(multiplier_b), .align(align_b), .negative(negative_b), .term(term_b)
  );

  wire [SUM_BITS-1:0] sum = {{(SUM_BITS - TERM_BITS) {term_a[TERM_BITS-1]}}, term_a}
      + {{(SUM_BITS - TERM_BITS) {term_b[TERM_BITS-1]}}, term_b}
      + {{(SUM_BITS - START_BITS) {start[START_BITS-1]}}, start}
      + {{(SUM_BITS - 1) {1'b0}}, negative_a} + {{(SUM_BITS - 1) {1'b0}}, negative_b};

  wire [SUM_BITS-1:0] sum_held;
  wire [SHIFT_BITS-1:0] shift_held;
  wire [OUT_BITS-1:0] low_held, high_held;

  optional_register #(
      .BITS(SUM_BITS + SHIFT_BITS + 2 * OUT_BITS), .ENABLE(REGISTER_PRODUCT)
  ) sum_stage (
      .clk(clk), .d({sum, shift, low, high}), .q({sum_held, shift_held, low_held, high_held})
  );

  rescale_end #(
      .VALUE_BITS(SUM_BITS), .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS), .FOLDED(1),
      .REGISTER_SHIFT(REGISTER_SHIFT), .REGISTER_OUTPUT(REGISTER_OUTPUT)
  ) finish (
      .clk(clk), .value(sum_held), .shift(shift_held),
      .zero_point({OUT_BITS{1'b0}}), .low(low_held), .high(high_held), .y(y)
  );

endmodule

`default_nettype wire
