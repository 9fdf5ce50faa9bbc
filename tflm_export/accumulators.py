# SPDX-License-Identifier: Apache-2.0
"""How wide accumulators can be in hardware, in bits."""

LEAST = 8
MOST = 48  # the runtimes' own, of int16x8 models
WIDEST = {8: 24, 16: MOST}  # that hardware is made for without being asked, by the bits of outputs
