/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dense_dsp.h"

NARROW_DENSE_DSP(narrow_fully_connected_lanes_dsp, LANES)
