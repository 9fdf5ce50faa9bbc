/* The smallest program around a model: an engine writes the input, runs firmware_infer until firmware_idle, and reads
 * the output. Left alone, it runs one inference on zeros and stops there. */
#include <stdint.h>

#include FIRMWARE_HEADER

extern uint32_t firmware_data[], firmware_data_end[], firmware_data_load[];
extern uint32_t firmware_bss[], firmware_bss_end[], firmware_stack[];

int8_t firmware_input[FIRMWARE_INPUT_BYTES] __attribute__((aligned(16)));
int8_t firmware_output[FIRMWARE_OUTPUT_BYTES] __attribute__((aligned(16)));

void firmware_reset(void);
void firmware_infer(void);
void firmware_idle(void);

__attribute__((used, section(".vectors"))) void (*const firmware_vectors[16])(void) = {
    (void (*)(void))firmware_stack, firmware_reset, firmware_idle, firmware_idle};

__attribute__((used, noinline)) void firmware_idle(void) {
  for (;;) __asm__ volatile("nop");
}

__attribute__((used, noinline)) void firmware_infer(void) { FIRMWARE_INVOKE(firmware_input, firmware_output); }

__attribute__((used)) void firmware_reset(void) {
  uint32_t *from = firmware_data_load;
  for (uint32_t *to = firmware_data; to < firmware_data_end;) *to++ = *from++;
  for (volatile uint32_t *to = firmware_bss; to < firmware_bss_end;) *to++ = 0;
  firmware_infer();
  firmware_idle();
}
