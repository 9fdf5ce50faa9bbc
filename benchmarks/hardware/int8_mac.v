// SPDX-License-Identifier: Apache-2.0
// What a lane of an accelerator multiplies with: y += a * b, or y = a * b where a sum starts. A yardstick for rescalers.

`default_nettype none

module int8_mac (
    input wire clk,
    input wire start,
    input wire signed [7:0] a,
    input wire signed [7:0] b,
    output reg signed [31:0] y
);

  always @(posedge clk) y <= (start ? 32'sd0 : y) + a * b;

endmodule

`default_nettype wire
