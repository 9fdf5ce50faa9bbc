// SPDX-License-Identifier: Apache-2.0
// floor(value / 2**(BASE + shift)), of which only KEEP_BITS bits are made, and what it takes to clamp the rest.
//
// The largest shift comes first. The stages behind the one of `FAR` bits can move down FAR - 1 bits more, so what
// stands at bit TOP = KEEP_BITS - 1 + FAR - 1 or above it after that stage never comes to the kept bits below their
// sign. It is dropped, and two flags remember it: whether `any` of it was 1, and whether `all` of it was. A quotient
// that fits has nothing but sign bits there. For ten kept bits and shifts of five bits that takes 24 + 16 + 12 + 10 + 9
// multiplexers; five stages for all 40 bits of a value would be 200.
//
//   beyond = 0:  kept is the quotient, -2**(KEEP_BITS-1) <= quotient < 2**(KEEP_BITS-1)
//   beyond = 1:  the quotient is outside of that range, on the side that `negative` tells
//   lost:        whether a bit that is not zero was shifted out

`default_nettype none

module rescale_shift #(
    parameter integer VALUE_BITS = 40,
    parameter integer BASE = 0,  // the constant part of the shift; to the left where it is negative, and then exact
    parameter integer SHIFT_BITS = 5,  // at least 1
    parameter integer KEEP_BITS = 10
) (
    input wire [VALUE_BITS-1:0] value,  // signed
    input wire [SHIFT_BITS-1:0] shift,
    output wire [KEEP_BITS-1:0] kept,  // signed
    output wire negative,
    output wire beyond,
    output wire lost
);

  localparam LEFT = BASE < 0 ? -BASE : 0;
  localparam RIGHT = BASE > 0 ? BASE : 0;
  localparam REACH = KEEP_BITS - 1 + (1 << SHIFT_BITS);  // what shifts bring to the kept bits, and one for the sign
  localparam MOVED_BITS = VALUE_BITS + LEFT - RIGHT;
  localparam WIDE = MOVED_BITS > REACH ? MOVED_BITS : REACH;

  wire [WIDE+RIGHT-1:0] aligned;  // the value with LEFT zeros behind it and its sign in front

  assign negative = value[VALUE_BITS-1];

  genvar i;
  generate
    for (i = 0; i < WIDE + RIGHT; i = i + 1) begin : align
      if (i < LEFT) assign aligned[i] = 1'b0;
      else if (i < LEFT + VALUE_BITS) assign aligned[i] = value[i-LEFT];
      else assign aligned[i] = negative;
    end

    for (i = 0; i < SHIFT_BITS; i = i + 1) begin : stage
      localparam FAR = 1 << (SHIFT_BITS - 1 - i);
      localparam TOP = KEEP_BITS - 1 + FAR - 1;
      localparam WORD = i > 0 ? TOP + FAR : WIDE;  // bits that come in
      wire [WORD-1:0] word;
      wire any_above, all_above, lost_before;  // of the stages so far
      wire moves = shift[SHIFT_BITS-1-i];

      if (i > 0) begin : behind
        assign word = stage[i-1].moved;
        assign any_above = stage[i-1].any;
        assign all_above = stage[i-1].all;
        assign lost_before = stage[i-1].dropped;
      end else begin : first  // whose bits from TOP + FAR on are dropped whether it moves or not
        assign word = aligned[WIDE+RIGHT-1:RIGHT];
        assign any_above = |word[WIDE-1:TOP+FAR];
        assign all_above = &word[WIDE-1:TOP+FAR];
        if (RIGHT > 0) assign lost_before = |aligned[RIGHT-1:0];
        else assign lost_before = 1'b0;
      end

      wire any = any_above | (~moves & |word[TOP+FAR-1:TOP]);
      wire all = all_above & (moves | &word[TOP+FAR-1:TOP]);
      wire dropped = lost_before | (moves & |word[FAR-1:0]);
      wire [TOP-1:0] moved = moves ? word[TOP+FAR-1:FAR] : word[TOP-1:0];
    end
  endgenerate

  assign kept = {negative, stage[SHIFT_BITS-1].moved};
  assign beyond = negative ? ~stage[SHIFT_BITS-1].all : stage[SHIFT_BITS-1].any;
  assign lost = stage[SHIFT_BITS-1].dropped;

endmodule

`default_nettype wire
