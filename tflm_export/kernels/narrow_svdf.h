/* SPDX-License-Identifier: Apache-2.0 */
/* A filter over features, a filter over time on its last outputs, and a sum over ranks: the form Svdf. */
#ifndef NARROW_SVDF_H
#define NARROW_SVDF_H

#include "narrow_products.h"

/* rows: vectors [inputs] that are filtered on their own. units: outputs of each. rank: filters that are summed to one.
 * memory: outputs of each filter that the state holds. */
typedef struct {
  int32_t rows, inputs, units, rank, memory;
} narrow_filters;

/* state' = the last outputs of every filter: those of state but the oldest, and Zs + to_state * sum((x - Zx) * features)
 * y = Zy + to_output * (bias + sum over ranks and memory of (state' - Zs) * time), clamped
 *
 * sum: of the first filter, NARROW_INT32 or NARROW_INT64; it does not wrap. The second one's wraps in 32 bits.
 * state_per_filter, output_per_unit: whether there is a factor for each filter, and for each unit, else one for all.
 * x: type, zero point and array [rows, inputs]. features: [filters, inputs]. time: [filters, memory], int8 or int16.
 * state: [rows, filters, memory]; Zs is new_state's zero point. bias: [units]. */
static NARROW_INLINE void narrow_svdf(narrow_type sum, narrow_rounding state_rounding, int state_per_filter,
                                      narrow_rounding output_rounding, int output_per_unit,
                                      const narrow_filters *filters, const narrow_factors *to_state,
                                      const narrow_factors *to_output, const narrow_elements *x,
                                      const narrow_elements *features, const narrow_elements *time,
                                      const int32_t *bias, const narrow_output *output, void *y,
                                      const narrow_output *new_state, const void *state, void *next) {
  narrow_elements row = *x, feature = *features, weights = *time;
  narrow_elements kept = {new_state->type, new_state->zero_point, next, 0, 1};
  row.step = feature.step = weights.step = 1;
  row.at = 0;
  int32_t unit = 0;
  for (int32_t r = 0; r < filters->rows; ++r, row.at += filters->inputs) {
    int32_t filter = 0;
    for (int32_t u = 0; u < filters->units; ++u, ++unit) {
      int64_t total = bias[u];
      for (int32_t k = 0; k < filters->rank; ++k, ++filter, kept.at += filters->memory) {
        const int32_t newest = kept.at + filters->memory - 1;
        feature.at = filter * filters->inputs;
        weights.at = filter * filters->memory;
        uint32_t kept_sum = 0; /* on the way, where products do not come in pairs */
        for (int32_t i = 0; i < filters->memory - 1; ++i) {
          const int32_t value = (int32_t)narrow_load(new_state->type, state, kept.at + i + 1);
          narrow_store(new_state->type, next, kept.at + i, value);
          if (!NARROW_PAIRED_PRODUCTS) {
            kept_sum += (uint32_t)(value - kept.zero_point) * (uint32_t)narrow_centred(&weights, i);
          }
        }
        narrow_give(sum, narrow_products(sum, &row, &feature, filters->inputs), state_rounding, to_state,
                    state_per_filter ? filter : 0, new_state, next, newest);
        const int32_t summed = NARROW_PAIRED_PRODUCTS ? 0 : filters->memory - 1;
        narrow_elements rest = kept, rest_weights = weights;
        rest.at += summed;
        rest_weights.at += summed;
        total += (int32_t)kept_sum + narrow_products(NARROW_INT32, &rest, &rest_weights, filters->memory - summed);
      }
      narrow_give(NARROW_INT32, total, output_rounding, to_output, output_per_unit ? u : 0, output, y, unit);
    }
  }
}

#endif
