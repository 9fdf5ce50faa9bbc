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
  int64_t history;                          /* cycles, see `timing` */
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
  uint64_t status;         /* XPSR, as uc_reg_read and uc_reg_write number it; 0 where there is none: RISC-V */
  uint64_t timing;         /* what the cycles of RISC-V depend on besides the block: TIMING_... */
  uint8_t *factors;        /* [length of both]: the register of a MUL's second operand, plus 1; 0 for all else */
  uint8_t *branches;       /* [length of both]: 1 where the block that starts here ends in a conditional branch */
  uint64_t predicted;      /* index of the block that ends in the branch that is predicted to be taken */
  int (*reg_read)(void *engine, int number, void *value);
  int (*reg_write)(void *engine, int number, const void *value);
} block_counter;

#define NOWHERE (~(uint64_t)0)
#define TIMING_SPLIT_TARGETS 1 /* a jump to an instruction of 32 bits across words takes one cycle more */
#define TIMING_PREDICTOR 2     /* the last branch that went back is predicted to do so again, for one cycle less */
#define TIMING_MULTIPLIER 4    /* bits of the second operand are multiplied one by one */
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
  const int is_riscv = counter->status == 0;
  if (counter->wait_states == 0 || address < counter->flash || address >= counter->flash_end) return;
  for (uint32_t at = 0; at < size; at += 2) {
    /* an instruction of 32 bits */
    const int is_long = is_riscv ? (code[at >> 1] & 3) == 3 : code[at >> 1] >> 11 >= 0x1d;
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

/* Finds the MULs of a block of RISC-V, and whether it ends in a conditional branch. */
static void look_at(block_counter *counter, uint64_t at, uint32_t size) {
  const uint16_t *const code = counter->code + at;
  for (uint32_t i = 0; i < size / 2;) {
    const int is_long = (code[i] & 3) == 3;
    const uint32_t word = is_long ? (uint32_t)code[i + 1] << 16 | code[i] : code[i];
    if ((word & 0xfe00707fu) == 0x02000033u) counter->factors[at + i] = (uint8_t)((word >> 20 & 31) + 1);
    counter->branches[at] = is_long ? (word & 0x7f) == 0x63 : (word & 0xc003) == 0xc001;
    i += is_long ? 2 : 1;
  }
}

/* Of RISC-V: what a jump from the block before to this one takes longer or shorter than its block says. */
static void jump(block_counter *counter, uint64_t at, uint64_t address) {
  const uint64_t length = counter->halfwords + counter->ram_halfwords, before = counter->previous % length;
  const int taken = address != counter->previous_end, is_branch = counter->branches[before] != 0;
  stalls *const held = counter->held + counter->layer;
  if (counter->previous_end == NOWHERE) return;
  if ((counter->timing & TIMING_SPLIT_TARGETS) && taken && (address & 2) && (counter->code[at] & 3) == 3) ++held->history;
  if (!(counter->timing & TIMING_PREDICTOR) || !is_branch) return;
  if (counter->predicted == counter->previous_end) {
    held->history += taken ? -1 : 1;
    if (!taken) counter->predicted = NOWHERE;
  } else if (taken && address < counter->previous_end) {
    counter->predicted = counter->previous_end;
  }
}

/* An instruction, for TIMING_MULTIPLIER: a cycle for each bit of the second operand behind the first. */
void count_instruction(void *engine, uint64_t address, uint32_t size, block_counter *counter) {
  const uint64_t at = place(counter, address);
  uint32_t operand = 0;
  (void)size;
  if (at >= counter->halfwords + counter->ram_halfwords || counter->factors[at] == 0) return;
  counter->reg_read(engine, counter->factors[at], &operand); /* X0 is 1 there */
  for (operand >>= 1; operand != 0; operand >>= 1) ++counter->held[counter->layer].history;
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
  if (counter->timing != 0) {
    if (counter->sizes[at] == 0) look_at(counter, at, size);
    jump(counter, at, address);
  }
  if (counter->layers[at] != 0) counter->layer = counter->layers[at];
  counter->sizes[at] = size;
  counter->previous = counter->layer * length + at;
  counter->previous_end = address + size;
  ++counter->entries[counter->previous];
  counter->conditional = (uint64_t)(counter->status != 0 && has_it(counter->code + at, size));
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
