/* SPDX-License-Identifier: Apache-2.0 */
/* Zba and Zbb for Unicorn 2.1.4, which takes their instructions for none: a hook of exceptions does what the RISC-V Bit-Manipulation Extensions (version 1.0.0, ratified) say, for those of RV32 that compilers make. Registers are
 * numbered as by uc_reg_read: X0 is 1. */
#include <stdint.h>

#define X0 1
#define ILLEGAL_INSTRUCTION 2

typedef struct {
  int (*reg_read)(void *engine, int number, void *value);
  int (*reg_write)(void *engine, int number, const void *value);
  int (*mem_read)(void *engine, uint64_t address, void *bytes, uint64_t size);
  int (*emu_stop)(void *engine);
  uint64_t pc;      /* its number */
  uint64_t unknown; /* address of an instruction that is not there either, plus 1; 0 for none */
} zb_access;

static uint32_t count_bits(uint32_t value) {
  uint32_t count = 0;
  for (; value != 0; value &= value - 1) ++count;
  return count;
}

static uint32_t leading_zeros(uint32_t value) {
  uint32_t count = 0;
  for (; count < 32 && (value >> (31 - count)) == 0; ++count) {
  }
  return count;
}

static uint32_t rotate_right(uint32_t value, uint32_t by) { return value >> (by & 31) | value << (-by & 31); }

static uint32_t bytes_that_are_not_0(uint32_t value) {
  uint32_t found = 0;
  for (int at = 0; at < 32; at += 8) found |= (value >> at & 255) != 0 ? 255u << at : 0;
  return found;
}

static uint32_t bytes_reversed(uint32_t value) {
  return value >> 24 | (value >> 8 & 0xff00) | (value << 8 & 0xff0000) | value << 24;
}

/* One operand: immediate and function tell which. Returns whether there is such an instruction. */
static int of_one(uint32_t word, uint32_t a, uint32_t *result) {
  const uint32_t immediate = word >> 20, function = word >> 12 & 7;
  if (function == 1 && immediate == 0x600) return *result = leading_zeros(a), 1;
  if (function == 1 && immediate == 0x601) return *result = a == 0 ? 32 : count_bits((a & -a) - 1), 1;
  if (function == 1 && immediate == 0x602) return *result = count_bits(a), 1;
  if (function == 1 && immediate == 0x604) return *result = (uint32_t)(int8_t)a, 1;
  if (function == 1 && immediate == 0x605) return *result = (uint32_t)(int16_t)a, 1;
  if (function == 5 && immediate == 0x287) return *result = bytes_that_are_not_0(a), 1;
  if (function == 5 && immediate == 0x698) return *result = bytes_reversed(a), 1;
  if (function == 5 && immediate >> 5 == 0x30) return *result = rotate_right(a, immediate), 1;
  return 0;
}

static int of_two(uint32_t word, uint32_t a, uint32_t b, uint32_t *result) {
  const int less = (int32_t)a < (int32_t)b;
  switch (word >> 25 << 3 | (word >> 12 & 7)) {
    case 0x10 << 3 | 2: return *result = (a << 1) + b, 1;
    case 0x10 << 3 | 4: return *result = (a << 2) + b, 1;
    case 0x10 << 3 | 6: return *result = (a << 3) + b, 1;
    case 0x05 << 3 | 4: return *result = less ? a : b, 1;
    case 0x05 << 3 | 5: return *result = a < b ? a : b, 1;
    case 0x05 << 3 | 6: return *result = less ? b : a, 1;
    case 0x05 << 3 | 7: return *result = a < b ? b : a, 1;
    case 0x20 << 3 | 4: return *result = ~(a ^ b), 1;
    case 0x20 << 3 | 6: return *result = a | ~b, 1;
    case 0x20 << 3 | 7: return *result = a & ~b, 1;
    case 0x30 << 3 | 1: return *result = rotate_right(a, -b), 1;
    case 0x30 << 3 | 5: return *result = rotate_right(a, b), 1;
    case 0x04 << 3 | 4: return (word >> 20 & 31) == 0 ? *result = a & 0xffff, 1 : 0;
    default: return 0;
  }
}

/* Whether an instruction is one of them, which is then done. */
static int is_done(void *engine, const zb_access *access, uint32_t word) {
  const uint32_t opcode = word & 127;
  const int rd = (int)(word >> 7 & 31);
  uint32_t a = 0, b = 0, result = 0;
  access->reg_read(engine, X0 + (int)(word >> 15 & 31), &a);
  access->reg_read(engine, X0 + (int)(word >> 20 & 31), &b);
  if (!(opcode == 0x33 ? of_two(word, a, b, &result) : opcode == 0x13 ? of_one(word, a, &result) : 0)) return 0;
  if (rd != 0) access->reg_write(engine, X0 + rd, &result);
  return 1;
}

/* A hook of UC_HOOK_INTR. Unicorn goes on 4 bytes behind the exception, and has counted them in already. */
void zb_instruction(void *engine, uint32_t exception, zb_access *access) {
  uint32_t behind = 0, word = 0;
  access->reg_read(engine, (int)access->pc, &behind);
  access->mem_read(engine, behind - 4, &word, 4);
  if (exception == ILLEGAL_INSTRUCTION && is_done(engine, access, word)) return;
  access->unknown = (uint64_t)behind - 4 + 1;
  access->emu_stop(engine);
}
