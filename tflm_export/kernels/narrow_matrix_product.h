/* SPDX-License-Identifier: Apache-2.0 */
/* Products of two matrices that are both computed: the form MatrixProduct. */
#ifndef NARROW_MATRIX_PRODUCT_H
#define NARROW_MATRIX_PRODUCT_H

#include "narrow_products.h"

/* Matrices [rows, depth] times [depth, columns], one after another.
 *
 * a_row, a_step: in a, from one row to the next and from one element of it to the next.
 * b_column, b_step: in b, from one column to the next and from one element of it to the next.
 * rank: dimensions in front of the matrices. shape: theirs. a_matrix, b_matrix: in a and in b, from one matrix to the
 *   next along each of them; 0 where it is used again. */
typedef struct {
  int32_t rows, depth, columns;
  int32_t a_row, a_step, b_column, b_step;
  int32_t rank;
  const int32_t *shape, *a_matrix, *b_matrix;
} narrow_matrices;

/* y = Zy + factor * (bias + (a - Za) (b - Zb)), clamped.
 *
 * sum: NARROW_INT32, which wraps, or NARROW_INT64. per_column, bias_per_column: whether there is a factor and a bias for
 * each column, else one for all. a, b: types, zero points and arrays. */
static NARROW_INLINE void narrow_matrix_product(narrow_type sum, narrow_rounding rounding, int per_column,
                                                narrow_type bias_type, int bias_per_column,
                                                const narrow_matrices *matrices, const narrow_factors *factors,
                                                const narrow_elements *a, const narrow_elements *b, const void *bias,
                                                const narrow_output *output, void *y) {
  narrow_elements row = *a, column = *b;
  int32_t count = 1, at = 0;
  row.step = matrices->a_step;
  column.step = matrices->b_step;
  for (int32_t d = 0; d < matrices->rank; ++d) count *= matrices->shape[d];
  for (int32_t matrix = 0; matrix < count; ++matrix) {
    int32_t rest = matrix, a_at = 0, b_at = 0;
    for (int32_t d = matrices->rank - 1; d >= 0; --d) {
      const int32_t i = rest % matrices->shape[d];
      rest /= matrices->shape[d];
      a_at += i * matrices->a_matrix[d];
      b_at += i * matrices->b_matrix[d];
    }
    row.at = a_at;
    for (int32_t r = 0; r < matrices->rows; ++r, row.at += matrices->a_row) {
      column.at = b_at;
      for (int32_t c = 0; c < matrices->columns; ++c, ++at, column.at += matrices->b_column) {
        const int64_t total = narrow_load(bias_type, bias, bias_per_column ? c : 0) +
                              narrow_products(sum, &row, &column, matrices->depth);
        narrow_give(sum, total, rounding, factors, per_column ? c : 0, output, y, at);
      }
    }
  }
}

#endif
