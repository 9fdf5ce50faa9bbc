# SPDX-License-Identifier: Apache-2.0
"""`keep` with data: factors and biases chosen for what real inputs make of them, weights as they are."""

from tflm_export.kept.choice import choose

__all__ = ["choose"]
