# SPDX-License-Identifier: Apache-2.0
"""Per-tensor uint8 models as int8 ones, which TensorFlow Lite Micro still runs.

An activation keeps its scale; its integers and its zero point are less 128. Weights become symmetric, with a scale for
each output channel. With q the centred uint8 integers of a channel (-255 to 255), S their scale and m = max |q|, the
int8 integers are

- where m <= 127: q * f at the scale S / f, with f = floor(127 / m); that is exact;
- else: q * 127 / m at the scale S * m / 127, rounded.

Biases follow their channels. Narrowing rounds weights to other scales again; `Conversion.references` lets it start from
q and S instead of from what is rounded already.
"""

import dataclasses
import os
from collections.abc import Callable, Hashable, Mapping

import numpy as np

from tflm_export import metadata
from tflm_export.errors import ModelError, UsageError
from tflm_export.flatbuffer import versions
from tflm_export.flatbuffer.model import Model, Operator, Tensor, parse
from tflm_export.flatbuffer.options import FullyConnectedOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.flatbuffer.rewrite import NewTensor, Rewrite
from tflm_export.ops import op_for
from tflm_export.ops.base import scale_problem
from tflm_export.ops.constants import rounded_bias
from tflm_export.ops.layer import Layer
from tflm_export.ops.reference import Reference
from tflm_export.ops.statistics import Statistics
from tflm_export.ops.weighted import WeightedOp
from tflm_export.reason import Reason
from tflm_export.synthetic import AUTO, synthetic_means

IO = ("int8", "uint8")
LARGEST = 127  # of symmetric int8 weights
SHIFT = 128  # from a uint8 integer to the int8 one of the same meaning
_BORDERS = ("QUANTIZE", "DEQUANTIZE")
Means = Callable[[Operator], Statistics | None]
DETECTION = "CUSTOM:TFLite_Detection_PostProcess"  # takes uint8 or float32, and in TFLM float32 alone


@dataclasses.dataclass(frozen=True, eq=False)
class Conversion:
    """A model that was converted.

    Attributes:
      data: the int8 file.
      references: what its weights stand for, by the key of their tensor, for `narrow`.
      notes: what to know of it, for people.
    """

    data: bytes
    references: dict[Hashable, Reference]
    notes: tuple[str, ...] = ()

    def inputs(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The integers of the uint8 model's inputs, by name, as those of this one."""
        types = {tensor.name: tensor.type for tensor in parse(self.data).subgraphs[0].inputs}
        return {
            name: _shifted(array) if array.dtype == np.uint8 and types.get(name) == "INT8" else array
            for name, array in arrays.items()
        }


def to_int8(
    data: bytes | str | os.PathLike[str], io: str = IO[0], synthetic: str = AUTO, means: Means | None = None
) -> Conversion:
    """Converts a per-tensor uint8 model to int8.

    Args:
      data: a .tflite file, or its path.
      io: type of the inputs and outputs that are uint8: "int8", whose integers are less 128, or "uint8", as they are,
        through a QUANTIZE.
      synthetic: whether biases make up for what the rounding of weights does to the sums that synthetic images give, as
        `narrow` has it: "auto" where the model's one input is a colour image, "images" always, "none" never.
      means: the same from the model's own inputs: the mean of what the weights of an operator of the uint8 model are
        multiplied with, None where it is not known, as `calibration.Calibration.statistics` gives it.

    Returns:
      The model, with the tensors of the old one in their places: their names, indices and shapes stay.

    Raises:
      UsageError: io or synthetic is none of these, or there are to be synthetic images and the inputs are none.
      ModelError: the bytes are no TFLite model, are damaged, or compute nothing in uint8; or they hold what has no
        int8 form, all of which is named.
    """
    if io not in IO:
        raise UsageError(f"io must be one of {', '.join(IO)}, got {io!r}")
    model = parse(data)
    _require_uint8(model)
    images = synthetic_means(model, synthetic) if means is None else None
    converted = _Converter(model, io, means or (images.statistics if images else lambda operator: None)).run()
    if images is not None and images.note:
        return dataclasses.replace(converted, notes=(*converted.notes, f"in int8, {images.note}"))
    return converted


def is_uint8(model: Model) -> bool:
    """Whether layers of a model have uint8 weights, which one scale for all channels makes coarse when narrowed."""
    return any(
        isinstance(op_for(operator), WeightedOp) and any(t is not None and _is_uint8(t) for t in operator.inputs[1:2])
        for operator in model.operators
    )


def _is_uint8(tensor: Tensor) -> bool:
    return tensor.type == "UINT8" and tensor.quantization is not None


def _tensors(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]


def _shifted(integers: np.ndarray) -> np.ndarray:
    """uint8 integers less 128, as int8."""
    return (integers ^ np.uint8(SHIFT)).view(np.int8)


def _layer(operator: Operator) -> Layer | None:
    """The layer of an operator with constant weights; None for all others."""
    op = op_for(operator)
    if not isinstance(op, WeightedOp) or op.operands(operator)[1] is None:
        return None
    constant = operator.name != "FULLY_CONNECTED" or op.operands(operator)[1].is_constant
    return op.layer(operator) if constant else None


def _require_uint8(model: Model) -> None:
    """Raises ModelError where there is nothing to convert, or something that cannot be."""
    touched = [operator for operator in model.operators if any(map(_is_uint8, _tensors(operator)))]
    if all(operator.name in _BORDERS for operator in touched):
        types = sorted({tensor.type for operator in model.operators for tensor in operator.outputs})
        fix = "leave out the conversion" if "INT8" in types else "quantise it to full int8 with its converter"
        raise ModelError(f"no operator computes in uint8, they give {', '.join(types) or 'nothing'}; {fix}")
    problems = [f"{operator.label} {problem}" for operator in touched if (problem := _problem(operator))]
    seen = {tensor.key for operator in touched for tensor in _tensors(operator)}
    apart = {t.key: t for t in (*model.subgraphs[0].inputs, *model.subgraphs[0].outputs) if t.key not in seen}
    found = [scale_problem(tensor, types=("UINT8",)) for tensor in apart.values() if _is_uint8(tensor)]
    problems += [f"input or output cannot be int8: {Reason.of(problem).text}" for problem in found if problem]
    if problems:
        raise ModelError(f"the model cannot be converted to int8: {'; '.join(problems)}")


def _problem(operator: Operator) -> str:
    """Why an operator with uint8 tensors has no int8 form; empty if it has."""
    if operator.name == DETECTION:
        floats = all(tensor.type == "FLOAT32" for tensor in operator.outputs)
        return "" if floats else "has outputs that are no FLOAT32"
    if operator.name not in versions.INT8:
        return "has no int8 form of its uint8 kernel"
    if not operator.outputs:
        return "has no output"
    uint8 = [tensor for tensor in _tensors(operator) if tensor.type == "UINT8"]
    problem = scale_problem(*uint8, types=("UINT8",))
    if problem:
        return f"cannot be int8: {Reason.of(problem).text}"
    if operator.name == "FULLY_CONNECTED" and operator.option(FullyConnectedOptions.WEIGHTS_FORMAT, UINT8):
        return "has shuffled weights"
    one_type = isinstance(op_for(operator), WeightedOp) or operator.name == "CONCATENATION"
    if one_type and operator.outputs[0].type != "UINT8":
        return f"gives {operator.outputs[0].type}"
    layer = _layer(operator)
    return "" if layer is None else _layer_problem(layer)


def _layer_problem(layer: Layer) -> str:
    x, w, bias = layer.x, layer.w, layer.bias
    if x.type != "UINT8" or w.type != "UINT8" or w.data is None:
        return f"has {x.type} inputs and {w.type} weights{'' if w.is_constant else ' computed at run time'}"
    if len(w.shape) != layer.weight_rank or not w.data.size:
        return (
            f"has weights {w.label} of shape {list(w.shape)}; {layer.weight_rank} dimensions are needed, none of them 0"
        )
    channels = w.shape[layer.channel_axis]
    if bias is not None and (bias.type != "INT32" or bias.data is None or bias.data.size != channels):
        return f"has bias {bias.label}; {channels} constant elements of INT32 are needed"
    return ""


class _Converter:
    """The conversion of one model; `inside` is where operators find what is a uint8 input or output of the model."""

    def __init__(self, model: Model, io: str, means: Means):
        self.model, self.io, self.means = model, io, means
        self.rewrite = Rewrite(model)
        self.references: dict[Hashable, Reference] = {}
        self.notes: list[str] = []
        self.inside: dict[Hashable, int] = {}
        if io == "uint8":
            self._keep_borders()

    def run(self) -> Conversion:
        for operator in self.model.operators:
            if any(map(_is_uint8, _tensors(operator))):
                self._operator(operator)
        if self.io == "int8":
            for tensor in (*self.model.subgraphs[0].inputs, *self.model.subgraphs[0].outputs):
                if _is_uint8(tensor):
                    self.rewrite.replace(_activation(tensor))
        return Conversion(metadata.detach(self.rewrite.finish()), self.references, tuple(self.notes))

    def _keep_borders(self) -> None:
        """Puts a QUANTIZE behind every uint8 input and before every uint8 output."""
        graph = self.model.subgraphs[0]
        written = {tensor.key for operator in graph.operators for tensor in operator.outputs}
        inputs = {tensor.key: tensor for tensor in graph.inputs if _is_uint8(tensor)}
        outputs = {t.key: t for t in graph.outputs if _is_uint8(t) and t.key in written}
        for key, tensor in (inputs | outputs).items():
            index = self.rewrite.add(_activation(tensor, f"{tensor.name}_int8"))
            self.inside[key] = index
            ends = (tensor.index, index) if key in inputs else (index, tensor.index)
            self._insert(graph.index, 0 if key in inputs else len(graph.operators), "QUANTIZE", *ends)

    def _insert(self, subgraph: int, position: int, name: str, x: int, y: int) -> None:
        self.rewrite.require_version(name, versions.INT8[name])
        self.rewrite.insert(subgraph, position, name, x, y)

    def _operator(self, operator: Operator) -> None:
        if operator.name == DETECTION:
            self._in_float(operator)
            return
        self.rewrite.require_version(operator.name, versions.INT8[operator.name])
        if operator.name in ("ARG_MAX", "ARG_MIN") and operator.outputs[0].type == "INT64":
            self.notes.append(f"{operator.label} gives INT64, for which TensorFlow Lite Micro has no kernel")
        for position, tensor in enumerate(operator.outputs):
            if tensor.key in self.inside:
                self.rewrite.write(operator, position, self.inside[tensor.key])
            elif _is_uint8(tensor):
                self.rewrite.replace(_activation(tensor))
        layer = _layer(operator)
        for position, tensor in enumerate(operator.inputs):
            if tensor is not None and _is_uint8(tensor) and (layer is None or tensor is not layer.w):
                self._input(operator, position, tensor)
        if layer is not None:
            self._weights(operator, layer)

    def _input(self, operator: Operator, position: int, tensor: Tensor) -> None:
        """An activation that an operator reads; one scale is needed for all that an int8 CONCATENATION does."""
        index, y = self._int8(tensor), operator.outputs[0]
        if operator.name == "CONCATENATION" and (tensor.scale, tensor.zero_point) != (y.scale, y.zero_point):
            like = _activation(y)
            rescaled = NewTensor(tensor, "INT8", like.scale, like.zero_point, name=f"{tensor.name}_rescaled")
            source, index = index, self.rewrite.add(rescaled)
            self._insert(operator.subgraph, operator.index, "QUANTIZE", source, index)
        if index != tensor.index:
            self.rewrite.read(operator, position, index)

    def _int8(self, tensor: Tensor) -> int:
        """The index of what a uint8 activation is in int8."""
        return self.inside[tensor.key] if tensor.key in self.inside else self._given(_activation(tensor))

    def _given(self, new: NewTensor) -> int:
        """The index of a tensor: its own, or that of a copy where others need it in another form."""
        if self.rewrite.replace(new):
            return new.like.index
        return self.rewrite.add(dataclasses.replace(new, name=f"{new.like.name}_copy"))

    def _in_float(self, operator: Operator) -> None:
        """Gives an operator its uint8 inputs as float32."""
        for position, tensor in enumerate(operator.inputs):
            if tensor is None or not _is_uint8(tensor):
                continue
            real = NewTensor(tensor, "FLOAT32", name=f"{tensor.name}_float")
            if tensor.is_constant:
                values = np.float32(tensor.scale) * (tensor.data.astype(np.float32) - np.float32(tensor.zero_point))
                index = self.rewrite.add(dataclasses.replace(real, data=values))
            else:
                index = self.rewrite.add(real)
                self._insert(operator.subgraph, operator.index, "DEQUANTIZE", self._int8(tensor), index)
            self.rewrite.read(operator, position, index)

    def _weights(self, operator: Operator, layer: Layer) -> None:
        """The weights and the bias of a layer."""
        w, bias = layer.w, layer.bias
        reference = layer.reference
        scale, rows = _requantised(layer, reference)
        dimension = layer.channel_axis
        integers = np.ascontiguousarray(layer.in_shape(rows)).astype(np.int8)
        zeros = np.zeros(len(scale), np.int64)
        index = self._given(NewTensor(w, "INT8", scale, zeros, dimension, integers))
        if index != w.index:
            self.rewrite.read(operator, _position(operator, w), index)
        self.references[w.subgraph, index] = reference
        if bias is None:
            return
        growth = scale / np.float64(w.scale)
        means = self.means(operator) if (np.abs(reference.rows).max(1) > LARGEST).any() else None
        shift = 0.0 if means is None else reference.lost(rows, growth, means.mean)
        integers = rounded_bias(bias, (reference.bias + shift) / growth).astype(np.int32).reshape(bias.shape)
        scales = (np.float64(layer.x.scale) * scale).astype(np.float32)
        index = self._given(NewTensor(bias, "INT32", scales, zeros, 0, integers))
        if index != bias.index:
            self.rewrite.read(operator, _position(operator, bias), index)


def _position(operator: Operator, tensor: Tensor) -> int:
    """Which of its inputs a tensor is."""
    return next(i for i, t in enumerate(operator.inputs) if t is tensor)


def _activation(tensor: Tensor, name: str = "") -> NewTensor:
    """A uint8 tensor as int8."""
    scale, zero = tensor.quantization.scale.values, np.array([tensor.zero_point - SHIFT])
    data = None if tensor.data is None or name else _shifted(tensor.data)
    return NewTensor(tensor, "INT8", scale, zero, data=data, name=name)


def _requantised(layer: Layer, reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Scales, float32 [channels], and integers, [channels, elements], of symmetric int8 weights."""
    largest = np.abs(reference.rows).max(1).astype(np.int64)
    factor = LARGEST // np.maximum(largest, 1)
    if reference.bias is not None:  # it grows with its channel, and has to stay within its type
        factor = np.minimum(factor, np.iinfo(np.int32).max // np.maximum(np.abs(reference.bias.astype(np.int64)), 1))
    factor = np.where(largest > 0, np.maximum(factor, 1), 1)
    exact, old = largest <= LARGEST, np.float64(reference.scale[0])
    scale = np.where(exact, old / factor, old * largest / LARGEST).astype(np.float32)
    rounded = layer.rounded(reference.rows, np.where(exact, 1.0, scale / old), None, (-LARGEST, LARGEST))
    return scale, np.where(exact[:, None], reference.rows * factor[:, None], rounded)
