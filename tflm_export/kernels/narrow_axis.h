/* SPDX-License-Identifier: Apache-2.0 */
/* Windows along one axis of an image, at any distances. */
#ifndef NARROW_AXIS_H
#define NARROW_AXIS_H

#include "narrow_rescale.h"

/* size, output: elements, and windows. All counts and distances are at least 1.
 * kernel, stride, dilation: of the windows.
 * before: elements outside the image that the first window covers, 0 or more.
 * spread: distance of one element to the next in the image that windows slide over; more than 1 in a transposed
 *   convolution, with zeros in between.
 * tap_step, element_step: from one tap of a window on an element to the next such one, in taps and in elements: spread
 *   and dilation, each over their greatest common divisor. */
typedef struct {
  int32_t size, output;
  int32_t kernel, stride, dilation;
  int32_t before, spread;
  int32_t tap_step, element_step;
} narrow_axis;

/* The taps of a window that lie on elements: `count` of them, the first one tap `first` on `element`. */
typedef struct {
  int32_t first, element, count;
} narrow_taps;

/* Of a window; no tap between elements is ever looked at twice. */
static NARROW_INLINE narrow_taps narrow_taps_of(const narrow_axis *axis, int32_t window) {
  narrow_taps taps = {0, 0, 0};
  int32_t place = window * axis->stride - axis->before;
  if (axis->spread == 1 && axis->dilation == 1) {
    const int32_t end = axis->size - place < axis->kernel ? axis->size - place : axis->kernel;
    taps.first = place < 0 ? -place : 0;
    taps.element = place + taps.first;
    taps.count = end > taps.first ? end - taps.first : 0;
    return taps;
  }
  while (taps.first < axis->kernel && (place < 0 || place % axis->spread != 0)) {
    ++taps.first;
    place += axis->dilation;
  }
  taps.element = place / axis->spread;
  int32_t element = taps.element;
  for (int32_t tap = taps.first; tap < axis->kernel && element < axis->size; tap += axis->tap_step) {
    ++taps.count;
    element += axis->element_step;
  }
  return taps;
}

#endif
