// SPDX-License-Identifier: Apache-2.0
// A stage of a pipeline, or a wire: q is d, ENABLE clocks later.

`default_nettype none

module optional_register #(
    parameter integer BITS = 1,
    parameter integer ENABLE = 0
) (
    // verilator lint_off UNUSED
    input wire clk,  // by nothing where the stage is a wire
    // verilator lint_on UNUSED
    input wire [BITS-1:0] d,
    output wire [BITS-1:0] q
);

  generate
    if (ENABLE != 0) begin : stage
      reg [BITS-1:0] held;
      always @(posedge clk) held <= d;
      assign q = held;
    end else begin : through
      assign q = d;
    end
  endgenerate

endmodule

`default_nettype wire
