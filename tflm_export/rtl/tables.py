# SPDX-License-Identifier: Apache-2.0
"""The tables of a design: of the channels of each rescaled layer, of all layers, of all sums and of all means.

The records of channels have one layout in all of a network, so that one reader does for it: a field that some layer has
for each channel is in every record. The others are in the table of layers.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from tflm_export.rtl.coding import bits_for
from tflm_export.rtl.design import Design, Layer
from tflm_export.rtl.labels import short
from tflm_export.rtl.means import mean_fields
from tflm_export.rtl.parameters import Parameters
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.sums import Sum, sum_fields
from tflm_export.rtl.table import Field, Table

ENDED = ("zero_point", "low", "high")  # which are seldom other ones in some channels of a layer
LAYERS = "tables/layers.hex"


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """A layer with its records.

    Attributes:
      number: of the layer, in vectors and in the table of layers.
      layer: the layer.
      table: where its records are.
      record: its one record in that of all sums or means; for a rescaled layer, which has a table of its own, the first
        of its records where those of all layers are in one memory.
    """

    number: int
    layer: Layer
    table: Table
    record: int

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
    own = _own_fields(design)
    found, first = [], 0
    for number, layer in enumerate(design.layers):
        if isinstance(layer, Rescaled):
            name = re.sub(r"[^a-z0-9]+", "_", layer.step.origin.name.lower())
            table = _of_channels(layer, design.parameters, f"tables/{number:0{digits}}_{name}.hex", own)
            found.append(Placed(number, layer, table, first))
            first += table.records
        elif isinstance(layer, Sum):
            found.append(Placed(number, layer, sums, design.sums.index(layer)))
        else:
            found.append(Placed(number, layer, means, design.means.index(layer)))
    return tuple(found)


def layers_table(layers: Sequence[Placed]) -> Table:
    """A record for each layer: where its channels are, and what is the same in them. Those of sums and means are 0."""
    rescaled = [placed for placed in layers if isinstance(placed.layer, Rescaled)]
    numbers = [placed.number for placed in rescaled]
    records = sum(placed.table.records for placed in rescaled)

    def of(name: str, bits: int, integers: list[int], is_signed: bool = False) -> Field:
        values = np.zeros(len(layers), np.int64)
        values[numbers] = integers
        return Field(name, bits, values, is_signed)

    same = zip(*(placed.table.constants for placed in rescaled), strict=True)
    return Table(
        LAYERS,
        ("a record for each layer: the first of its channels among all, and what is the same in all of its channels",),
        (
            of("first", bits_for(records - 1), [placed.record for placed in rescaled]),
            *(of(f[0].name, f[0].bits, [int(each.values[0]) for each in f], f[0].is_signed) for f in same),
        ),
    )


def lane_bits(layers: Sequence[Placed]) -> tuple[int, int]:
    """The widths of the number of a layer, and of the place of a channel among all."""
    return bits_for(len(layers) - 1), layers_table(layers).fields[0].bits


def _own_fields(design: Design) -> set[str]:
    """The names of what some layer has for each of its channels."""
    every = [(layer, field) for layer in design.rescaled for field in layer.fields(design.parameters)]
    return {
        field.name
        for layer, field in every
        if field.name == "bias" or (not field.is_constant if field.name in ENDED else not layer.is_shared)
    }


def _of_channels(layer: Rescaled, parameters: Parameters, path: str, own: set[str]) -> Table:
    fields = layer.fields(parameters)
    kept, same = (tuple(field for field in fields if (field.name in own) == is_own) for is_own in (True, False))
    return Table(path, (f"{short(layer.label)}: {layer.block}, a record for each channel",), kept, same)


def _together(block: str, layers, fields) -> Table:
    return Table(
        f"tables/{block}.hex", (f"{block}, a record for each of", *(f"  {short(x.label)}" for x in layers)), fields
    )
