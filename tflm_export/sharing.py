# SPDX-License-Identifier: Apache-2.0
"""Constants that several operators share, where every one of them would rewrite them for itself.

The model is first narrowed with a copy for each operator. Where all copies come out alike there is one scale that
satisfies all users, and the file keeps the one it has; elsewhere the copies stay.
"""

import collections
import dataclasses
from collections.abc import Hashable

import numpy as np

from tflm_export.flatbuffer.copies import Copy, add_copies, copyable, input_offset
from tflm_export.flatbuffer.model import Model, Operator, Tensor, parse
from tflm_export.flatbuffer.writer import Edits
from tflm_export.graph import Graph
from tflm_export.ops import op_for
from tflm_export.union import groups


@dataclasses.dataclass(frozen=True)
class Use:
    """An operator's input that is a shared constant.

    Attributes:
      operator, position: which input of which operator.
      tensor: the constant.
    """

    operator: Operator
    position: int
    tensor: Tensor

    def copy(self, model: Model) -> Copy:
        """A copy with what the same input is in another model of the same operators."""
        now = self.of(model)
        return Copy(self.operator, self.position, self.tensor, now.quantization.scale.values, now.stored)

    def of(self, model: Model) -> Tensor:
        """The same input in another model of the same operators."""
        return model.subgraphs[self.operator.subgraph].operators[self.operator.index].inputs[self.position]


@dataclasses.dataclass(frozen=True)
class Group:
    """Uses of constants that have elements or scales in common.

    Attributes:
      uses: all that would rewrite them.
      copied: those that get a copy; one keeps the original unless somebody else needs it as it is.
      has_others: whether there is somebody else: another kind of operator, the model's border, a metadata entry.
    """

    uses: tuple[Use, ...]
    has_others: bool

    @property
    def copied(self) -> tuple[Use, ...]:
        return self.uses if self.has_others else self.uses[1:]

    def agrees(self, model: Model) -> bool:
        """Whether all uses are alike in another model of the same operators, and as they were if others need that."""
        wanted = collections.defaultdict(set)  # by what is shared: elements, or scales, or both
        for use in self.uses:
            for now in (use.of(model), use.tensor)[: 1 + self.has_others]:
                wanted["data", use.tensor.data_offset].add(now.stored.tobytes())
                wanted["scale", use.tensor.quantization.scale.offset].add(now.quantization.scale.values.tobytes())
        return all(len(contents) == 1 for contents in wanted.values())


def shared_constants(graph: Graph) -> list[Group]:
    """The constants of a model that keep operators from being narrowed because they share them.

    Copies may take as many bytes as the file; groups of constants beyond that are left out, and reported by their
    operators. So are tensors whose tables hold more than a copy would.
    """
    model = graph.model
    uses = [
        Use(operator, position, tensor)
        for operator in model.operators
        if op_for(operator).rewrites_constants
        for position, tensor in enumerate(operator.inputs)
        if tensor is not None and tensor.data is not None and tensor.quantization is not None and not graph.owns(tensor)
    ]
    if not uses:
        return []
    lists = collections.Counter(input_offset(o, 0) for o in model.operators if o.inputs)
    plain = copyable(model.data)
    root = _connected(model)
    by_root = collections.defaultdict(list)
    for use in uses:
        by_root[root[use.tensor.key]].append(use)
    members = collections.defaultdict(list)
    for tensor in model.tensors:
        if root.get(tensor.key) in by_root:
            members[root[tensor.key]].append(tensor)
    room, found = len(model.data), []
    for key, own in by_root.items():
        counts = [graph.uses(tensor) for tensor in members[key]]
        offsets = {tensor.data_offset for tensor in members[key]}
        scales = {use.tensor.quantization.scale.offset for use in own}
        unused = [t for t, count in zip(members[key], counts, strict=True) if not count and t.quantization is not None]
        has_others = (
            sum(counts) > len(own)
            or not offsets.isdisjoint(model.metadata_offsets)
            or any(tensor.quantization.scale.offset in scales for tensor in unused)
        )
        group = Group(tuple(own), has_others)
        room_left = room - sum(use.tensor.stored.nbytes for use in group.copied)
        movable = all(lists[input_offset(use.operator, 0)] == 1 and use.tensor.key in plain for use in own)
        if group.copied and movable and room_left >= 0:
            found.append(group)
            room = room_left
    return found


def _connected(model: Model) -> dict[Hashable, Hashable]:
    """The representative of every constant tensor among those with which it has elements or scales in common."""
    ties, keys = [], []
    for tensor in model.tensors:
        if tensor.is_constant:
            keys.append(tensor.key)
            ties.append((tensor.key, ("data", tensor.data_offset)))
            if tensor.quantization is not None:
                ties.append((tensor.key, ("scale", tensor.quantization.scale.offset)))
    return groups([*keys, *{other for _, other in ties}], ties)


def with_copies(model: Model, shared: list[Group], contents: Model | None = None) -> bytes:
    """The file with a copy for each use that is to have one.

    Args:
      model: the file.
      shared: whose copies.
      contents: a model of the same operators that has what the copies are to hold; as in `model` without it.
    """
    copies = [use.copy(contents or model) for group in shared for use in group.copied]
    return add_copies(model.data, copies) if copies else model.data


def without_needless_copies(model: Model, shared: list[Group], narrowed: bytes) -> bytes:
    """Takes back the copies that came out alike.

    Args:
      model: the stock file.
      shared: its groups.
      narrowed: what became of `with_copies`.

    Returns:
      The narrowed file with copies for those groups only whose uses need different ones.
    """
    after = parse(narrowed)
    kept = [group for group in shared if not group.agrees(after)]
    if len(kept) == len(shared):
        return narrowed
    # The old file is the end of the one with copies, with other inputs for some operators.
    old = Edits(narrowed[len(narrowed) - len(model.data) :])
    for group in shared:
        for use in group.copied:
            offset = input_offset(use.operator, use.position)
            was = np.frombuffer(model.data, "<i4", 1, offset)
            old.set(offset, was, was, "input")
            if group not in kept:
                now, stored = use.of(after), use.tensor.quantization.scale
                old.set(stored.offset, stored.values, now.quantization.scale.values, f"scales of {use.tensor.name}")
                old.set(use.tensor.data_offset, use.tensor.stored, now.stored, f"elements of {use.tensor.name}")
    return with_copies(parse(old.finish()), kept, after)
