# SPDX-License-Identifier: Apache-2.0
"""The rescale factors of a model, for reports and other tools."""

import os

import numpy as np

from tflm_export.flatbuffer.model import parse
from tflm_export.ops import op_for


def factors(data: bytes | str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The factors by which the operators of a model rescale.

    Args:
      data: a .tflite file, or its path.

    Returns:
      float64 [channels], or [inputs] of an operator without weights, by index and name ("3 CONV_2D"), in execution
      order; operators of subgraphs behind the first are "1.3 CONV_2D". Operators that rescale nothing are left out.

    Raises:
      UsageError: there is no such file.
      ModelError: the file is no model, or damaged.
    """
    found = {}
    for operator in parse(data).operators:
        values = op_for(operator).factors(operator)
        if values is not None:
            place = f"{operator.subgraph}.{operator.index}" if operator.subgraph else f"{operator.index}"
            found[f"{place} {operator.name}"] = values.ravel()
    return found
