# SPDX-License-Identifier: Apache-2.0
"""A folder of --rtl, read as its README.md says, with Python's integers: what its tables and vectors come to."""

import json
import pathlib


def index(folder: pathlib.Path) -> dict:
    """Its index.json."""
    return json.loads((folder / "index.json").read_text(encoding="utf-8"))


def signed(word: int, bits: int) -> int:
    """An integer from its two's complement."""
    return word - (1 << bits) if word >> (bits - 1) & 1 else word


def records(folder: pathlib.Path, layer: dict) -> list[dict[str, int]]:
    """The records of a layer's table, field by field, with what is the same in all of them."""
    found = []
    for line in (folder / layer["table"]).read_text(encoding="ascii").splitlines():
        if not line.startswith("//"):
            word = int(line, 16)
            assert word >> layer["record_bits"] == 0
            fields = dict(layer.get("constants", {}))
            for place in layer["layout"]:
                value = word >> place["bit"] & ((1 << place["bits"]) - 1)
                fields[place["field"]] = signed(value, place["bits"]) if place["signed"] else value
            found.append(fields)
    return found


def wrong(folder: pathlib.Path) -> list[str]:
    """Lines of the vectors that the tables do not give."""
    listed = index(folder)
    parameters, layers = listed["parameters"], listed["layers"]
    tables = [records(folder, layer) for layer in layers]
    bits = {
        "narrow_add": parameters.get("ADD_IN_BITS"),
        "narrow_mean": parameters.get("MEAN_SUM_BITS"),
        listed["block"]: parameters["ACC_BITS"],
    }
    found, count = [], 0
    for line in (folder / "vectors.hex").read_text(encoding="ascii").splitlines():
        count += 1
        number, channel, *words = (int(word, 16) for word in line.split())
        layer = layers[number]
        width = bits[layer["block"]]
        first, second = (signed(word & ((1 << width) - 1), width) for word in words[:2])
        record = tables[number][channel if layer["block"] == listed["block"] else layer["record"]]
        y = _COMPUTED.get(layer["block"], _rescaled)(record, parameters, first, second)
        output = parameters[
            {"narrow_add": "ADD_OUT_BITS", "narrow_mean": "MEAN_OUT_BITS"}.get(layer["block"], "OUT_BITS")
        ]
        expected = signed(words[2] & ((1 << output) - 1), output)
        if min(max(y, record["low"]), record["high"]) != expected:
            found.append(line)
    assert count == listed["vectors"]["lines"] == sum(layer["vectors"] for layer in layers)
    return found


def _rescaled(record: dict, parameters: dict, total: int, _: int) -> int:
    width = parameters["ACC_BITS"]
    accumulator = signed((total + record["bias"]) & ((1 << width) - 1), width)
    if "MULTIPLIER_BITS" in parameters:
        multiplier = record.get("multiplier", 0) | 1 << (parameters["MULTIPLIER_BITS"] - 1)
    else:
        multiplier = (1 << record["distance"]) + (-1 if record["negative"] else 1)
    is_rounded = not parameters.get("FOLDED")
    return record["zero_point"] + _shifted(
        accumulator * multiplier, parameters["SHIFT_MIN"] + record["shift"], is_rounded
    )


def _added(record: dict, parameters: dict, a: int, b: int) -> int:
    total = record["start"]
    for name, x in (("a", a), ("b", b)):
        multiplier = record.get(f"multiplier_{name}", 0) | 1 << (parameters["ADD_MULTIPLIER_BITS"] - 1)
        total += (-x if record[f"negative_{name}"] else x) * (multiplier << record[f"align_{name}"])
    return _shifted(total, parameters["ADD_SHIFT_MIN"] + record["shift"])


def _averaged(record: dict, parameters: dict, total: int, _: int) -> int:
    return _shifted(total * record["multiplier"] + record["start"], parameters["MEAN_SHIFT_MIN"] + record["shift"])


def _shifted(value: int, shift: int, is_rounded: bool = False) -> int:
    half = (1 << shift) >> 1 if is_rounded and shift > 0 else 0
    return (value + half) >> shift if shift > 0 else value << -shift


_COMPUTED = {"narrow_add": _added, "narrow_mean": _averaged}
