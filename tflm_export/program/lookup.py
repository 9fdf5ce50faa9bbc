# SPDX-License-Identifier: Apache-2.0
"""Any function of one integer, as all its values."""

import dataclasses

import numpy as np

from tflm_export.program.form import Broadcasting, Rescaling


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Broadcasting):
    """`y = table[x - smallest x]`.

    Attributes:
      table: an output for every integer of the input's type, from the smallest on.
      inside: rescales between the function's own steps.
    """

    table: np.ndarray
    inside: tuple[Rescaling, ...] = ()

    def evaluate(self, x):
        return (self.table[x.astype(np.int64) - self.inputs[0].limits[0]],)

    @property
    def rescalings(self):
        return self.inside


def every_integer(dtype) -> np.ndarray:
    """All integers of a type from the smallest on, int64."""
    limits = np.iinfo(dtype)
    return np.arange(limits.min, limits.max + 1)
