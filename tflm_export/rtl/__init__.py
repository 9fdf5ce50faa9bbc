# SPDX-License-Identifier: Apache-2.0
"""The hardware back end: rescalers in Verilog, and a model's parameters, tables and vectors for them.

Knows forms and no operators.
"""

from tflm_export.rtl.blocks import VERILOG, sources
from tflm_export.rtl.hardware import Hardware, emit, translate
from tflm_export.rtl.parameters import Wanted

__all__ = ["VERILOG", "Hardware", "Wanted", "emit", "sources", "translate"]
