/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dense_v6m.h"

NARROW_DENSE_V6M(narrow_fully_connected_lanes_v6m, LANES)
