# SPDX-License-Identifier: Apache-2.0
"""Scales that nothing can put on the grid, and a rescale of their own for these.

The factors of an addition or a product are on the grid where enough of the scales around are free to move. That of a
convolution's output is; those of other products, of sums and of tables are not, or once only. Where a network leaves a
layer without what it needs (an addition of two swishes), a `Channelwise` of gain 1 goes in front: its output is free.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tf_keras as keras

from keras_rat import configs, wiring
from keras_rat.calibrate import scales_problem
from keras_rat.graph.channelwise import Channelwise
from keras_rat.graph.writer import GraphWriter, bare
from keras_rat.rescales import rescale_layers
from tflm_export import solver


def stuck(model: keras.Model, prefix: str) -> dict[str, list[int]]:
    """The layers of a quantised model whose factors cannot all be on the grid, whatever the ranges.

    Args:
      model: from `quantize_model`, not calibrated.
      prefix: of the names of its layers.

    Returns:
      By the name of the layer without the prefix: the inputs, by number, that need a rescale of their own.
    """
    concerned = [layer for layer in model.layers if _is_sum(layer) or isinstance(wiring.inner(layer), configs.TYING)]
    if not concerned:
        return {}
    problem, ranges = scales_problem(model, rescale_layers(model))
    random = np.random.default_rng(0)
    scales = problem.scales | {owner: float(np.float32(random.uniform(0.01, 0.1))) for owner in ranges}
    solution = solver.solve(dataclasses.replace(problem, scales=scales))
    unsolved = {problem.nodes[index][0]: problem.nodes[index][1] for index in solution.unsolved}
    found = {}
    for layer in concerned:
        keys = [range_.owner for range_ in wiring.source_ranges(layer) if range_ is not None]
        needed = set()
        if not _is_sum(layer):
            needed = {number for number, key in enumerate(keys) if key not in ranges}
        elif unsolved:
            target, _ = wiring.sink(layer)
            for node, _ in layer.quantize_config.nodes(tuple(keys), target.owner):
                if node in unsolved:
                    needed |= _off(node, unsolved[node], solution.scales)
        if needed:
            found[layer.name.removeprefix(prefix)] = sorted(needed)
    return found


def _is_sum(layer) -> bool:
    """Whether a layer has factors, but no weights to put them on the grid."""
    return isinstance(getattr(layer, "quantize_config", None), configs.SumConfig)


def _off(node, setting, scales) -> set[int]:
    """The inputs of a node whose factors are off the grid; of a product the first."""
    if isinstance(node, solver.Product):
        return {0}
    factors = [scales[key] / scales[node.output] for key in node.inputs]
    return {number for number, factor in enumerate(factors) if not setting.grid.contains(factor)}


def loosened(
    model: keras.Model, stuck: dict[str, list[int]], annotated_like: Callable
) -> tuple[keras.Model, dict[str, str]]:
    """A model with rescales in front of inputs.

    Args:
      model: annotated, its layers used once each.
      stuck: from the function of that name.
      annotated_like: function (annotated layer, new layer) -> the new one annotated like the other.

    Returns:
      The model, and by the name of each new rescale that of the layer it is for.
    """
    writer = _Loosener(stuck, annotated_like)
    return writer.write(model), writer.added


class _Loosener(GraphWriter):
    def __init__(self, stuck, annotated_like):
        super().__init__(lambda layer, origin: layer if bare(origin) is origin else annotated_like(origin, layer))
        self._stuck, self.added = stuck, {}

    def call(self, layer, args, kwargs):
        inner = bare(layer)
        for number in self._stuck.get(inner.name, ()):
            args = (self._freed(layer, args[0], number), *args[1:])
        return self.copy(layer, inner.get_config())(*args, **kwargs)

    def _freed(self, layer, inputs, number):
        several = isinstance(inputs, (list, tuple))
        x = inputs[number] if several else inputs
        suffix = f"_rescale_{number}"
        y = self.scaled(layer, Channelwise(trainable=False), x, 1.0, 0.0, suffix)
        name = bare(layer).name
        self.added |= {f"{name}{suffix}": name, f"{name}{suffix}_scale": name}
        return [*inputs[:number], y, *inputs[number + 1 :]] if several else y
