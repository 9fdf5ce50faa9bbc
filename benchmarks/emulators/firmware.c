/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest program around a model, the same on every emulator. An engine writes the input at firmware_input. Either
 * it calls firmware_infer itself until firmware_idle and reads firmware_output, or it lets the program run from reset:
 * then one inference runs, and the console says
 *     ticks 00000000000012ab      (of SysTick, or instructions of RISC-V, during firmware_infer)
 *     output 017fff...            (bytes in hexadecimal, 32 a line)
 *     end
 * before the program idles; a fault says "fault". The console is the CMSDK UART of Arm's MPS2 boards, or the 16550 of
 * QEMU's virt; a core without interrupts, UART or SysTick can still be driven in the first way. */
#include <stdint.h>

#include FIRMWARE_HEADER

extern uint32_t firmware_data[], firmware_data_end[], firmware_data_load[];
extern uint32_t firmware_bss[], firmware_bss_end[], firmware_stack[];

/* The input is not cleared at reset: an engine may have put it there before. */
__attribute__((section(".noinit"), aligned(16))) int8_t firmware_input[FIRMWARE_INPUT_BYTES];
int8_t firmware_output[FIRMWARE_OUTPUT_BYTES] __attribute__((aligned(16)));

void firmware_reset(void);
void firmware_main(void);
void firmware_infer(void);
void firmware_report(uint32_t high, uint32_t low);
void firmware_fault(void);
void firmware_idle(void);

#ifdef __riscv
#include "firmware_riscv.h"
#else
#include "firmware_arm.h"
#endif

__attribute__((used, noinline)) void firmware_idle(void) {
  for (;;) __asm__ volatile("nop");
}

__attribute__((used, noinline)) void firmware_infer(void) { FIRMWARE_INVOKE(firmware_input, firmware_output); }

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
  begin_console();
  const uint64_t begin = begin_ticks();
  firmware_infer();
  const uint64_t ticks = end_ticks() - begin;
  firmware_report((uint32_t)(ticks >> 32), (uint32_t)ticks);
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
