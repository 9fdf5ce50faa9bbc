# SPDX-License-Identifier: Apache-2.0
"""UNIDIRECTIONAL_SEQUENCE_LSTM: int8 activations and weights, int16 gates and cell state."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.arithmetic import Arithmetic
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.options import UnidirectionalSequenceLSTMOptions as Options
from tflm_export.flatbuffer.reader import FLOAT32, UINT8
from tflm_export.grid import POWERS_OF_TWO
from tflm_export.ops.accumulate import centred_bias, centred_limits
from tflm_export.ops.activations import fused_activation
from tflm_export.ops.base import Declaration, register, scale_problem
from tflm_export.ops.gates import FixedPointGates, TableGates
from tflm_export.ops.layer import Layer
from tflm_export.ops.recurrent import RecurrentOp
from tflm_export.ops.weighted import is_float
from tflm_export.program.form import largest_sum
from tflm_export.program.recurrence import Gate, Lstm
from tflm_export.program.value import value_of

_GATES = ("input", "forget", "cell", "output")  # their inputs are 1.. (weights), 5.. (recurrent weights), 12.. (biases)
_HIDDEN, _CELL = 18, 19
_GATE_SCALE, _OUTPUT_SCALE = 2.0**-12, 2.0**-15
_GATE_KEY = ("scale", _GATE_SCALE)


@register("UNIDIRECTIONAL_SEQUENCE_LSTM")
class UnidirectionalSequenceLSTM(RecurrentOp):
    """Without peepholes, projection and layer normalisation, as TFLM has it.

    Factors are those of input and recurrent weights for each gate, to units of 2**-12; of the forget gate times the
    cell, and of the input gate times the cell gate, which are powers of two; and of the new hidden state. The weights
    land the first eight on the grid, the scale of the hidden state, which is the output's too, the last one.

    The runtimes differ: TFLM looks logistic and tanh up in a table and rescales the products of gates with 31-bit
    multipliers; LiteRT computes both functions in 16-bit fixed point and shifts the products. Narrow kernels are
    simulated as TFLM's with narrow multipliers.
    """

    def layers(self, operator: Operator) -> list[Layer]:
        """Of the input and of the hidden state, for each gate."""
        tensors = operator.inputs
        gates = range(len(_GATES))
        of_input = [Layer(tensors[0], tensors[1 + i], tensors[12 + i], _GATE_KEY, _GATE_SCALE) for i in gates]
        return of_input + [Layer(tensors[_HIDDEN], tensors[5 + i], None, _GATE_KEY, _GATE_SCALE) for i in gates]

    def rescales(self, operator):
        given = operator.inputs[:1]
        return given not in ((), (None,)) and not is_float(*given, *operator.outputs)

    def declaration(self, operator, graph):
        hidden, y = operator.inputs[_HIDDEN], operator.outputs[0]
        product = ("scale", _OUTPUT_SCALE**2)
        nodes = (*(layer.node for layer in self.layers(operator)), solver.Sum((product,), y.key))
        fixed = {_GATE_KEY: _GATE_SCALE, product: _OUTPUT_SCALE**2}
        described = _hidden_intermediates(operator, graph)
        same = {(t.scale, t.zero_point) for t in (hidden, y, *described)}
        if len(same) > 1 or not graph.is_used_once(hidden):
            return Declaration(nodes, pins=(hidden.key, y.key), fixed=fixed)
        tie = (hidden.key, y.key, *(t.key for t in described))
        return Declaration(nodes, ties=(tie,), states=(hidden.key,), fixed=fixed)

    def problem(self, operator, graph):
        problem = self._types_problem(operator)
        if problem:
            return problem
        x, hidden, cell = (operator.inputs[i] for i in (0, _HIDDEN, _CELL))
        activations = (x, hidden, operator.outputs[0])
        problem = scale_problem(*activations, types=("INT8",)) or scale_problem(cell, types=("INT16",))
        if problem:
            return problem
        if not POWERS_OF_TWO.contains(cell.scale):
            return f"its cell state, {cell.label}, has scale {cell.scale:g}, which is no power of two"
        return self.layers_problem(operator, graph)

    def factors(self, operator):
        if len(operator.inputs) <= _CELL or not operator.outputs:
            return None
        needed = [operator.inputs[i] for i in (*range(9), _HIDDEN, _CELL)]
        if not all(t is not None and t.is_quantized for t in (*needed, operator.outputs[0])):
            return None
        hidden, cell = operator.inputs[_HIDDEN].scale, operator.inputs[_CELL].scale
        if not (hidden > 0 and cell > 0):
            return None
        products = [_OUTPUT_SCALE, _OUTPUT_SCALE**2 / cell, _OUTPUT_SCALE**2 / hidden]
        return np.concatenate([*(layer.factors for layer in self.layers(operator)), products])

    def lower(self, operator, arithmetic):
        """Sources: lstm_eval.cc in tensorflow/lite/micro/kernels, and in tensorflow/lite/kernels for LiteRT."""
        tensors = operator.inputs
        x, hidden, cell, y = tensors[0], tensors[_HIDDEN], tensors[_CELL], operator.outputs[0]
        power = round(np.log2(cell.scale))
        clip = operator.option(Options.CELL_CLIP, FLOAT32, 0.0) / cell.scale
        functions = FixedPointGates if arithmetic.has_fixed_point_gates else TableGates
        states = value_of(hidden), value_of(cell)
        return (
            Lstm(
                inputs=(value_of(x), *states),
                outputs=(value_of(y), *states),
                gates=tuple(_gate(operator, i, arithmetic, functions) for i in range(len(_GATES))),
                forgotten=functions.product(arithmetic, _OUTPUT_SCALE, 15),
                added=functions.product(arithmetic, _OUTPUT_SCALE**2 / cell.scale, 30 + power),
                hidden=arithmetic.rescale(_OUTPUT_SCALE**2 / hidden.scale),
                cell_table=functions.tanh(power),
                saturates_terms=not arithmetic.has_fixed_point_gates,
                cell_clip=int(min(clip, 32767.0)) if clip > 0 else 1 << 15,
                zero_points=(x.zero_point, hidden.zero_point),
                is_time_major=bool(operator.option(Options.TIME_MAJOR, UINT8)),
            ),
        )

    def lowering_problem(self, operator):
        problem = self._types_problem(operator)
        if problem:
            return problem
        tensors = operator.inputs
        if any(t is not None and t.data is None for t in tensors[1:_HIDDEN]):
            return "weights computed at run time are not simulated"
        if not (tensors[_HIDDEN].is_variable and tensors[_CELL].is_variable):
            return "states that are no variable tensors are not simulated"
        return ""

    def _types_problem(self, operator) -> str:
        tensors = operator.inputs
        needed = (0, *range(1, 9), *range(12, 16), _HIDDEN, _CELL)
        if len(tensors) < 20 or any(tensors[i] is None for i in needed) or not operator.outputs:
            return "it lacks inputs or outputs"
        if any(t is not None for i, t in enumerate(tensors) if i not in needed):
            return "peepholes, projection and layer normalisation are not simulated"
        types = [tensors[i].type for i in needed]
        if types != ["INT8"] * 9 + ["INT32"] * 4 + ["INT8", "INT16"] or not all(
            tensors[i].is_quantized for i in needed if tensors[i].type != "INT32"
        ):
            return f"tensors of types {', '.join(sorted(set(types)))} are not simulated"
        if any(tensors[i].quantization.scale.values.size != 1 for i in range(1, 9)):
            return "per-channel weights are not simulated"
        activation = fused_activation(operator, Options.ACTIVATION)
        return "" if activation == "TANH" else f"a fused activation {activation} is not simulated"


def _hidden_intermediates(operator: Operator, graph) -> list[Tensor]:
    """The tensor from whose scale LiteRT takes that of the hidden state; none where the file has none."""
    tensors = graph.model.subgraphs[operator.subgraph].tensors
    index = (*operator.intermediates, *[-1] * 5)[4]
    return [tensors[index]] if 0 <= index < len(tensors) and tensors[index].is_quantized else []


def _gate(operator: Operator, index: int, arithmetic: Arithmetic, functions: type[TableGates]) -> Gate:
    tensors = operator.inputs
    x, hidden, w, recurrent = tensors[0], tensors[_HIDDEN], tensors[1 + index], tensors[5 + index]
    bias = centred_bias(tensors[12 + index], len(w.data))
    of_input, of_hidden = (
        arithmetic.rescale(
            rescale.effective_scale(t.scale, weights.scale, _GATE_SCALE, arithmetic.has_float32_products)
        )
        for t, weights in ((x, w), (hidden, recurrent))
    )
    return Gate(
        input_weights=w.data,
        hidden_weights=recurrent.data,
        bias=bias,
        of_input=of_input,
        of_hidden=of_hidden,
        reaches=(
            largest_sum(w.data, bias, centred_limits(x)),
            largest_sum(recurrent.data, np.zeros(len(recurrent.data)), centred_limits(hidden)),
        ),
        table=functions.tanh(-12) if _GATES[index] == "cell" else functions.logistic(),
    )
