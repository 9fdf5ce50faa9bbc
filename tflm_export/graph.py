# SPDX-License-Identifier: Apache-2.0
"""Who uses what in a model: needed to know which bytes an operator may change on its own."""

import collections
import functools

from tflm_export.flatbuffer.model import Model, Operator, Tensor


class Graph:
    """Uses of tensors, of constant buffers and of stored scales, over all subgraphs.

    Args:
      model: the model.
      zeros_change: whether constants that are zero may become something else: biases, corrected with data.
    """

    def __init__(self, model: Model, zeros_change: bool = False):
        self.model = model
        self._zeros_change = zeros_change
        self._tensor_uses = collections.Counter(
            tensor.key for operator in model.operators for tensor in operator.inputs if tensor is not None
        )
        for subgraph in model.subgraphs:
            self._tensor_uses.update(tensor.key for tensor in (*subgraph.inputs, *subgraph.outputs))
        # What a tensor that nobody uses holds is of no concern.
        used = [t for t in model.tensors if t.is_constant and self._tensor_uses[t.key]]
        self._buffer_tensors = collections.Counter(t.data_offset for t in used)
        self._buffer_tensors.update(model.metadata_offsets)
        by_scale = collections.defaultdict(list)
        for tensor in model.tensors:
            if tensor.quantization is not None:
                by_scale[tensor.quantization.scale.offset].append(tensor.key)
        self.shared_scales = [tuple(keys) for keys in by_scale.values() if len(keys) > 1]
        self._sharing = {key for keys in self.shared_scales for key in keys}

    def owns(self, tensor: Tensor) -> bool:
        """Whether a constant has one user and shares neither its elements nor its scale with another tensor.

        Elements that stand for zero do so at every scale and may be shared, where they stay zero.
        """
        shareable = not self._zeros_change and _is_zero(tensor)
        return self.is_used_once(tensor) and (self._buffer_tensors[tensor.data_offset] == 1 or shareable)

    def is_used_once(self, tensor: Tensor) -> bool:
        """Whether a tensor has one user and a scale of its own."""
        return self._tensor_uses[tensor.key] == 1 and tensor.key not in self._sharing

    def uses(self, tensor: Tensor) -> int:
        """How often operators, and inputs and outputs of subgraphs, name a tensor."""
        return self._tensor_uses[tensor.key]

    def owns_options(self, operator: Operator) -> bool:
        """Whether no other operator has the same option table in the file."""
        return self._option_uses[operator.options_offset] == 1

    @functools.cached_property
    def _option_uses(self) -> collections.Counter:
        return collections.Counter(operator.options_offset for operator in self.model.operators)


def _is_zero(tensor: Tensor) -> bool:
    """Whether a constant is zero at every scale."""
    shifted = tensor.quantization is not None and tensor.quantization.zero_point.any()
    return tensor.data is not None and not tensor.data.any() and not shifted
