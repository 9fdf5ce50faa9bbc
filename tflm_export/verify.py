# SPDX-License-Identifier: Apache-2.0
"""Runs a stock and a narrowed model on the installed runtimes, layer by layer."""

import dataclasses
import textwrap

import numpy as np

from tflm_export.compare import Agreement, agreement, worst
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Model, Operator, Tensor, parse
from tflm_export.isolated import RUNTIMES, RunError, tensors_of
from tflm_export.report import columns, place
from tflm_export.simulator import simulate, unsupported

SIMULATED = {"LiteRT reference": "tflite", "TFLM": "tflm"}
LONGEST_REASON = 240  # characters of a runtime's complaint in the text; LiteRT repeats its own for every tensor
NOT_VERIFIED = "not verified"
INTEGERS = ("INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL")


@dataclasses.dataclass(frozen=True)
class LayerChange:
    """The integers that an operator computes.

    Attributes:
      index, op: which operator.
      change: relative change from stock to narrowed, by runtime that keeps its tensors.
      differences: integers of the narrowed model that differ from the simulator's, by runtime; None where it does
        not run the model.
      subgraph: of the operator; runtimes run the main one, 0, alone.
    """

    index: int
    op: str
    change: dict[str, float]
    differences: dict[str, int | None]
    subgraph: int = 0

    @property
    def is_verified(self) -> bool:
        """Whether any runtime's integers could be compared with the simulator's."""
        return any(found is not None for found in self.differences.values())


@dataclasses.dataclass(frozen=True)
class Verification:
    """What the runtimes say.

    Attributes:
      outputs: agreement of the narrowed with the stock model, of the worst output, by runtime.
      layers: every operator that computes quantised integers or an integer output of the model, in execution order.
      failures: why a runtime could not run the models, by runtime.
    """

    outputs: dict[str, Agreement]
    layers: tuple[LayerChange, ...]
    failures: dict[str, str]

    @property
    def problem(self) -> str:
        """What is wrong; empty where nothing that could be compared is."""
        off = [layer for layer in self.layers if any(layer.differences.values())]
        return f"outputs of layers that are not the simulator's: {_names(off)}" if off else ""

    @property
    def unverified(self) -> str:
        """What no runtime could check; empty where all was checked."""
        if not self.outputs:
            return f"{NOT_VERIFIED}: no runtime could run the model"
        unknown = [layer for layer in self.layers if not layer.is_verified]
        return (
            f"{NOT_VERIFIED}, as no runtime could be compared with the simulator: {_names(unknown)}" if unknown else ""
        )

    def table(self) -> str:
        """The verification as text."""
        names = [name for name in self.outputs if name in SIMULATED]
        head = ("", "op", *(cell for name in names for cell in (name, "off")), "")
        lines = []
        if self.layers:
            rows = [head, *(_cells(layer, names) for layer in self.layers)]
            lines += ["change from stock to narrowed, by layer; off: integers other than simulated"]
            lines += [columns(rows, right={*range(len(head) - 1)} - {1})]
        lines += [f"{name}: {found}" for name, found in self.outputs.items()]
        same: dict[str, list[str]] = {}
        for name, reason in self.failures.items():
            same.setdefault(textwrap.shorten(reason, LONGEST_REASON, placeholder=" ..."), []).append(name)
        lines += [f"{', '.join(names)}: cannot run the model: {reason}" for reason, names in same.items()]
        return "\n".join(lines)


def verify(stock: bytes, narrowed: bytes, inputs: list[np.ndarray]) -> Verification:
    """Compares two models of one structure on the installed runtimes, each in a process of its own.

    Args:
      stock, narrowed: .tflite files.
      inputs: one array for each input, in the tensors' integer types.
    """
    models = parse(stock), parse(narrowed)
    ends = _ends(models[0])
    outputs, changes, differences, failures = {}, {}, {}, {}
    files = {"stock": stock, "narrowed": narrowed}
    for name in RUNTIMES:
        tensors = _outputs(models[0]) if name in SIMULATED else ends
        try:
            before, after = tensors_of(name, files, [tensor.index for tensor in tensors], inputs)
        except RunError as error:
            failures[name] = str(error)
            continue
        changed = {
            t.index: agreement(before[t.index], after[t.index], t, models[1].subgraphs[0].tensors[t.index])
            for t in tensors
        }
        outputs[name] = worst({t.label: changed[t.index] for t in ends})
        if name in SIMULATED:
            changes[name] = {index: found.relative_change for index, found in changed.items()}
            differences[name] = _differences(models[1], inputs, SIMULATED[name], after)
    layers = [_layer(operator, own, changes, differences) for operator, own in _computing(models[0], ends)]
    return Verification(outputs, tuple(layers), failures)


def random_inputs(model: Model, rows: int, seed: int = 0) -> list[np.ndarray]:
    """Uniformly random inputs of the model's types; for float inputs, standard normal ones.

    An input that is the output shape of a TRANSPOSE_CONV gets the shape that stands in the file.
    """
    random = np.random.default_rng(seed)
    shapes = {op.inputs[0].key: op.outputs[0].shape for op in model.operators if op.name == "TRANSPOSE_CONV"}
    arrays = []
    for tensor in model.subgraphs[0].inputs:
        shape = (rows * (tensor.shape or (1,))[0], *tensor.shape[1:])
        if tensor.key in shapes:
            arrays.append(np.tile(np.array(shapes[tensor.key], np.int32), rows))
        elif tensor.type == "FLOAT32":
            arrays.append(random.standard_normal(shape).astype(np.float32))
        else:
            limits = np.iinfo(tensor.type.lower())
            arrays.append(random.integers(limits.min, limits.max, shape, limits.dtype, endpoint=True))
    return arrays


def _ends(model: Model) -> list[Tensor]:
    """The model's outputs, less those that hold text."""
    return [tensor for tensor in model.subgraphs[0].outputs if tensor.type != "STRING"]


def _computing(model: Model, ends: list[Tensor]) -> list[tuple[Operator, list[Tensor]]]:
    """Operators with the integers that they compute and that are to be compared: quantised ones, and the model's."""
    compared = {end.key for end in ends if end.type in INTEGERS}
    found = ((op, [t for t in op.outputs if t.is_quantized or t.key in compared]) for op in model.operators)
    return [(operator, own) for operator, own in found if own]


def _layer(operator: Operator, own: list[Tensor], changes: dict, differences: dict) -> LayerChange:
    """What became of what an operator computes; nothing is known of subgraphs but the main one."""
    if operator.subgraph:
        changes, differences = {}, {}
    off = {name: [found.get(t.index) for t in own] for name, found in differences.items()}
    return LayerChange(
        operator.index,
        operator.name,
        {name: max(found[t.index] for t in own) for name, found in changes.items()},
        {name: None if None in counts else sum(counts) for name, counts in off.items()},
        operator.subgraph,
    )


def _outputs(model: Model) -> list[Tensor]:
    """What the operators of the main subgraph compute in quantised integers, and the model's outputs."""
    ends = _ends(model)
    computed = [t for operator, own in _computing(model, ends) if not operator.subgraph for t in own]
    return list({t.index: t for t in (*computed, *ends)}.values())


def _differences(model: Model, inputs, rounding: str, found: dict[int, np.ndarray]) -> dict[int, int]:
    """Integers that differ between a runtime and the simulator, by tensor; empty where it cannot be simulated."""
    if unsupported(model):
        return {}
    try:
        trace = simulate(model, inputs, rounding)
    except ModelError:  # inputs that make no sense to the model, such as random shapes
        return {}
    return {
        t.index: int(np.count_nonzero(trace[t] != found[t.index])) for t in _outputs(model) if t.key in trace.tensors
    }


def _cells(layer: LayerChange, names: list[str]) -> tuple[str, ...]:
    pairs = [
        (f"{layer.change[name]:.2%}", "" if layer.differences[name] is None else str(layer.differences[name]))
        if name in layer.change
        else ("", "")
        for name in names
    ]
    note = "" if layer.is_verified else NOT_VERIFIED
    return place(layer.subgraph, layer.index), layer.op, *(cell for pair in pairs for cell in pair), note


def _names(layers: list[LayerChange]) -> str:
    return ", ".join(f"{place(layer.subgraph, layer.index)} {layer.op}" for layer in layers)
