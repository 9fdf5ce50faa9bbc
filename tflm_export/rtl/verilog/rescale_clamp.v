// SPDX-License-Identifier: Apache-2.0
// min(max(zero_point + rounded quotient, low), high).
//
// With p the product and s the shift, the quotient that is rounded to nearest with halves up is
//   (p + 2**(s-1)) >> s  =  (t + 1) >> 1   with   t = p >> (s-1),
// for the addend 2**(s-1) carries nothing but bit s-1 of p into what stands above it. So
//   zero_point + ((p + 2**(s-1)) >> s)  =  (t + {zero_point, 1}) >> 1:
// the last bit that the shifter gives is a carry into the addition of the zero point, and rounding costs nothing.
//
// t needs OUT_BITS + 2 bits: where its quotient does not fit in OUT_BITS + 1, it is at least 2**OUT_BITS or at most
// -2**OUT_BITS - 1, and with the zero point and the carry at least 2**(OUT_BITS-1) or at most -2**(OUT_BITS-1) - 1:
// outside of all that low and high can be, on the side of p's sign. So `beyond` decides, and the sum does not matter.

`default_nettype none

module rescale_clamp #(
    parameter integer OUT_BITS = 8,
    parameter integer FOLDED = 0,  // rounding and zero point are in the value already
    parameter integer KEPT_BITS = FOLDED != 0 ? OUT_BITS : OUT_BITS + 2
) (
    input wire [KEPT_BITS-1:0] kept,  // t, or where FOLDED the quotient
    input wire negative,
    input wire beyond,
    // verilator lint_off UNUSED
    input wire signed [OUT_BITS-1:0] zero_point,  // where FOLDED
    // verilator lint_on UNUSED
    input wire signed [OUT_BITS-1:0] low,
    input wire signed [OUT_BITS-1:0] high,
    output wire [OUT_BITS-1:0] y
);

  localparam SUM_BITS = OUT_BITS + 2;  // |quotient| <= 2**OUT_BITS, |zero point| <= 2**(OUT_BITS-1), and a carry

  wire signed [SUM_BITS-1:0] sum;

  generate
    if (FOLDED != 0) begin : folded
      assign sum = {{2{kept[KEPT_BITS-1]}}, kept};
    end else begin : added
      // verilator lint_off UNUSED
      wire signed [SUM_BITS:0] doubled = {kept[KEPT_BITS-1], kept} + {{2{zero_point[OUT_BITS-1]}}, zero_point, 1'b1};
      // verilator lint_on UNUSED
      assign sum = doubled[SUM_BITS:1];
    end
  endgenerate

  wire signed [SUM_BITS-1:0] lowest = {{2{low[OUT_BITS-1]}}, low};
  wire signed [SUM_BITS-1:0] highest = {{2{high[OUT_BITS-1]}}, high};
  wire is_low = beyond ? negative : sum < lowest;
  wire is_high = beyond ? ~negative : sum > highest;
  assign y = is_low ? low : is_high ? high : sum[OUT_BITS-1:0];

endmodule

`default_nettype wire
