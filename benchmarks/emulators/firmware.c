/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest program around a model, the same on every emulator. An engine writes the input at firmware_input. Either
 * it calls firmware_infer itself until firmware_idle and reads firmware_output, or it lets the program run from reset:
 * then one inference runs, and the console says
 *     ticks 00000000000012ab      (of SysTick, during firmware_infer)
 *     output 017fff...            (bytes in hexadecimal, 32 a line)
 *     end
 * before the program idles; a fault says "fault". The console is the CMSDK UART of Arm's MPS2 boards; a core without
 * interrupts, UART or SysTick can still be driven in the first way. */
#include <stdint.h>

#include FIRMWARE_HEADER

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

extern uint32_t firmware_data[], firmware_data_end[], firmware_data_load[];
extern uint32_t firmware_bss[], firmware_bss_end[], firmware_stack[];

/* The input is not cleared at reset: an engine may have put it there before. */
__attribute__((section(".noinit"), aligned(16))) int8_t firmware_input[FIRMWARE_INPUT_BYTES];
int8_t firmware_output[FIRMWARE_OUTPUT_BYTES] __attribute__((aligned(16)));

static volatile uint32_t wraps; /* of SysTick */

void firmware_reset(void);
void firmware_main(void);
void firmware_infer(void);
void firmware_report(uint32_t high, uint32_t low);
void firmware_fault(void);
void firmware_tick(void);
void firmware_idle(void);

/* Exceptions 0 to 15: stack, reset, NMI, HardFault, MemManage, BusFault, UsageFault, SecureFault, ..., SysTick. */
__attribute__((used, section(".vectors"))) void (*const firmware_vectors[16])(void) = {
    (void (*)(void))firmware_stack, firmware_reset, firmware_fault, firmware_fault, firmware_fault, firmware_fault,
    firmware_fault,                 firmware_fault, firmware_fault, firmware_fault, firmware_fault, firmware_fault,
    firmware_fault,                 firmware_fault, firmware_fault, firmware_tick};

__attribute__((used, noinline)) void firmware_idle(void) {
  for (;;) __asm__ volatile("nop");
}

__attribute__((used)) void firmware_tick(void) { wraps = wraps + 1; }

__attribute__((used, noinline)) void firmware_infer(void) { FIRMWARE_INVOKE(firmware_input, firmware_output); }

static __attribute__((noinline)) void put(char character) {
  while (UART_STATE & 1u) { /* its buffer is full */
  }
  UART_DATA = (uint32_t)character;
}

static __attribute__((noinline)) void put_text(const char *text) {
  while (*text) put(*text++);
}

static __attribute__((noinline)) void put_hex(uint32_t value, int32_t digits) {
  while (digits-- > 0) put("0123456789abcdef"[value >> (4 * digits) & 15u]);
}

__attribute__((used, noinline)) void firmware_report(uint32_t high, uint32_t low) {
  put_text("ticks ");
  put_hex(high, 8);
  put_hex(low, 8);
  for (uint32_t i = 0; i < sizeof firmware_output; ++i) {
    if (i % 32 == 0) put_text("\noutput ");
    put_hex((uint8_t)firmware_output[i], 2);
  }
  put_text("\nend\n");
}

__attribute__((used)) void firmware_fault(void) {
  put_text("\nfault\n");
  firmware_idle();
}

__attribute__((used, noinline)) void firmware_main(void) {
  UART_DIVIDER = 16; /* the least it takes */
  UART_CONTROL = 1;  /* transmit */
  SYSTICK_RELOAD = (1u << SYSTICK_BITS) - 1u;
  SYSTICK_CONTROL = 7; /* on, with exceptions, at the processor's clock */
  SYSTICK_CURRENT = 0; /* any value clears it; a tick later it counts down from the reload value */
  firmware_infer();
  uint32_t left, wrapped;
  do {
    wrapped = wraps;
    left = SYSTICK_CURRENT;
  } while (wrapped != wraps);
  SYSTICK_CONTROL = 0;
  const uint32_t passed = ((1u << SYSTICK_BITS) - left) & ((1u << SYSTICK_BITS) - 1u);
  firmware_report(wrapped >> (32 - SYSTICK_BITS), (wrapped << SYSTICK_BITS) + passed);
  firmware_idle();
}

__attribute__((used)) void firmware_reset(void) {
  uint32_t *from = firmware_data_load;
  for (uint32_t *to = firmware_data; to < firmware_data_end;) *to++ = *from++;
  for (volatile uint32_t *to = firmware_bss; to < firmware_bss_end;) *to++ = 0;
#ifdef FIRMWARE_SETUP
  FIRMWARE_SETUP();
#endif
  firmware_main();
}
