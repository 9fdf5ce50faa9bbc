/* SPDX-License-Identifier: Apache-2.0 */
/* The two functions that the kernels need from outside. Some freestanding compilers have no string.h, yet call them. */
#ifndef NARROW_MEMORY_H
#define NARROW_MEMORY_H

#include <stddef.h>

#ifdef __cplusplus
#include <string.h> /* there, declarations of a program's own would not be those of its library */
#else
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
#endif

#endif
