# SPDX-License-Identifier: Apache-2.0
"""What is in a folder, for machines."""

from collections.abc import Mapping, Sequence

from tflm_export.rtl.design import Design
from tflm_export.rtl.headers import localparams
from tflm_export.rtl.parameters import Parameters
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.tables import Placed, layers_table


def factor_bits(parameters: Parameters, layers: Sequence[Placed]) -> int:
    """The bits of all multipliers and shifts of rescaled layers, which tables or their heads hold."""
    return sum(placed.factors for placed in layers) * parameters.factor_bits


def index(design: Design, layers: Sequence[Placed], counts: Sequence[int]) -> dict:
    """The contents of index.json that are of the design.

    Args:
      design: the design.
      layers: its layers with their tables.
      counts: how many vectors there are of each layer.
    """
    factors = sum(placed.factors for placed in layers)
    bits = factor_bits(design.parameters, layers)
    return {
        "block": design.parameters.coding.block,
        "parameters": localparams(design),
        "factors": factors,
        "factor_bits": design.parameters.factor_bits,
        "factor_bytes": -(-bits // 8),
        "channel_records": channel_records(layers),
        "layer_records": _layer_records(layers),
        "layers": [_layer(placed, count, design.parameters) for placed, count in zip(layers, counts, strict=True)],
        "without_block": [{"operator": label, "reason": reason} for label, reason in design.without],
    }


def channel_records(layers: Sequence[Placed]) -> dict:
    """The records of all channels, which one memory may have."""
    tables = [placed.table for placed in layers if isinstance(placed.layer, Rescaled)]
    records, bits = sum(table.records for table in tables), tables[0].bits
    return {"records": records, "record_bits": bits, "bytes": -(-records * bits // 8), "layout": tables[0].layout}


def _layer_records(layers: Sequence[Placed]) -> dict:
    table = layers_table(layers)
    return {"table": table.path, "record_bits": table.bits, "layout": table.layout}


def _layer(placed: Placed, count: int, parameters: Parameters) -> dict:
    layer, table = placed.layer, placed.table
    origin = layer.step.origin
    found: dict = {
        "layer": placed.number,
        "subgraph": origin.subgraph,
        "operator": origin.index,
        "name": origin.name,
        "output": origin.output,
        "form": type(layer.step.form).__name__,
        "block": layer.block,
        "table": table.path,
        "record_bits": table.bits,
        "layout": table.layout,
        "vectors": count,
    }
    return found | (_rescaled(placed, layer, parameters) if isinstance(layer, Rescaled) else {"record": placed.record})


def _rescaled(placed: Placed, layer: Rescaled, parameters: Parameters) -> Mapping:
    part = layer.accumulation
    bits = placed.factors * parameters.factor_bits
    return {
        "part": part.part,
        "records": placed.table.records,
        "first_record": placed.record,
        "constants": {field.name: int(field.values[0]) for field in placed.table.constants},
        "accumulator": [int((part.low + layer.offset).min()), int((part.high + layer.offset).max())],
        "factors": placed.factors,
        "factor_bytes": -(-bits // 8),
        "reexpressed_channels": layer.changed,
    }
