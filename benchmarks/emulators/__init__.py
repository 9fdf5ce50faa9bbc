# SPDX-License-Identifier: Apache-2.0
"""Emulated Cortex-M and RISC-V boards: firmware for them, and engines that run it and count."""
