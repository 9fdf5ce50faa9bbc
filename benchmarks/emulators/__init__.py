# SPDX-License-Identifier: Apache-2.0
"""Emulated Cortex-M boards: firmware for them, and engines that run it and count."""
