"""Emulated Cortex-M boards: firmware for them, and engines that run it and count."""
