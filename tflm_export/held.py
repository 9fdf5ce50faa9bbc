# SPDX-License-Identifier: Apache-2.0
"""Which integers hold an input of a model, and the real numbers that they reach."""

import numpy as np

from tflm_export.flatbuffer.model import Model, Tensor


def holder(model: Model, tensor: Tensor) -> Tensor:
    """The input itself, or where it is a real number that a QUANTIZE alone reads, what that gives."""
    if tensor.type != "FLOAT32":
        return tensor
    readers = [o for o in model.subgraphs[0].operators if any(t is tensor for t in o.inputs)]
    found = [o.outputs[0] for o in readers if o.name == "QUANTIZE"]
    return found[0] if len(found) == len(readers) == 1 else tensor


def real_range(model: Model, tensor: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest real number that an input can hold; None where there is no scale that says so."""
    held = holder(model, tensor)
    if not held.is_quantized:
        return None
    limits = np.iinfo(held.type.lower())
    low, high = ((end - held.zero_point) * held.scale for end in (limits.min, limits.max))
    return low, high
