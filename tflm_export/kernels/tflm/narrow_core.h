// SPDX-License-Identifier: Apache-2.0
// Which kernels run an operator: on cores with the DSP extension those that multiply two weights at a time where they
// stand in the file, elsewhere the portable ones.
#ifndef NARROW_CORE_H
#define NARROW_CORE_H

extern "C" {
#include "narrow_in_place.h"
}

namespace narrow {

#if defined(__ARM_FEATURE_DSP)
constexpr bool kHasDsp = true;
#else
constexpr bool kHasDsp = false;
#endif

}  // namespace narrow

#endif  // NARROW_CORE_H
