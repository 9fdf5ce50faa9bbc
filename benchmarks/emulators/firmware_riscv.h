/* SPDX-License-Identifier: Apache-2.0 */
/* Of firmware.c, for QEMU's board virt: the first instructions, the 16550 UART, the counter of instructions. */
#ifndef FIRMWARE_RISCV_H
#define FIRMWARE_RISCV_H

#ifndef FIRMWARE_UART
#define FIRMWARE_UART 0x10000000u
#endif

#define UART(offset) (*(volatile uint8_t *)(FIRMWARE_UART + (offset)))
#define UART_DATA UART(0u)
#define UART_STATE UART(5u)
#define UART_IS_EMPTY 0x20u /* of its state */

/* Where the board begins: a stack, traps to firmware_fault (a multiple of 4), and firmware_reset. */
__asm__(".section .vectors, \"ax\", %progbits\n\t"
        ".globl firmware_start\n"
        "firmware_start:\n\t"
        ".option push\n\t"
        ".option arch, +zicsr\n\t"
        "la sp, firmware_stack\n\t"
        "la t0, firmware_trap\n\t"
        "csrw mtvec, t0\n\t"
        "j firmware_reset\n\t"
        ".balign 4\n"
        "firmware_trap:\n\t"
        "j firmware_fault\n\t"
        ".option pop\n\t"
        ".text\n");

static __attribute__((noinline)) void put(char character) {
  while ((UART_STATE & UART_IS_EMPTY) == 0) {
  }
  UART_DATA = (uint8_t)character;
}

static void begin_console(void) {}

static uint64_t instructions(void) {
  uint32_t high, low, again;
  do {
    __asm__ volatile(
        ".option push\n\t"
        ".option arch, +zicsr\n\t"
        "csrr %0, minstreth\n\t"
        "csrr %1, minstret\n\t"
        "csrr %2, minstreth\n\t"
        ".option pop"
        : "=&r"(high), "=&r"(low), "=r"(again));
  } while (high != again);
  return (uint64_t)high << 32 | low;
}

static uint64_t begin_ticks(void) { return instructions(); }

static uint64_t end_ticks(void) { return instructions(); }

#endif
