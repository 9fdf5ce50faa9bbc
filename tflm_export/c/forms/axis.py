# SPDX-License-Identifier: Apache-2.0
"""Windows for the general kernels: kernels/narrow_axis.h."""

import math

from tflm_export.program.windows import Axis, Windows


def axes(windows: Windows) -> str:
    """The initialisers of the narrow_axis of height and width."""
    return f"{_axis(windows.height)}, {_axis(windows.width)}"


def _axis(axis: Axis) -> str:
    common = math.gcd(axis.dilation, axis.spread)
    numbers = (
        *(axis.size, axis.output),
        *(axis.kernel, axis.stride, axis.dilation),
        *(axis.before, axis.spread),
        *(axis.spread // common, axis.dilation // common),
    )
    return f"{{{', '.join(map(str, numbers))}}}"
