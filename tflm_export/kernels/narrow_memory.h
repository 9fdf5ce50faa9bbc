/* SPDX-License-Identifier: Apache-2.0 */
/* The two functions that the kernels need from outside. Freestanding compilers have no string.h, yet call them. */
#ifndef NARROW_MEMORY_H
#define NARROW_MEMORY_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

#endif
