# SPDX-License-Identifier: Apache-2.0
"""The explicit multipliers of a narrowed model, as a metadata entry for hardware compilers and people.

Entry `keras_rat.rescale`, a FlexBuffer:

    {"version": 1, "bits": k, "method": "...", "rounding": "half_up",
     "operators": [{"subgraph": i, "operator": j, "op": "CONV_2D", "bits": k, "multiplier": [m...], "shift": [s...],
                    "accumulator_bound": largest |acc| over all int8 inputs, left out where unknown}, ...]}

Beside bits, which are then those of its widest multiplier, a grid that has a name is there by that: `"grid": "csd2"`.

with one multiplier and shift for each rescale factor: output channels, or the inputs of an operator without weights.
Stock runtimes ignore it, and it is never the only source: the same pairs follow from the scales (`Grid.recover`).

Netron's model properties list every entry by name, but show a value only where it is text, printable ASCII of less than
256 bytes. Entry `keras_rat.summary` is such a line, for people who open the model there.
"""

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.metadata_buffers import add_metadata, metadata_names, read_metadata
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.ops import op_for
from tflm_export.report import Report

NAME = "keras_rat.rescale"
SUMMARY = "keras_rat.summary"
VERSION = 1


def attach(data: bytes, report: Report) -> bytes:
    """The file with the entries that describe its narrow operators, older ones replaced.

    Args:
      data: the narrowed file.
      report: what `narrow` reported of it.
    """
    from flatbuffers import flexbuffers

    operators = {operator.key: operator for operator in parse(data).operators}
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in (("version", VERSION), ("bits", report.bits)):
            builder.Key(key)
            builder.Int(value)
        for key, value in (("method", report.method), ("rounding", "half_up"), *_named(report.grid)):
            builder.Key(key)
            builder.String(value)
        builder.Key("operators")
        with builder.Vector():
            for row in report.rows:
                if row.narrow and not row.reason:
                    _operator(builder, operators[row.subgraph, row.index], row)
    summary = f"{report.method}: {report.summary()}"
    return add_metadata(data, {NAME: bytes(builder.Finish()), SUMMARY: summary.encode()})


def detach(data: bytes) -> bytes:
    """The file without the entries that `attach` adds, which describe multipliers it may no longer have.

    Raises:
      ModelError: the file is damaged.
    """
    return add_metadata(data, {}, without=(NAME, SUMMARY)) if {NAME, SUMMARY} & {*metadata_names(data)} else data


def _named(grid: Grid) -> list[tuple[str, str]]:
    """The entry of a grid that is no number of bits."""
    return [] if isinstance(grid, Grid) else [("grid", grid.name)]


def _operator(builder, operator, row) -> None:
    recovered = row.grid.recover(op_for(operator).factors(operator))
    with builder.Map():
        for key, value in (
            ("subgraph", row.subgraph),
            ("operator", row.index),
            ("bits", row.bits),
            ("accumulator_bound", row.accumulator),
        ):
            if value is not None:
                builder.Key(key)
                builder.Int(value)
        for key, value in (("op", row.op), *_named(row.grid)):
            builder.Key(key)
            builder.String(value)
        for key, values in (("multiplier", recovered.multiplier), ("shift", recovered.shift)):
            builder.Key(key)
            builder.TypedVectorFromElements(np.ravel(values).tolist())


def dump(data: bytes) -> dict:
    """The entry of a narrowed file.

    Raises:
      ModelError: the file has none, or one of another version.
    """
    from flatbuffers import flexbuffers

    content = read_metadata(parse(data).data, NAME)
    if content is None:
        raise ModelError(f"the model has no metadata entry {NAME}; narrow it with tflm_export first")
    try:
        entry = flexbuffers.Loads(content)
    except Exception as error:  # the decoder raises whatever the damaged bytes lead to
        raise ModelError(f"the metadata entry {NAME} is damaged") from error
    if not isinstance(entry, dict) or entry.get("version") != VERSION:
        raise ModelError(f"the metadata entry {NAME} is not of version {VERSION}")
    return entry
