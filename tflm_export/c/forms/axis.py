# SPDX-License-Identifier: Apache-2.0
"""Windows for the general kernels: kernels/narrow_axis.h."""

import math

from tflm_export.c.initializer import initializer
from tflm_export.program.windows import Axis, Windows

_FIELDS = ("size", "output", "kernel", "stride", "dilation", "before", "spread")


def axes(windows: Windows) -> dict[str, str]:
    """The narrow_axis `height` and `width` of a structure."""
    return {"height": _axis(windows.height), "width": _axis(windows.width)}


def _axis(axis: Axis) -> str:
    common = math.gcd(axis.dilation, axis.spread)
    fields = {name: getattr(axis, name) for name in _FIELDS}
    return initializer(fields | {"tap_step": axis.spread // common, "element_step": axis.dilation // common})
