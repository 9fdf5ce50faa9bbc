/* SPDX-License-Identifier: Apache-2.0 */
/* Of firmware.c, for the boards of Cortex-M cores: exceptions, the CMSDK UART of Arm's MPS2 boards, SysTick. */
#ifndef FIRMWARE_ARM_H
#define FIRMWARE_ARM_H

#ifndef FIRMWARE_UART
#define FIRMWARE_UART 0x40004000u
#endif

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART_DATA REGISTER(FIRMWARE_UART)
#define UART_STATE REGISTER(FIRMWARE_UART + 4u)
#define UART_CONTROL REGISTER(FIRMWARE_UART + 8u)
#define UART_DIVIDER REGISTER(FIRMWARE_UART + 16u)
#define SYSTICK_CONTROL REGISTER(0xE000E010u)
#define SYSTICK_RELOAD REGISTER(0xE000E014u)
#define SYSTICK_CURRENT REGISTER(0xE000E018u)
#define SYSTICK_BITS 24

static volatile uint32_t wraps; /* of SysTick */

void firmware_tick(void);

/* Exceptions 0 to 15: stack, reset, NMI, HardFault, MemManage, BusFault, UsageFault, SecureFault, ..., SysTick. */
__attribute__((used, section(".vectors"))) void (*const firmware_vectors[16])(void) = {
    (void (*)(void))firmware_stack, firmware_reset, firmware_fault, firmware_fault, firmware_fault, firmware_fault,
    firmware_fault,                 firmware_fault, firmware_fault, firmware_fault, firmware_fault, firmware_fault,
    firmware_fault,                 firmware_fault, firmware_fault, firmware_tick};

__attribute__((used)) void firmware_tick(void) { wraps = wraps + 1; }

static __attribute__((noinline)) void put(char character) {
  while (UART_STATE & 1u) { /* its buffer is full */
  }
  UART_DATA = (uint32_t)character;
}

static void begin_console(void) {
  UART_DIVIDER = 16; /* the least it takes */
  UART_CONTROL = 1;  /* transmit */
}

static uint64_t begin_ticks(void) {
  SYSTICK_RELOAD = (1u << SYSTICK_BITS) - 1u;
  SYSTICK_CONTROL = 7; /* on, with exceptions, at the processor's clock */
  SYSTICK_CURRENT = 0; /* any value clears it; a tick later it counts down from the reload value */
  return 0;
}

static uint64_t end_ticks(void) {
  uint32_t left, wrapped;
  do {
    wrapped = wraps;
    left = SYSTICK_CURRENT;
  } while (wrapped != wraps);
  SYSTICK_CONTROL = 0;
  const uint32_t passed = ((1u << SYSTICK_BITS) - left) & ((1u << SYSTICK_BITS) - 1u);
  return ((uint64_t)wrapped << SYSTICK_BITS) + passed;
}

#endif
