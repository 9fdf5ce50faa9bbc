# SPDX-License-Identifier: Apache-2.0
"""The tables of a design: of the channels of each rescaled layer, and one each for all sums and all means."""

import dataclasses
import re

from tflm_export.rtl.design import Design, Layer
from tflm_export.rtl.means import mean_fields
from tflm_export.rtl.parameters import Parameters
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.sums import Sum, sum_fields
from tflm_export.rtl.table import Table

ENDED = ("zero_point", "low", "high")  # which are seldom other ones in some channels of a layer


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """A layer with its records.

    Attributes:
      number: of the layer, in vectors.
      layer: the layer.
      table: where its records are.
      record: its one record in that of all sums or means; 0 for a rescaled layer, which has a table of its own.
    """

    number: int
    layer: Layer
    table: Table
    record: int = 0

    @property
    def factors(self) -> int:
        """How many multipliers with a shift a rescaled layer has: one where all channels share it; else 0."""
        if not isinstance(self.layer, Rescaled):
            return 0
        return 1 if self.layer.is_shared else self.table.records


def placed(design: Design) -> tuple[Placed, ...]:
    """The layers of a design with their tables."""
    sums = design.sums and _together("narrow_add", design.sums, sum_fields(design.sums, design.sum_parameters))
    means = design.means and _together("narrow_mean", design.means, mean_fields(design.means, design.mean_parameters))
    digits = max(2, len(str(len(design.layers) - 1)))
    found = []
    for number, layer in enumerate(design.layers):
        if isinstance(layer, Rescaled):
            name = re.sub(r"[^a-z0-9]+", "_", layer.step.origin.name.lower())
            path = f"tables/{number:0{digits}}_{name}.hex"
            found.append(Placed(number, layer, _of_channels(layer, design.parameters, path)))
        elif isinstance(layer, Sum):
            found.append(Placed(number, layer, sums, design.sums.index(layer)))
        else:
            found.append(Placed(number, layer, means, design.means.index(layer)))
    return tuple(found)


def _of_channels(layer: Rescaled, parameters: Parameters, path: str) -> Table:
    fields = layer.fields(parameters)
    same = [f for f in fields if (f.is_constant if f.name in ENDED else layer.is_shared and f.name != "bias")]
    kept = tuple(field for field in fields if field not in same)
    return Table(path, (f"{layer.label}: {layer.block}, a record for each channel",), kept, tuple(same))


def _together(block: str, layers, fields) -> Table:
    return Table(f"tables/{block}.hex", (f"{block}, a record for each of", *(f"  {x.label}" for x in layers)), fields)
