/* SPDX-License-Identifier: Apache-2.0 */
/* A sequence through an LSTM with 16-bit gates and cell state: the form Lstm. */
#ifndef NARROW_LSTM_H
#define NARROW_LSTM_H

#include "narrow_curves.h"
#include "narrow_dense_v6m.h"
#include "narrow_four_channels_dsp.h"
#include "narrow_products.h"

/* A gate: weights [units, inputs] and [units, units], bias [units], and the factors of both products. */
typedef struct {
  const int8_t *input_weights, *hidden_weights;
  const void *bias;
  narrow_factors of_input, of_hidden;
} narrow_gate;

/* steps: of the sequence. rows: sequences side by side.
 * next_step, next_row: vectors of the input, and of the output, from one step to the next and from one row to the next. */
typedef struct {
  int32_t steps, rows, inputs, units;
  int32_t next_step, next_row;
  narrow_gate gates[4]; /* input, forget, cell, output */
  narrow_factors forgotten, added, hidden;
  int32_t cell_clip; /* largest magnitude of the cell state; 32768 for none */
} narrow_lstm_layer;

/* The same of int8 with sums of 32 bits, all gates side by side.
 *
 * input_words, hidden_words: [units, inputs4 / 2, 2] and [units, units4 / 2, 2] weights, with zeros up to multiples of 4:
 *   words (A k, B k, A k + 1, B k + 1), lowest byte first, of the input gate A and the forget gate B, and of the cell gate
 *   and the output gate.
 * input_start, hidden_start: [units, 4] what sums of raw integers start with, biases among them. */
typedef struct {
  const int32_t *input_words, *hidden_words;
  const int32_t *input_start, *hidden_start;
} narrow_gates;

static NARROW_INLINE int32_t narrow_up_to_four(int32_t count) { return (count + 3) & ~3; }

/* int8 elements, with zeros up to a multiple of 4, as narrow_four_channels reads them. */
static NARROW_INLINE void narrow_widened(const int8_t *x, int32_t count, int32_t *wide) {
#if NARROW_PAIRED_PRODUCTS
  int32_t i = 0;
  for (; i + 2 <= count; i += 2) *wide++ = (int32_t)(((uint32_t)x[i] & 0xffffu) | (uint32_t)x[i + 1] << 16);
  if (i < count) *wide++ = (int32_t)((uint32_t)x[i] & 0xffffu);
  if (((count + 1) & 2) != 0) *wide = 0;
#else
  for (int32_t i = 0; i < narrow_up_to_four(count); ++i) wide[i] = i < count ? x[i] : 0;
#endif
}

#if !NARROW_PAIRED_PRODUCTS && NARROW_V6M_LOOPS
NARROW_DENSE_V6M_SUMS(narrow_four_channels, EACH)
#elif !NARROW_PAIRED_PRODUCTS
static NARROW_INLINE void narrow_four_channels(int32_t depth4, const int32_t *wide, const int32_t *words,
                                               int32_t sums[4]) {
  narrow_dense_v6m_sums(NARROW_DENSE_V6M_EACH, depth4, wide, words, sums);
}
#endif

/* What goes into a gate's curve, from both sums of products. saturates: whether what the second one becomes is, before
 * it is added. */
static NARROW_INLINE int32_t narrow_gate_of(narrow_rounding rounding, int per_unit, int saturates,
                                            const narrow_gate *gate, int32_t unit, int64_t a, int64_t b) {
  const int32_t c = per_unit ? unit : 0, limit = saturates ? 32768 : 65536; /* more does not change the sum */
  const int64_t first = narrow_between(narrow_apply(rounding, &gate->of_input, c, a), -32768, 32767);
  const int64_t second = narrow_between(narrow_apply(rounding, &gate->of_hidden, c, b), -limit, limit - 1);
  return (int32_t)narrow_between(first + second, -32768, 32767);
}

/* The same from the inputs. */
static NARROW_INLINE int32_t narrow_gate_input(narrow_type sum, narrow_rounding rounding, int per_unit,
                                               narrow_type bias_type, int saturates, const narrow_lstm_layer *layer,
                                               const narrow_gate *gate, int32_t unit, const narrow_elements *x,
                                               const narrow_elements *h) {
  const narrow_elements of_x = {NARROW_INT8, 0, gate->input_weights, unit * layer->inputs, 1};
  const narrow_elements of_h = {NARROW_INT8, 0, gate->hidden_weights, unit * layer->units, 1};
  const int64_t a = narrow_load(bias_type, gate->bias, unit) + narrow_products(sum, x, &of_x, layer->inputs);
  const int64_t b = narrow_products(sum, h, &of_h, layer->units);
  return narrow_gate_of(rounding, per_unit, saturates, gate, unit, a, b);
}

/* One step of a unit: its new cell state; *h is its new hidden state. */
static NARROW_INLINE int32_t narrow_lstm_unit(narrow_rounding product_rounding, narrow_rounding hidden_rounding,
                                              const narrow_lstm_layer *layer, const int32_t *gates,
                                              const narrow_curve *cell_curve, int32_t cell, int64_t *h) {
  const int64_t kept = narrow_between(narrow_apply(product_rounding, &layer->forgotten, 0, gates[1] * cell), -32768, 32767);
  const int64_t added = narrow_between(narrow_apply(product_rounding, &layer->added, 0, gates[0] * gates[2]), -32768, 32767);
  cell = (int32_t)narrow_between(narrow_between(kept + added, -32768, 32767), -layer->cell_clip, layer->cell_clip);
  *h = narrow_apply(hidden_rounding, &layer->hidden, 0, narrow_curve_at(cell_curve, cell) * gates[3]);
  return cell;
}

/* gate = curve(sat(bias + (x - Zx) w) * of_input + ((h - Zh) w') * of_hidden))
 * cell' = clip(cell * forget gate * forgotten + input gate * cell gate * added)
 * h' = y = Zh + cell_curve(cell') * output gate * hidden, clamped
 *
 * sum: of the gates' products, NARROW_INT32 or NARROW_INT64; none wraps. gate_rounding, product_rounding,
 * hidden_rounding: of the gates' factors, of forgotten and added, and of hidden. per_unit: whether the gates have a factor
 * for each unit, else one for all. saturates: see narrow_gate_input. bias_type: of all gates.
 * x, hidden: types, zero points and arrays, [rows, steps, inputs] or with steps first, and [rows, units]; cell: [rows,
 * units], int16. output: h', whose zero point is Zh. y: of the type of hidden and like x. new_hidden, new_cell: as hidden,
 * cell. packed: the gates' weights side by side, or NULL; there are then none in the gates, nor biases.
 * scratch: as many words as inputs and units, with zeros up to multiples of 4, if so. */
static NARROW_INLINE void narrow_lstm(narrow_type sum, narrow_rounding gate_rounding, int per_unit,
                                      narrow_rounding product_rounding, narrow_rounding hidden_rounding, int saturates,
                                      narrow_type bias_type, const narrow_lstm_layer *layer,
                                      const narrow_gates *packed, const narrow_curve *input_curve, const narrow_curve *forget_curve,
                                      const narrow_curve *gate_curve, const narrow_curve *output_curve,
                                      const narrow_curve *cell_curve, const narrow_elements *x,
                                      const narrow_elements *hidden, const void *cell, const narrow_output *output,
                                      void *y, void *new_hidden, void *new_cell, void *scratch) {
  const int32_t inputs4 = narrow_up_to_four(layer->inputs), units4 = narrow_up_to_four(layer->units);
  int32_t *const wide = (int32_t *)scratch;
  narrow_elements now = *x, before = *hidden;
  for (int32_t step = 0; step < layer->steps; ++step) {
    for (int32_t row = 0; row < layer->rows; ++row) {
      const int32_t vector = step * layer->next_step + row * layer->next_row;
      now.at = vector * layer->inputs;
      before.array = step == 0 ? hidden->array : y;
      before.at = (step == 0 ? row : vector - layer->next_step) * layer->units;
      if (packed) {
        narrow_widened((const int8_t *)now.array + now.at, layer->inputs, wide);
        narrow_widened((const int8_t *)before.array + before.at, layer->units, wide + inputs4);
      }
      for (int32_t unit = 0; unit < layer->units; ++unit) {
        const int32_t at = row * layer->units + unit;
        int32_t gates[4], of_hidden[4];
        int64_t h;
        if (packed) {
          for (int32_t g = 0; g < 4; ++g) {
            gates[g] = packed->input_start[unit * 4 + g];
            of_hidden[g] = packed->hidden_start[unit * 4 + g];
          }
          narrow_four_channels(inputs4, wide, packed->input_words + unit * inputs4, gates);
          narrow_four_channels(units4, wide + inputs4, packed->hidden_words + unit * units4, of_hidden);
        }
        for (int32_t g = 0; g < 4; ++g) {
          gates[g] = packed ? narrow_gate_of(gate_rounding, per_unit, saturates, &layer->gates[g], unit, gates[g],
                                             of_hidden[g])
                            : narrow_gate_input(sum, gate_rounding, per_unit, bias_type, saturates, layer,
                                                &layer->gates[g], unit, &now, &before);
        }
        gates[0] = narrow_curve_at(input_curve, gates[0]);
        gates[1] = narrow_curve_at(forget_curve, gates[1]);
        gates[2] = narrow_curve_at(gate_curve, gates[2]);
        gates[3] = narrow_curve_at(output_curve, gates[3]);
        const int32_t c = (int32_t)narrow_load(NARROW_INT16, step == 0 ? cell : new_cell, at);
        const int32_t kept = narrow_lstm_unit(product_rounding, hidden_rounding, layer, gates, cell_curve, c, &h);
        narrow_store(NARROW_INT16, new_cell, at, kept);
        h = narrow_between(h, output->low - output->zero_point, output->high - output->zero_point) + output->zero_point;
        narrow_store(output->type, y, vector * layer->units + unit, h);
        if (step == layer->steps - 1) narrow_store(output->type, new_hidden, at, h);
      }
    }
  }
}

#endif
