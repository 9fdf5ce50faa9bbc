/* SPDX-License-Identifier: Apache-2.0 */
/* A curve of every element. */
#ifndef NARROW_CURVE_EACH_H
#define NARROW_CURVE_EACH_H

#include "narrow_curves.h"

/* y = curve(x), -32768..32767. */
static NARROW_INLINE void narrow_curve_each(int32_t count, const narrow_curve *curve, const int16_t *x, int16_t *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = (int16_t)narrow_curve_at(curve, x[i]);
}

#endif
