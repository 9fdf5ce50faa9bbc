/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between compilers, and the rules by which one source serves them all.
 *
 * Kernels and generated sources are C99 and, in the same files, C++17, without warnings of gcc and clang: -Wall -Wextra
 * -Wpedantic -Wconversion -Wsign-conversion -Wshadow. They build at -O0, -Og, -Os, -O2, -O3 and with -flto. So:
 *
 *   - Every function that another file may call is defined with NARROW_KERNEL in front and declared, without it, in a
 *     header, between NARROW_C_BEGIN and NARROW_C_END. All else is static. Two exported folders in one program then
 *     share the kernels, also where all their files are linked at once. Variables are static const or on the stack.
 *   - What is to be inlined is static NARROW_INLINE, and is called by its name. A parameter that chooses among such
 *     functions is an enumerator, as narrow_end is, never a pointer: gcc -Og refuses to inline a call through one.
 *   - void * is cast to what it points to; no restrict, no designated initializers, no compound literals, no variable
 *     length arrays, and 0 is no enumerator: C++17 has none of these. A negative number is multiplied by a power of
 *     two, not shifted to the left.
 *   - Every narrowing of a type is a cast; so is every change of sign.
 *   - __attribute__, __builtin_ and __asm__ stand under NARROW_GNU, with the same in plain C for all others.
 *     Instructions of a core stand under one of the macros for them below; tests on other machines run what stands in
 *     their place.
 *   - Inputs, outputs and weights of one byte may lie at any address; all else is aligned to its type. What reads bytes
 *     as a word does so through narrow_word of narrow_dsp.h, the first byte lowest on every machine.
 *
 * tests/kernels/test_compilers.py holds all of it, over every file in this folder. */
#ifndef NARROW_COMPILER_H
#define NARROW_COMPILER_H

#ifdef NARROW_CONFIG /* a header of yours that defines any of the macros that are for you */
#include NARROW_CONFIG
#endif

/* GNU's attributes, builtins and assembly: gcc, clang and their descendants, such as Arm Compiler 6. IAR's compiler and
 * Arm Compiler 5 may say that they are, but do not read GNU's assembly: they get plain C. */
#if defined(__GNUC__) && !defined(__ICCARM__) && !defined(__CC_ARM) && !defined(NARROW_NO_GNU)
#define NARROW_GNU 1
#else
#define NARROW_GNU 0
#endif

#if NARROW_GNU
#define NARROW_INLINE inline __attribute__((always_inline))
#else
#define NARROW_INLINE inline
#endif

#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#define NARROW_LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#else
#define NARROW_LITTLE_ENDIAN 0 /* for all that is known */
#endif

/* Instructions of Arm cores that kernels use. Assembly for big-endian ones is not written: they get plain C, too.
 *
 * NARROW_THUMB_1: ARMv6-M and ARMv8-M Baseline: no SSAT, no product of 64 bits. NARROW_HAS_SSAT: compilers promise it
 * of ARMv8-M Baseline, too, which has none. NARROW_DSP: SMLAD, SXTB16 and the like. NARROW_DSP_LOOPS, NARROW_V6M_LOOPS:
 * whole loops in assembly, of Thumb-2 with them, and of any Thumb of the M profile. */
#if NARROW_GNU && defined(__thumb__) && !defined(__thumb2__) && !defined(NARROW_NO_V6M)
#define NARROW_THUMB_1 1
#else
#define NARROW_THUMB_1 0
#endif
#if NARROW_GNU && defined(__ARM_FEATURE_SAT) && (defined(__thumb2__) || !defined(__thumb__))
#define NARROW_HAS_SSAT 1
#else
#define NARROW_HAS_SSAT 0
#endif
#if NARROW_GNU && defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN) && !defined(NARROW_NO_DSP)
#define NARROW_DSP 1
#else
#define NARROW_DSP 0
#endif
#if NARROW_DSP && defined(__thumb2__)
#define NARROW_DSP_LOOPS 1
#else
#define NARROW_DSP_LOOPS 0
#endif
#if NARROW_GNU && defined(__thumb__) && defined(__ARM_ARCH_PROFILE) && !defined(__ARM_BIG_ENDIAN) && \
    !defined(NARROW_NO_V6M)
#define NARROW_V6M_LOOPS (__ARM_ARCH_PROFILE == 'M')
#else
#define NARROW_V6M_LOOPS 0
#endif

/* Whether products are instructions: RISC-V says so. NARROW_NO_MULTIPLIER is for tests. */
#if defined(NARROW_NO_MULTIPLIER) || (defined(__riscv) && !defined(__riscv_mul) && !defined(__riscv_zmmul))
#define NARROW_MULTIPLIER 0
#else
#define NARROW_MULTIPLIER 1
#endif

/* In front of a function with loops, in C; narrow_assembly.h does the same for those in assembly. NARROW_HOT_SECTION is
 * yours, a string: the section of code that your start-up code copies to RAM, where flash makes the core wait. */
#if defined(NARROW_HOT_SECTION) && NARROW_GNU
#define NARROW_HOT __attribute__((section(NARROW_HOT_SECTION)))
#else
#define NARROW_HOT
#endif

/* In front of what walks over the tiles or planes of a layer: each layer has it with its own sizes in it, which is the
 * fastest. NARROW_SMALL makes it a function that layers share, for clang: gcc finds what to share by itself, and its
 * programs get larger by that. */
#if defined(NARROW_SMALL) && NARROW_GNU && defined(__clang__)
#define NARROW_WALK NARROW_HOT __attribute__((noinline, unused))
#else
#define NARROW_WALK NARROW_INLINE
#endif

/* Between stores of halves of a word: gcc would put them together in registers first, for twice their cycles. */
#if NARROW_GNU && !defined(__clang__)
#define NARROW_STORES_APART __asm__ volatile("" : : : "memory")
#else
#define NARROW_STORES_APART ((void)0)
#endif

/* In front of a short loop whose number of turns is a constant where it is inlined: all of them are written out, for
 * registers in the place of arrays. clang does so by itself. */
#if NARROW_GNU && !defined(__clang__) && __GNUC__ >= 8
#define NARROW_WRITTEN_OUT _Pragma("GCC unroll 16")
#else
#define NARROW_WRITTEN_OUT
#endif

/* In front of a kernel's definition: of several in a program, all the same, the linker keeps one. Other compilers need
 * a library for each exported folder, or the kernels of one. */
#if defined(NARROW_KERNEL)
/* as given */
#elif NARROW_GNU
#define NARROW_KERNEL NARROW_HOT __attribute__((weak))
#elif defined(__ICCARM__) || defined(__CC_ARM)
#define NARROW_KERNEL __weak
#else
#define NARROW_KERNEL
#endif

/* Around declarations of what other files define, and before a single one: their names are those of C and assembly. */
#ifdef __cplusplus
#define NARROW_C extern "C"
#define NARROW_C_BEGIN extern "C" {
#define NARROW_C_END }
#else
#define NARROW_C extern
#define NARROW_C_BEGIN
#define NARROW_C_END
#endif

#endif
