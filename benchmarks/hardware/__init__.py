# SPDX-License-Identifier: Apache-2.0
"""What rescalers cost in hardware, and whether they compute what the simulator does."""
