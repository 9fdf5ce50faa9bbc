/* SPDX-License-Identifier: Apache-2.0 */
/* The ends that exist in assembly, on accumulators as they are given: kernels without weights. See test_ends.py. */
#include "ends.h"

#include "narrow_rescale.h"

#define PIXELS 4

#if defined(__ARM_FEATURE_DSP)
#include "narrow_conv_2d_tiles_dsp.h"
#define NO_WEIGHTS 0 /* words */
#include "narrow_depthwise_conv_2d_planes_dsp.h"
NARROW_CONV_2D_TILES_DSP(tile_shift, SHIFT, EACH, 4, 1, 1, 0, 0, 4, 4, 4, 256, 1, 4)
NARROW_CONV_2D_TILES_DSP(tile_stock, STOCK, EACH, 4, 1, 1, 0, 0, 4, 4, 4, 256, 1, 4)
#else
#include "narrow_conv_2d_tiles_v6m.h"
#define NO_WEIGHTS 1
#include "narrow_depthwise_conv_2d_pairs_v6m.h"
NARROW_CONV_2D_TILES_V6M(tile_shift, SHIFT, 1, 1, 0, 1, 0, 256, 1, 4)
NARROW_CONV_2D_TILES_V6M(tile_stock, STOCK, 1, 1, 0, 1, 0, 256, 1, 4)
#endif
#include "ends_planes.h" /* plane_shift and plane_stock, from test_ends.py: four outputs of one tap */

static const int32_t zeros[128];
static int32_t stream[128][8];

/* Of each pair what narrow_tile_kernel says: starts, no weights (and of ARMv6-M no corrections of them), multipliers and
 * folds if there are any, shifts. */
static void tiles(const ends_input *all, int stock, int8_t *output) {
  const int32_t *const rows[] = {zeros, 0};
  const int32_t *const fields[] = {all->start, all->multiplier, all->fold};
  int32_t *to = stream[0];
  for (int32_t c = 0; c < ENDS_COUNT; c += 2) {
    for (int32_t field = 0; field < (stock ? 3 : 1); ++field) {
      *to++ = fields[field][c];
      *to++ = fields[field][c + 1];
      for (int32_t i = 0; field == 0 && i < NO_WEIGHTS; ++i) *to++ = 0;
    }
    *to++ = all->shift[c] | all->shift[c + 1] << 8;
  }
  (stock ? tile_stock : tile_shift)(rows, output, stream[0]);
}

static void planes(const ends_input *all, int stock, int8_t *output) {
  static const int32_t plane[2 * PIXELS];
  for (int32_t c = 0; c < ENDS_COUNT; ++c, output += PIXELS) {
    const int32_t shift_record[] = {all->start[c], all->shift[c], 0};
    const int32_t stock_record[] = {all->start[c], all->shift[c], all->multiplier[c], all->fold[c], 0};
    (stock ? plane_stock : plane_shift)(plane, output, stock ? stock_record : shift_record, 1);
  }
}

void ends(const int8_t *input, int8_t *output) {
  const ends_input *all = (const ends_input *)(const void *)input;
  int8_t *const part[] = {output, output + 1024, output + 2048, output + 3072, output + 4096, output + 4352};
  tiles(all, 0, part[0]);
  planes(all, 0, part[1]);
  tiles(all, 1, part[2]);
  planes(all, 1, part[3]);
  for (int32_t c = 0; c < ENDS_COUNT; ++c) {
    part[4][c] = narrow_saturate(all->start[c]);
    part[5][c] = (int8_t)(narrow_saturate(all->start[c]) >> 1); /* more than its low byte */
  }
}
