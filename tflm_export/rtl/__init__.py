# SPDX-License-Identifier: Apache-2.0
"""Rescalers in hardware: blocks in Verilog, and a model's tables, parameters and vectors for them."""

from tflm_export.rtl.blocks import VERILOG, sources

__all__ = ["VERILOG", "sources"]
