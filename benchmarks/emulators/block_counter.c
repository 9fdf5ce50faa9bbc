/* SPDX-License-Identifier: Apache-2.0 */
/* Counts basic blocks for Unicorn: how often each is entered, and how often execution goes on behind it. */
#include <stdint.h>

typedef struct {
  uint64_t base;           /* address of the code */
  uint64_t length;         /* its length in halfwords */
  const uint8_t *layers;   /* [length]: number of the layer that starts here, 0 for none */
  uint64_t *entries;       /* [layers + 1, length] */
  uint64_t *continued;     /* [layers + 1, length] */
  uint32_t *sizes;         /* [length]: bytes of the block that starts here */
  uint64_t layer;          /* the current one */
  uint64_t previous;       /* index of the block before, in entries */
  uint64_t previous_end;   /* address behind it */
  uint64_t conflicts;      /* blocks outside the code, or that changed their size */
} block_counter;

void count_block(void *engine, uint64_t address, uint32_t size, block_counter *counter) {
  const uint64_t at = (address - counter->base) >> 1;
  (void)engine;
  if (at >= counter->length || (counter->sizes[at] != 0 && counter->sizes[at] != size)) {
    ++counter->conflicts;
    return;
  }
  if (address == counter->previous_end) ++counter->continued[counter->previous];
  if (counter->layers[at] != 0) counter->layer = counter->layers[at];
  counter->sizes[at] = size;
  counter->previous = counter->layer * counter->length + at;
  counter->previous_end = address + size;
  ++counter->entries[counter->previous];
}
