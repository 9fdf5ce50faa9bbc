// SPDX-License-Identifier: Apache-2.0
// Runs the blocks with the tables of a model on what the simulator computed: vectors.hex has a line for each output,
//
//   layer channel first second expected
//
// in hexadecimal, two's complement. `first` is a sum of products short of its bias, a term of a sum, or the sum of a
// mean; `second` the other term. Says PASS and how many there were, or FAIL, the line and what differs in it. Rescales go
// through the lane of lane.v, too, one with every clock.

module testbench;

  `include "narrow_parameters.vh"
  `include "narrow_vectors.vh"

  localparam NONE = 0, RESCALE = 1, ADD = 2, MEAN = 3;

  reg [15:0] layer;
  reg [23:0] channel;
  reg signed [FIRST_BITS-1:0] first;
  reg signed [SECOND_BITS-1:0] second;
  reg signed [RESULT_BITS-1:0] expected, got;
  reg [1:0] kind;
  integer file, fields, wrong, line, channels, rescales, adds, means;

  // What narrow_rescale gets of a record.
  reg [SHIFT_BITS-1:0] shift;
  reg signed [ACC_BITS-1:0] bias, acc;
  reg signed [OUT_BITS-1:0] zero_point, low, high;
  wire signed [OUT_BITS-1:0] y;

`ifdef NARROW_CSD
  reg [DISTANCE_BITS-1:0] distance;
  reg negative;
  narrow_rescale_csd #(
      .ACC_BITS(ACC_BITS), .DISTANCE_BITS(DISTANCE_BITS),
      .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS)
  ) rescaler (
      .clk(1'b0), .acc(acc), .distance(distance), .negative(negative), .shift(shift),
      .zero_point(zero_point), .low(low), .high(high), .y(y)
  );
`else
  localparam PORT_BITS = MULTIPLIER_BITS > HIDDEN_BIT ? MULTIPLIER_BITS - HIDDEN_BIT : 1;
  reg [PORT_BITS-1:0] multiplier;
  narrow_rescale #(
      .ACC_BITS(ACC_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS), .HIDDEN_BIT(HIDDEN_BIT),
      .SHIFT_MIN(SHIFT_MIN), .SHIFT_BITS(SHIFT_BITS), .OUT_BITS(OUT_BITS), .FOLDED(FOLDED)
  ) rescaler (
      .clk(1'b0), .acc(acc), .multiplier(multiplier), .shift(shift),
      .zero_point(zero_point), .low(low), .high(high), .y(y)
  );
`endif

  localparam LANE_CLOCKS = 5;
  reg clk;
  reg [LANE_LAYER_BITS-1:0] lane_layer;
  reg [LANE_CHANNEL_BITS-1:0] lane_channel;
  reg signed [ACC_BITS-1:0] lane_sum;
  wire signed [OUT_BITS-1:0] lane_y;
  reg [LANE_CLOCKS*OUT_BITS-1:0] due;  // of what is in the lane, the oldest in the highest bits
  reg [LANE_CLOCKS*32-1:0] due_line;
  integer clocks;
  lane lane (.clk(clk), .layer(lane_layer), .channel(lane_channel), .sum(lane_sum), .y(lane_y));

`ifdef NARROW_ADD
  localparam ADD_PORT_BITS = ADD_MULTIPLIER_BITS > ADD_HIDDEN_BIT ? ADD_MULTIPLIER_BITS - ADD_HIDDEN_BIT : 1;
  reg [ADD_PORT_BITS-1:0] add_multiplier_a, add_multiplier_b;
  reg [ADD_ALIGN_BITS-1:0] add_align_a, add_align_b;
  reg signed [ADD_IN_BITS-1:0] add_a, add_b;
  reg add_negative_a, add_negative_b;
  reg signed [ADD_START_BITS-1:0] add_start;
  reg [ADD_SHIFT_BITS-1:0] add_shift;
  reg signed [ADD_OUT_BITS-1:0] add_low, add_high;
  wire signed [ADD_OUT_BITS-1:0] add_y;
  narrow_add #(
      .IN_BITS(ADD_IN_BITS), .MULTIPLIER_BITS(ADD_MULTIPLIER_BITS), .HIDDEN_BIT(ADD_HIDDEN_BIT),
      .ALIGN_BITS(ADD_ALIGN_BITS), .START_BITS(ADD_START_BITS),
      .SHIFT_MIN(ADD_SHIFT_MIN), .SHIFT_BITS(ADD_SHIFT_BITS), .OUT_BITS(ADD_OUT_BITS)
  ) adder (
      .clk(1'b0), .a(add_a), .b(add_b),
      .multiplier_a(add_multiplier_a), .multiplier_b(add_multiplier_b),
      .align_a(add_align_a), .align_b(add_align_b), .negative_a(add_negative_a), .negative_b(add_negative_b),
      .start(add_start), .shift(add_shift), .low(add_low), .high(add_high), .y(add_y)
  );
`endif

`ifdef NARROW_MEAN
  reg signed [MEAN_SUM_BITS-1:0] mean_sum;
  reg [MEAN_MULTIPLIER_BITS-1:0] mean_multiplier;
  reg signed [MEAN_START_BITS-1:0] mean_start;
  reg [MEAN_SHIFT_BITS-1:0] mean_shift;
  reg signed [MEAN_OUT_BITS-1:0] mean_low, mean_high;
  wire signed [MEAN_OUT_BITS-1:0] mean_y;
  narrow_mean #(
      .SUM_BITS(MEAN_SUM_BITS), .MULTIPLIER_BITS(MEAN_MULTIPLIER_BITS), .START_BITS(MEAN_START_BITS),
      .SHIFT_MIN(MEAN_SHIFT_MIN), .SHIFT_BITS(MEAN_SHIFT_BITS), .OUT_BITS(MEAN_OUT_BITS)
  ) averager (
      .clk(1'b0), .sum(mean_sum), .multiplier(mean_multiplier), .start(mean_start),
      .shift(mean_shift), .low(mean_low), .high(mean_high), .y(mean_y)
  );
`endif

  // The memories, `load_tables`, `fetch` of a layer's and a channel's record, and `write_label` of a layer.
  `include "narrow_tables.vh"

  task fail;
    begin
      wrong = wrong + 1;
      $write("FAIL: line %0d: layer %0d, ", line, layer);
      write_label;
      $write(", channel %0d: ", channel);
      if (kind == RESCALE) $write("accumulator %0d", acc);
      if (kind == ADD) $write("terms %0d and %0d", first, second);
      if (kind == MEAN) $write("sum %0d", first);
      $display(", expected %0d, got %0d", expected, got);
    end
  endtask

  // For a line that is no vector of these tables.
  task fail_unknown;
    begin
      wrong = wrong + 1;
      if (kind == NONE) $display("FAIL: line %0d: there is no layer %0d", line, layer);
      else begin
        $write("FAIL: line %0d: layer %0d, ", line, layer);
        write_label;
        $display(", has no channel %0d; there are %0d", channel, channels);
      end
    end
  endtask

  // What is at its ports goes into the lane, and what comes out is due.
  task clock_lane;
    begin
      clk = 1;
      #1;
      clk = 0;
      #1;
      clocks = clocks + 1;
      due = {due[(LANE_CLOCKS-1)*OUT_BITS-1:0], expected[OUT_BITS-1:0]};
      due_line = {due_line[(LANE_CLOCKS-1)*32-1:0], line};
      if (clocks >= LANE_CLOCKS && lane_y !== due[LANE_CLOCKS*OUT_BITS-1-:OUT_BITS]) begin
        wrong = wrong + 1;
        $display("FAIL: line %0d: lane.v: expected %0d, got %0d", due_line[LANE_CLOCKS*32-1-:32],
                 $signed(due[LANE_CLOCKS*OUT_BITS-1-:OUT_BITS]), lane_y);
      end
    end
  endtask

  initial begin
    load_tables;
    clk = 0;
    clocks = 0;
    line = 0;
    rescales = 0;
    adds = 0;
    means = 0;
    wrong = 0;
    fields = 5;
    file = $fopen("vectors.hex", "r");
    if (file == 0) begin
      $display("FAIL: cannot read vectors.hex");
      wrong = 1;
      fields = 0;
    end
    while (fields == 5 && wrong == 0) begin
      fields = $fscanf(file, "%h %h %h %h %h", layer, channel, first, second, expected);
      line = line + 1;
      kind = NONE;
      if (fields == 5) fetch;
      if (fields == 5 && (kind == NONE || {8'd0, channel} >= channels)) fail_unknown;
      else if (fields == 5) begin
        acc = first[ACC_BITS-1:0] + bias;  // which may wrap on the way, but ends within its bits
`ifdef NARROW_ADD
        add_a = first[ADD_IN_BITS-1:0];  // and not first itself: $fscanf wakes no block in Verilator 5.006
        add_b = second[ADD_IN_BITS-1:0];
`endif
`ifdef NARROW_MEAN
        mean_sum = first[MEAN_SUM_BITS-1:0];
`endif
        #1;
        got = ~expected;
        if (kind == RESCALE) begin
          got = {{(RESULT_BITS - OUT_BITS + 1) {y[OUT_BITS-1]}}, y[OUT_BITS-2:0]};
          rescales = rescales + 1;
          lane_layer = layer[LANE_LAYER_BITS-1:0];
          lane_channel = channel[LANE_CHANNEL_BITS-1:0];
          lane_sum = first[ACC_BITS-1:0];
        end
`ifdef NARROW_ADD
        if (kind == ADD) begin
          got = {{(RESULT_BITS - ADD_OUT_BITS + 1) {add_y[ADD_OUT_BITS-1]}}, add_y[ADD_OUT_BITS-2:0]};
          adds = adds + 1;
        end
`endif
`ifdef NARROW_MEAN
        if (kind == MEAN) begin
          got = {{(RESULT_BITS - MEAN_OUT_BITS + 1) {mean_y[MEAN_OUT_BITS-1]}}, mean_y[MEAN_OUT_BITS-2:0]};
          means = means + 1;
        end
`endif
        if (got !== expected) fail;
        else if (kind == RESCALE) clock_lane;
      end else if (fields > 0 || !$feof(file)) begin
        wrong = wrong + 1;
        $display("FAIL: line %0d of vectors.hex cannot be read", line);
      end
    end
    if (wrong == 0 && rescales > 0) repeat (LANE_CLOCKS - 1) if (wrong == 0) clock_lane;
    if (wrong == 0 && rescales + adds + means != VECTORS) begin
      $display("FAIL: vectors.hex has %0d lines, and not %0d", rescales + adds + means, VECTORS);
      wrong = 1;
    end
    if (wrong == 0)
      $display("PASS: %0d vectors: %0d rescales, %0d sums, %0d means", rescales + adds + means, rescales, adds, means);
    $finish;
  end

endmodule
