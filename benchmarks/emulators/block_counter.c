/* SPDX-License-Identifier: Apache-2.0 */
/* Counts for Unicorn: how often each basic block is entered and execution goes on behind it, what unaligned accesses
 * cost, and what flash makes wait. The rules are those of flash.py, which says where they come from.
 *
 * Unicorn 2.1.4 stores the state of an IT block when it calls a hook of memory, and does not take it back behind the
 * block: what follows is then executed under its condition. So the hooks take it back; the block itself is compiled, and
 * does not look. */
#include <stdint.h>

typedef struct {   /* lines that are kept of flash */
  uint64_t sets;   /* a power of two, or 0 for no cache */
  uint64_t ways;
  uint32_t *lines; /* [sets, ways]: numbers of lines plus 1, those used last in front; 0 for none */
} line_cache;

typedef struct {
  uint64_t instruction_misses, data_misses; /* lines read from flash */
  uint64_t waited;                          /* cycles for them */
  uint64_t unaligned;                       /* cycles */
} stalls;

typedef struct {
  uint64_t base, halfwords;         /* address and length of the code in flash */
  uint64_t ram_base, ram_halfwords; /* and in RAM, whose halfwords are numbered on from there */
  const uint8_t *layers;   /* [length of both]: number of the layer that starts here, 0 for none */
  uint64_t *entries;       /* [layers + 1, length] */
  uint64_t *continued;     /* [layers + 1, length] */
  uint32_t *sizes;         /* [length]: bytes of the block that starts here */
  uint64_t layer;          /* the current one */
  uint64_t previous;       /* index of the block before, in entries */
  uint64_t previous_end;   /* address behind it */
  uint64_t conflicts;      /* blocks outside the code, or that changed their size */
  stalls *held;            /* [layers + 1] */
  const uint16_t *code;    /* [length of both] */
  uint64_t flash, flash_end;
  uint64_t wait_states;
  uint64_t line_shift;     /* log2 of the bytes of a line */
  uint64_t prefetch;       /* 0 or 1 */
  line_cache instructions;
  line_cache constants;
  line_cache *data;        /* which of the two constants are in */
  uint64_t current;        /* number of the current line plus 1, 0 for none */
  uint64_t begun;          /* instructions that began in it */
  uint64_t aligned_only;   /* 1: unaligned accesses fault */
  uint64_t faults;         /* of that kind */
  uint64_t fault_address;  /* of the last one */
  uint64_t conditional;    /* whether the current block has an IT instruction */
  uint64_t status;         /* XPSR, as uc_reg_read and uc_reg_write number it */
  int (*reg_read)(void *engine, int number, void *value);
  int (*reg_write)(void *engine, int number, const void *value);
} block_counter;

#define IT_STATE (3u << 25 | 63u << 10) /* of XPSR */

static int has_line(const line_cache *cache, uint32_t line) {
  if (cache->sets == 0) return 0;
  uint32_t *const kept = cache->lines + (line & (cache->sets - 1)) * cache->ways;
  uint64_t at = 0;
  while (at < cache->ways && kept[at] != line + 1) ++at;
  if (at == cache->ways) return 0;
  for (; at > 0; --at) kept[at] = kept[at - 1];
  kept[0] = line + 1;
  return 1;
}

static void keep_line(const line_cache *cache, uint32_t line) {
  if (cache->sets == 0) return;
  uint32_t *const kept = cache->lines + (line & (cache->sets - 1)) * cache->ways;
  for (uint64_t at = cache->ways - 1; at > 0; --at) kept[at] = kept[at - 1];
  kept[0] = line + 1;
}

static void fetch_halfword(block_counter *counter, uint64_t address) {
  const uint32_t line = (uint32_t)(address >> counter->line_shift);
  stalls *const held = counter->held + counter->layer;
  if (line + 1 == counter->current) return;
  if (!has_line(&counter->instructions, line)) {
    if (counter->prefetch && counter->current != 0 && line == counter->current) { /* the one behind: plus 1, less 1 */
      const uint64_t read = counter->wait_states + 1;
      held->waited += read > counter->begun ? read - counter->begun : 0;
    } else {
      held->waited += counter->wait_states;
      keep_line(&counter->instructions, line);
    }
    ++held->instruction_misses;
  }
  counter->current = line + 1;
  counter->begun = 0;
}

static void fetch_block(block_counter *counter, uint64_t address, uint32_t size) {
  const uint16_t *code = counter->code + ((address - counter->base) >> 1);
  if (counter->wait_states == 0 || address < counter->flash || address >= counter->flash_end) return;
  for (uint32_t at = 0; at < size; at += 2) {
    const int is_long = code[at >> 1] >> 11 >= 0x1d; /* an instruction of 32 bits */
    fetch_halfword(counter, address + at);
    ++counter->begun;
    if (is_long) {
      at += 2;
      fetch_halfword(counter, address + at);
    }
  }
}

/* Number of a halfword of code; the length of all where there is none. */
static uint64_t place(const block_counter *counter, uint64_t address) {
  const uint64_t in_flash = (address - counter->base) >> 1, in_ram = (address - counter->ram_base) >> 1;
  if (in_flash < counter->halfwords) return in_flash;
  return counter->halfwords + (in_ram < counter->ram_halfwords ? in_ram : counter->ram_halfwords);
}

static int has_it(const uint16_t *code, uint32_t size) {
  for (uint32_t at = 0; at < size / 2; ++at) {
    if (code[at] >> 8 == 0xbf && (code[at] & 15) != 0) return 1;
  }
  return 0;
}

void count_block(void *engine, uint64_t address, uint32_t size, block_counter *counter) {
  const uint64_t length = counter->halfwords + counter->ram_halfwords;
  const uint64_t at = place(counter, address);
  (void)engine;
  if (at >= length || (counter->sizes[at] != 0 && counter->sizes[at] != size)) {
    ++counter->conflicts;
    return;
  }
  if (address == counter->previous_end) ++counter->continued[counter->previous];
  if (counter->layers[at] != 0) counter->layer = counter->layers[at];
  counter->sizes[at] = size;
  counter->previous = counter->layer * length + at;
  counter->previous_end = address + size;
  ++counter->entries[counter->previous];
  counter->conditional = (uint64_t)has_it(counter->code + at, size);
  fetch_block(counter, address, size);
}

static void leave_it(void *engine, const block_counter *counter) {
  uint32_t status = 0;
  if (counter->conditional == 0) return;
  counter->reg_read(engine, (int)counter->status, &status);
  if ((status & IT_STATE) == 0) return;
  status &= ~IT_STATE;
  counter->reg_write(engine, (int)counter->status, &status);
}

static void align(block_counter *counter, uint64_t address, int size) {
  static const uint8_t word[4] = {0, 2, 1, 2};
  const uint64_t cycles = size == 2 ? address & 1 : size == 4 ? word[address & 3] : 0;
  if (cycles == 0) return;
  if (counter->aligned_only) {
    ++counter->faults;
    counter->fault_address = address;
  }
  counter->held[counter->layer].unaligned += cycles;
}

void count_read(void *engine, int type, uint64_t address, int size, int64_t value, block_counter *counter) {
  (void)type, (void)value;
  leave_it(engine, counter);
  align(counter, address, size);
  if (counter->wait_states == 0 || address < counter->flash || address >= counter->flash_end) return;
  const uint64_t last = (address + (uint64_t)size - 1) >> counter->line_shift;
  for (uint64_t line = address >> counter->line_shift; line <= last; ++line) {
    if (!has_line(counter->data, (uint32_t)line)) {
      keep_line(counter->data, (uint32_t)line);
      ++counter->held[counter->layer].data_misses;
      counter->held[counter->layer].waited += counter->wait_states;
    }
  }
}

void count_write(void *engine, int type, uint64_t address, int size, int64_t value, block_counter *counter) {
  (void)type, (void)value;
  leave_it(engine, counter);
  align(counter, address, size);
}
