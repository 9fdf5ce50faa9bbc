# SPDX-License-Identifier: Apache-2.0
"""Mean and maximum of windows, of any types."""

from tflm_export.c.forms.axis import axes
from tflm_export.c.forms.products import INT32_REACH, short
from tflm_export.c.initializer import initializer
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.program.form import reach
from tflm_export.program.pool import AveragePool, Pool
from tflm_export.program.program import Step


def pool(step: Step[Pool]) -> CStep:
    """A pool through kernels/narrow_window_pools.h.

    Raises:
      UnsupportedError: the sum of a window could leave 32 bits.
    """
    form, (x,) = step.form, step.form.inputs
    images, _, _, channels = x.shape
    windows, (low, high) = form.windows, form.clamp
    is_mean, elements = isinstance(form, AveragePool), windows.height.kernel * windows.width.kernel
    if is_mean and elements * reach(x, 0) + elements // 2 >= INT32_REACH:
        raise UnsupportedError(f"sums of {elements} elements of {x.dtype.name.upper()} can leave 32 bits")
    sizes = {"images": images, "channels": channels}
    types = f"{int(is_mean)}, {short(x.dtype)}, {short(form.output.dtype)}"
    statements = (
        f"static const narrow_pooled windows = {initializer(sizes | axes(windows))};",
        f"narrow_pool_windows({types}, &windows, {low}, {high}, x0, y);",
    )
    return CStep(step.origin, form.inputs, form.outputs, statements, kernels=("narrow_window_pools.h",))
