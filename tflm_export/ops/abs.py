# SPDX-License-Identifier: Apache-2.0
"""ABS: `y = Zy + Sx/Sy * |x - Zx|`."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.unary import Unary
from tflm_export.program.form import Rescaling, centred, reach
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.value import value_of


@register("ABS")
class Abs(Unary):
    """A function of one integer: all its values."""

    def lower(self, operator, arithmetic):
        """Source: AbsEvalQuantized in tensorflow/lite/kernels/elementwise.cc."""
        x, y = operator.inputs[0], operator.outputs[0]
        value, target = value_of(x), value_of(y)
        rescale = arithmetic.rescale(arithmetic.quotient(x.scale, y.scale))
        integers = rescale.apply(np.abs(centred(every_integer(value.dtype), x.zero_point))) + y.zero_point
        table = np.clip(integers, *target.limits).astype(target.dtype)
        inside = (Rescaling(rescale, np.array([float(reach(value, x.zero_point))])),)
        return (Lookup(inputs=(value,), outputs=(target,), table=table, inside=inside),)
