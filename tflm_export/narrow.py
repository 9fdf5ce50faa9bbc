# SPDX-License-Identifier: Apache-2.0
"""The front door of the library: narrow every rescale of a model, or check that it was done."""

import dataclasses
import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from tflm_export import metadata, rescale, saturation, sharing, solver
from tflm_export.bounds import worst_case
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Model, Operator, parse
from tflm_export.flatbuffer.writer import Edits
from tflm_export.graph import Graph
from tflm_export.grid import Grid, grid_of
from tflm_export.ops import op_for
from tflm_export.ops.base import Chosen, Declaration, Plan, quantized_tensors
from tflm_export.ops.reference import Reference
from tflm_export.reason import Reason
from tflm_export.report import Report, Row
from tflm_export.rules import resolve
from tflm_export.setting import KEEP, METHODS, REQUANTIZE, Setting
from tflm_export.synthetic import AUTO, SYNTHETIC, synthetic_means

__all__ = ["METHODS", "SYNTHETIC", "check", "narrow"]

BOUND = "its scales are bound on both sides by other operators or the model's border"
BIAS_TYPES = ("INT32", "INT64")
OUT_OF_RANGE = Reason.of("its factor left the range that float32 scales can express")
LARGEST_BOUND = 2**62  # an accumulator that may grow beyond this is reported so; no kernel has one


def narrow(
    data: bytes | str | os.PathLike[str],
    bits: int | str | Grid,
    method: str = REQUANTIZE,
    calibration: dict[str, np.ndarray] | np.ndarray | None = None,
    rules: Mapping | str | os.PathLike[str] | None = None,
    synthetic: str = AUTO,
    references: Mapping[Hashable, Reference] | None = None,
) -> tuple[bytes, Report]:
    """Puts every rescale of a model on the k-bit grid.

    Args:
      data: a .tflite file with int8 operators, or its path.
      bits: multiplier width k, 1 (a pure shift) to 31 (TFLite's own; changes nothing); or another grid of factors, or
        its name: "csd2", two signed digits.
      method: "requantize" rounds factors up and re-rounds the weights to match (no gain error, slightly coarser
        weights; with INT4 weights, down where that changes outputs less); "keep" rounds factors to nearest and leaves
        every weight and bias as it is (with data, every weight).
      calibration: a few dozen to a few hundred rows of real inputs, by input name (any name, or the bare array, where
        there is one input): integers of the input's type, or real values. "requantize" then rounds weights for what
        these inputs make of them, and weighs clipping against coarser steps; "keep" rounds each factor down or up, and
        corrects biases, for what these inputs make of the outputs (`kept`), and moves scales of activations as
        "requantize" does.
      rules: bits or a grid, or a dict of that and method, for single operators: by index, or by a regular expression
        searched in the name of the operator's output tensor, or "op:" and one for its type ("op:ADD|SUB"); or the path
        of a file of them, as --bits_config takes.
      synthetic: without calibration data, whether the biases of "requantize" are corrected for what synthetic images
        make of the rounded weights: "auto" where the model's one input is a colour image, [1, height, width, 3] in
        integers; "images" always; "none" never.
      references: what weights stand for, by the key of their tensor, where that is finer than the file's own integers
        (`to_int8` gives it): "requantize" rounds them from it, once, and from it chooses their scales.

    Returns:
      The narrowed file, equal in every byte that is no scale, weight, bias or fused activation, and of the same
      length but for what goes in front of the old file: copies of constants that operators share and need in different
      forms, and options of operators without a byte for the activation that a smaller scale stood for (`saturation`).
      Metadata entries of an earlier narrowing, which would no longer be true, are taken off their list. And a report
      with one row for each operator that rescales, the ones that could not be narrowed and why included.

    Raises:
      UsageError: bits or method out of range, rules or calibration data that do not fit the model, synthetic images for
        one whose inputs are none, or a file that cannot be read.
      ModelError: the bytes are no TFLite model, are damaged, or hold no rescale that can be narrowed; or there is
        calibration data and the model has operators that cannot be simulated.
    """
    default = Setting(grid_of(bits), method)
    stock = parse(data)
    settings = resolve(stock, default, rules)
    rounds = any(setting.method == REQUANTIZE for setting in settings.values())
    means = synthetic_means(stock, synthetic) if calibration is None else None
    corrects = calibration is not None or (rounds and means is not None)
    model, graph = stock, Graph(stock, corrects)
    shared = sharing.shared_constants(graph)
    if shared:
        model = parse(sharing.with_copies(stock, shared))
        graph = Graph(model, corrects)
    declarations = _declare(model, graph)
    measured = None if calibration is None else _measure(model, calibration)
    solution, reasons = _solve(graph, declarations, settings, measured)
    own = _of_copies(stock, model, references or {})
    decided = _Decided(model, declarations, solution.scales, settings, measured or means, own)
    narrowed = decided.edited(None if measured is None else decided.chosen(measured.trace))
    if shared:
        narrowed = sharing.without_needless_copies(stock, shared, narrowed)
    narrowed = saturation.with_activations(stock, narrowed, _moving(settings, measured))
    if narrowed != stock.data:
        narrowed = metadata.detach(narrowed)
    report = _report(stock, parse(narrowed), reasons, default, settings, measured is not None)
    return narrowed, report if means is None else dataclasses.replace(report, synthetic=means.note)


def _of_copies(stock: Model, model: Model, references: Mapping[Hashable, Reference]) -> dict[Hashable, Reference]:
    """References by the keys that weights have in a model of the same operators with copies of constants."""
    return {
        new.key: references[old.key]
        for before, after in zip(stock.operators, model.operators, strict=True)
        for old, new in zip(before.inputs, after.inputs, strict=True)
        if old is not None and old.key in references
    }


@dataclasses.dataclass(frozen=True)
class _Decided:
    """What is decided for a model before its operators are edited.

    Attributes:
      model: the stock model, with copies of constants where operators need them.
      declarations: what every operator asks for.
      scales: the solved scale of every activation.
      settings: by (subgraph, index).
      known: what gives statistics: measured on data, or means from synthetic images; None without both.
      references: what weights are rounded from instead of what the file has, by key of their tensor.
    """

    model: Model
    declarations: list[tuple[Operator, Declaration]]
    scales: dict[Hashable, float]
    settings: dict[tuple[int, int], Setting]
    known: Any
    references: dict[Hashable, Reference]

    def edited(self, chosen: Mapping[tuple[int, int], Chosen | None] | None) -> bytes:
        """The file with the solved scales, and with what its operators make of them, and of what was chosen for them.

        Operators for which `chosen` has None are left as they are. It is None without data, where "keep" asks for
        nothing.
        """
        edits = Edits(self.model.data)
        for tensor in self.model.tensors:
            scale = self.scales.get(tensor.key)
            if scale is not None and scale != tensor.scale:
                stored = tensor.quantization.scale
                edits.set(stored.offset, stored.values, np.array([scale]), f"scale of {tensor.name}")
        waiting = {key for key, found in (chosen or {}).items() if found is None}
        for operator, declaration in self.declarations:
            if (declaration.nodes or declaration.constants) and operator.key not in waiting:
                setting = self.settings[operator.key]
                asks = self.known is not None and (setting.method != KEEP or chosen is not None)
                statistics = self.known.statistics if asks else None
                own = (chosen or {}).get(operator.key)
                plan = Plan(self.scales, setting.grid, setting.method, statistics, self.references, own)
                op_for(operator).edit(operator, plan, edits)
        return edits.finish()

    def chosen(self, trace) -> dict[tuple[int, int], Chosen]:
        """Factors and biases for the layers that keep their weights, for what a trace of real rows says."""
        kept = {
            operator.key: self.settings[operator.key].grid
            for operator, declaration in self.declarations
            if declaration.nodes and self.settings[operator.key].method == KEEP
            if op_for(operator).can_choose(operator)
        }
        if not kept:
            return {}
        from tflm_export.kept import choose

        return choose(parse(self.edited(dict.fromkeys(kept))), trace, kept)


def check(data: bytes | str | os.PathLike[str], bits: int | str | Grid) -> Report:
    """Reads the width of every rescale of a model.

    Args:
      data: a .tflite file, or its path.
      bits: multiplier width k to check against, 1 to 31; or another grid of factors, or its name.

    Returns:
      A report with one row for each operator that rescales; `Report.offenders` are those that are not on the grid.

    Raises:
      UsageError: bits out of range, or the file cannot be read.
      ModelError: the bytes are no TFLite model, are damaged, or hold no rescale.
    """
    grid = grid_of(bits)
    model = parse(data)
    return _report(model, model, _reasons(_declare(model, Graph(model))), Setting(grid), None)


def _declare(model: Model, graph: Graph) -> list[tuple[Operator, Declaration]]:
    if not any(True for _ in model.operators):
        raise ModelError("the model has no operators")
    return [(operator, op_for(operator).declare(operator, graph)) for operator in model.operators]


def _reasons(declarations: list) -> dict[tuple[int, int], Reason]:
    """Why operators cannot be narrowed, by (subgraph, index)."""
    return {op.key: Reason.of(d.reason) for op, d in declarations if d.reason}


def _measure(model: Model, arrays: dict[str, np.ndarray]):
    from tflm_export import calibration

    return calibration.Calibration.run(model, calibration.quantized_inputs(model, arrays))


def _moving(settings: dict, measured) -> dict:
    """Settings that say which operators' scales move: with data, those of `keep` do too."""
    if measured is None:
        return settings
    return {key: dataclasses.replace(setting, method=REQUANTIZE) for key, setting in settings.items()}


def _solve(graph: Graph, declarations: list, settings: dict, measured) -> tuple[solver.Solution, dict]:
    """The solved scales, and the reasons of the operators that are not narrowed by (subgraph, index)."""
    model = graph.model
    operators = [operator for operator, declaration in declarations for _ in declaration.nodes]
    nodes = [(node, settings[operator.key]) for operator, declaration in declarations for node in declaration.nodes]
    border = [t for subgraph in model.subgraphs for t in (*subgraph.inputs, *subgraph.outputs)]
    pinned = {tensor.key for tensor in model.tensors if tensor.is_variable}
    pinned -= {key for _, declaration in declarations for key in declaration.states}
    pinned |= {tensor.key for tensor in border}
    pinned |= {key for _, declaration in declarations for key in declaration.pins}
    pinned |= saturation.pinned(declarations, graph, _moving(settings, measured))
    if len({setting.method for _, setting in nodes}) > 1:
        # An operator that keeps its integers needs the scales they were made for, whatever its neighbours do.
        kept = {key for key, setting in settings.items() if setting.method == KEEP}
        pinned |= {t.key for op in model.operators if op.key in kept for t in quantized_tensors(op)}
    fixed = {key: scale for _, declaration in declarations for key, scale in declaration.fixed.items()}
    scales = {
        t.key: t.scale
        for t in model.tensors
        if t.is_quantized and t.quantization.scale.values.size == 1 and t.scale > 0
    }
    ties = [tie for _, declaration in declarations for tie in declaration.ties]
    ties += [tie for tie in graph.shared_scales if any(key in scales for key in tie)]
    problem = solver.Problem(
        scales | fixed,
        nodes,
        [tuple(key for key in tie if key in scales) for tie in ties],
        (pinned & scales.keys()) | fixed.keys(),
        {key for _, declaration in declarations for key in declaration.constants},
        measured and measured.clipping,
    )
    solution = solver.solve(problem)
    reasons = _reasons(declarations)
    names = {tensor.key: tensor.label for tensor in model.tensors}
    for index in solution.unsolved:
        operator, (node, _) = operators[index], nodes[index]
        bound = dict.fromkeys(names[key] for key in (*node.inputs, node.output) if key in names)
        reasons[operator.key] = Reason(f"{BOUND}: {', '.join(bound)}", BOUND)
    return solution, reasons


def _report(
    before: Model, after: Model, reasons: dict, default: Setting, settings: dict | None, has_data: bool = False
) -> Report:
    """The report of a narrowing, or of a check (no settings)."""
    pairs = list(zip(before.operators, after.operators, strict=True))
    chosen = [default if settings is None else settings[old.key] for old, _ in pairs]
    factors = [[op_for(pair[i]).factors(pair[i]) for pair in pairs] for i in (0, 1)]
    widths = [_of_each(values, rescale.significant_bits, np.maximum) for values in factors]
    narrow = _of_each_grid(factors[1], [setting.grid for setting in chosen])
    rows = []
    for (old, new), setting, *found in zip(pairs, chosen, *factors, *widths, narrow, strict=True):
        method = "" if settings is None else setting.method
        row = _row(old, new, _Factors(*found), setting.grid, reasons.get(old.key), method, has_data)
        if row is not None:
            rows.append(row)
    report = Report(default.grid, "" if settings is None else default.method, tuple(rows))
    if all(row.reason for row in rows):
        raise NothingToNarrowError(_nothing_to_narrow(before, rows), report)
    return report


class NothingToNarrowError(ModelError):
    """A model has no rescale that can be narrowed.

    Attributes:
      report: what there is.
    """

    def __init__(self, message: str, report: Report):
        super().__init__(message)
        self.report = report


@dataclasses.dataclass(frozen=True)
class _Factors:
    """The factors of an operator before and after (None: it has none), their widest bits, whether all are narrow."""

    before: np.ndarray | None
    after: np.ndarray | None
    bits_before: int | None
    bits_after: int | None
    narrow: bool | None


def _of_each(factors: list[np.ndarray | None], function, joined: np.ufunc) -> list:
    """What a function says of the factors of each operator, joined; asked once for all of them. None where are none."""
    given = [values for values in factors if values is not None]
    if not given:
        return [None] * len(factors)
    starts = np.cumsum([0, *(values.size for values in given[:-1])])
    found = iter(joined.reduceat(function(np.concatenate(given)), starts).tolist())
    return [None if values is None else next(found) for values in factors]


def _of_each_grid(factors: list[np.ndarray | None], grids: list[Grid]) -> list[bool | None]:
    """Whether the factors of each operator are all on its grid."""
    result: list[bool | None] = [None] * len(factors)
    for grid in {id(grid): grid for grid in grids}.values():
        own = [values if grids[i] is grid else None for i, values in enumerate(factors)]
        found = _of_each(own, grid.contains, np.logical_and)
        result = [old if new is None else new for old, new in zip(result, found, strict=True)]
    return result


def _nothing_to_narrow(model: Model, rows: list[Row]) -> str:
    if rows:
        more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
        return f"no rescale of the model can be narrowed: {rows[0].label}: {rows[0].reason}{more}"
    types = sorted({tensor.type for operator in model.operators for tensor in operator.outputs})
    fix = "; quantise it to full int8 first, weights and activations" if "FLOAT32" in types else ""
    return f"the model has no int8 rescale (its operators compute {', '.join(types)}){fix}"


def _row(
    old: Operator, new: Operator, factors: _Factors, grid: Grid, reason: Reason | None, method: str, has_data: bool
) -> Row | None:  # fmt: skip
    """The row of an operator; a check (no method) reads the factors also of operators that cannot be narrowed."""
    op, before, after = op_for(old), factors.before, factors.after
    row = Row(old.subgraph, old.index, old.name, old.label, grid, name=old.outputs[0].name if old.outputs else "")
    if before is None or after is None:
        return _stopped(row, reason) if reason else None
    narrow = bool(factors.narrow)
    if method and not narrow and not reason:
        reason = OUT_OF_RANGE
    row = dataclasses.replace(
        row,
        factors=before.size,
        bits_before=factors.bits_before,
        bits_after=factors.bits_after,
        narrow=narrow,
        activation=saturation.added(old, new),
    )
    if reason:
        return _stopped(row, reason) if method else row
    bound = worst_case(new, grid)
    kept = method == KEEP  # then the scales say what the rounded factors do, and the real weights follow them
    gain = np.divide(after, before, out=np.ones_like(before), where=before > 0) if kept else np.ones(1)
    if kept and has_data:  # then scales of activations moved, too, which is no error: that of the real weights is left
        gain = _relabelled(old, new)
    return dataclasses.replace(
        row,
        gain_error=max(
            float(np.abs(gain - 1).max(initial=0.0)), 0.0 if kept and not has_data else op.gain_error(old, new)
        ),
        weight_error=0.0 if kept else op.weight_error(old, new),
        step_noise=None if kept else op.step_noise(old, new),
        accumulator=None if bound is None else int(min(bound.accumulator.max(), LARGEST_BOUND)),
        fits_int32=None if bound is None else bool(bound.product.max() < 2**31),
    )


def _relabelled(old: Operator, new: Operator) -> np.ndarray:
    """New scales over old ones of the constants that an operator multiplies or adds; float64."""
    pairs = [(x, y) for x, y in zip(old.inputs, new.inputs, strict=True) if x is not None and x.is_constant]
    pairs = [(x, y) for x, y in pairs if x.is_quantized and x.type not in BIAS_TYPES]
    scales = [[t.quantization.scale.values.astype(np.float64) for t in pair] for pair in pairs]
    return np.concatenate([np.ones(1), *(b / a for a, b in scales if np.all(a > 0))])


def _stopped(row: Row, reason: Reason) -> Row:
    return dataclasses.replace(row, reason=reason.text, obstacle=reason.obstacle)
