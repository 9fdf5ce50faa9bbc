/* SPDX-License-Identifier: Apache-2.0 */
/* The two functions that the kernels need from outside. Some freestanding compilers have no string.h, yet call them. */
#ifndef NARROW_MEMORY_H
#define NARROW_MEMORY_H

#include <stddef.h>

#include "narrow_compiler.h"

#if defined(__has_include)
#define NARROW_HAS_STRING_H __has_include(<string.h>)
#else
#define NARROW_HAS_STRING_H 1
#endif

#if NARROW_HAS_STRING_H
#include <string.h>
#else
NARROW_C void *memcpy(void *to, const void *from, size_t bytes);
NARROW_C void *memset(void *to, int value, size_t bytes);
#endif

#endif
