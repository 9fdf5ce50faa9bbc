# SPDX-License-Identifier: Apache-2.0
"""The windows that an operator's options describe."""

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import PADDING_SAME
from tflm_export.flatbuffer.reader import INT8
from tflm_export.program.windows import Windows, axis_of


def windows(operator: Operator, fields, image_shape: tuple, kernel: tuple[int, int], dilated: bool = True) -> Windows:
    """The windows of an operator.

    Args:
      operator: its options are read.
      fields: the enumeration of its option table, with PADDING, STRIDE_H, ...
      image_shape: [rows, height, width, channels].
      kernel: height and width.
      dilated: whether the table has dilation factors.

    Raises:
      ModelError: strides or dilations under 1, or a window larger than the image.
    """
    strides = [operator.option(field) for field in (fields.STRIDE_H, fields.STRIDE_W)]
    dilations = [operator.option(f, default=1) for f in (fields.DILATION_H, fields.DILATION_W)] if dilated else [1, 1]
    same = operator.option(fields.PADDING, INT8) == PADDING_SAME
    if len(image_shape) != 4 or min(*strides, *dilations, *kernel) < 1:
        raise ModelError(
            f"the file is damaged: {operator.label} has strides {strides}, dilations {dilations}, a kernel of "
            f"{list(kernel)} and an input of shape {list(image_shape)}"
        )
    axes = [axis_of(image_shape[1 + i], kernel[i], strides[i], dilations[i], same) for i in (0, 1)]
    if min(axis.output for axis in axes) < 1:
        raise ModelError(f"the file is damaged: {operator.label} has windows larger than its input")
    return Windows(*axes)
