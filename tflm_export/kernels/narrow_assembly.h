/* SPDX-License-Identifier: Apache-2.0 */
/* Functions in assembly, for a whole file of C or by a macro, which several files may use with the same sizes: the
 * linker keeps one of them, and so does the assembler of what -flto has made one file. */
#ifndef NARROW_ASSEMBLY_H
#define NARROW_ASSEMBLY_H

#include "narrow_compiler.h"

#ifdef NARROW_HOT_SECTION
#define NARROW_ASSEMBLY_SECTION NARROW_HOT_SECTION
#else
#define NARROW_ASSEMBLY_SECTION ".text"
#endif

#define NARROW_ASSEMBLY_BEGIN(name)                                        \
  ".ifndef " name "\n\t"                                                   \
  ".syntax unified\n\t"                                                    \
  ".section " NARROW_ASSEMBLY_SECTION "." name ", \"ax\", %progbits\n\t"   \
  ".align 2\n\t"                                                           \
  ".weak " name "\n\t"                                                     \
  ".type " name ", %function\n\t"                                          \
  ".thumb_func\n" name ":\n\t"

#define NARROW_ASSEMBLY_END(name)    \
  ".size " name ", . - " name "\n\t" \
  ".endif\n\t"                       \
  ".text\n"

#endif
