"""UNIDIRECTIONAL_SEQUENCE_LSTM: int8 activations and weights, int16 gates and cell state."""

import numpy as np

from tflm_export import fixed_point, rescale, solver
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.options import UnidirectionalSequenceLSTMOptions as Options
from tflm_export.flatbuffer.reader import FLOAT32, UINT8
from tflm_export.ops.base import Declaration, RescalingOp, register, rounded_apart, scale_problem
from tflm_export.ops.context import Rounding, centred, exact_product, fused_activation, saturate
from tflm_export.ops.layer import Layer
from tflm_export.ops.logistic import logistic_from_table, tanh_from_table
from tflm_export.ops.weighted import is_float, together

_GATES = ("input", "forget", "cell", "output")  # their inputs are 1.. (weights), 5.. (recurrent weights), 12.. (biases)
_HIDDEN, _CELL = 18, 19
_GATE_SCALE, _OUTPUT_SCALE = 2.0**-12, 2.0**-15
_GATE_KEY = ("scale", _GATE_SCALE)
_INT16 = np.iinfo(np.int16)


def _int16(integers: np.ndarray) -> np.ndarray:
    return np.clip(integers, _INT16.min, _INT16.max)


@register("UNIDIRECTIONAL_SEQUENCE_LSTM")
class UnidirectionalSequenceLSTM(RescalingOp):
    """Without peepholes, projection and layer normalisation, as TFLM has it.

    Factors are those of input and recurrent weights for each gate, to units of 2**-12; of the forget gate times the
    cell, and of the input gate times the cell gate, which are powers of two; and of the new hidden state. The weights
    land the first eight on the grid, the scale of the hidden state, which is the output's too, the last one.

    The runtimes differ: TFLM looks logistic and tanh up in a table and rescales the products of gates with 31-bit
    multipliers; LiteRT computes both functions in 16-bit fixed point and shifts the products. Narrow kernels are
    simulated as TFLM's with narrow multipliers.
    """

    rewrites_constants = True

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
        problem = self.simulation_problem(operator)
        if problem:
            return problem
        x, hidden, cell = (operator.inputs[i] for i in (0, _HIDDEN, _CELL))
        activations = (x, hidden, operator.outputs[0])
        problem = scale_problem(*activations, types=("INT8",)) or scale_problem(cell, types=("INT16",))
        if problem:
            return problem
        if not rescale.is_narrow(cell.scale, 1):
            return f"its cell state, {cell.label}, has scale {cell.scale:g}, which is no power of two"
        return next((p for p in (layer.problem(graph) for layer in self.layers(operator)) if p), "")

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

    def edit(self, operator, plan, edits):
        for layer in self.layers(operator):
            layer.edit(plan, edits)

    def worst_case(self, operator, bits):
        bounds = [layer.worst_case(bits) for layer in self.layers(operator)]
        products = rounded_apart(np.full(3, 2.0**30), self.factors(operator)[-3:], bits)
        return together([*bounds, products])

    def weight_error(self, before, after):
        pairs = zip(self.layers(before), self.layers(after), strict=True)
        return max(old.weight_error(new) for old, new in pairs)

    def run(self, operator, inputs, context):
        """Sources: lstm_eval.cc in tensorflow/lite/micro/kernels, and in tensorflow/lite/kernels for LiteRT."""
        x = inputs[0]
        time_major = operator.option(Options.TIME_MAJOR, UINT8)
        steps = x if time_major else x.swapaxes(0, 1)
        hidden, cell = (inputs[i].reshape(steps.shape[1], -1) for i in (_HIDDEN, _CELL))
        step = _Step(operator, inputs, context)
        outputs = []
        for now in steps:
            hidden, cell = step(now, hidden, cell)
            outputs.append(hidden)
        for i, state in ((_HIDDEN, hidden), (_CELL, cell)):
            tensor = operator.inputs[i]
            context.variables[tensor.key] = saturate(tensor, state).reshape(tensor.shape)
        result = np.stack(outputs, 0 if time_major else 1)
        return [saturate(operator.outputs[0], result).reshape(operator.outputs[0].shape)]

    def simulation_problem(self, operator):
        tensors = operator.inputs
        needed = (0, *range(1, 9), *range(12, 16), _HIDDEN, _CELL)
        if len(tensors) < 20 or any(tensors[i] is None for i in needed):
            return "it lacks inputs"
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

    def mixes_rows(self, operator):
        return True


def _hidden_intermediates(operator: Operator, graph) -> list[Tensor]:
    """The tensor from whose scale LiteRT takes that of the hidden state; none where the file has none."""
    tensors = graph.model.subgraphs[operator.subgraph].tensors
    index = (*operator.intermediates, *[-1] * 5)[4]
    return [tensors[index]] if 0 <= index < len(tensors) and tensors[index].is_quantized else []


class _Step:
    """One time step of a layer."""

    def __init__(self, operator, inputs, context):
        self.operator, self.inputs, self.context = operator, inputs, context
        self.stock_litert = context.rounding is Rounding.TFLITE
        self.cell_power = round(np.log2(operator.inputs[_CELL].scale))
        clip = operator.option(Options.CELL_CLIP, FLOAT32, 0.0) / operator.inputs[_CELL].scale
        self.clip = int(min(clip, 32767.0)) if clip > 0 else _INT16.max + 1

    def __call__(self, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next hidden and cell states, int64 [rows, units]."""
        tensors = self.operator.inputs
        cell_scale, hidden_scale = tensors[_CELL].scale, tensors[_HIDDEN].scale
        gates = {name: self._gate(i, x, hidden) for i, name in enumerate(_GATES)}
        kept = self._product(gates["forget"], cell.astype(np.int64), _OUTPUT_SCALE, 15)
        added = self._product(gates["input"], gates["cell"], _OUTPUT_SCALE**2 / cell_scale, 30 + self.cell_power)
        cell = np.clip(_int16(kept + added), -self.clip, self.clip)
        activated = self._tanh(cell, self.cell_power)
        factor = _OUTPUT_SCALE**2 / hidden_scale
        rescaled = self.context.requantize(activated * gates["output"], factor)
        return saturate(tensors[_HIDDEN], rescaled + tensors[_HIDDEN].zero_point), cell

    def _gate(self, gate: int, x: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        of_input = self._dense(0, x, 1 + gate, self.inputs[12 + gate])
        of_hidden = self._dense(_HIDDEN, hidden, 5 + gate, 0)
        # TFLM saturates the second term before it adds it.
        of_hidden = of_hidden if self.stock_litert else _int16(of_hidden)
        total = _int16(_int16(of_input) + of_hidden)
        if _GATES[gate] == "cell":
            return self._tanh(total, -12)
        return fixed_point.logistic(total, 3, 16) if self.stock_litert else logistic_from_table(3 * total)

    def _dense(self, x: int, values: np.ndarray, w: int, bias) -> np.ndarray:
        tensors = self.operator.inputs
        product = exact_product(centred(tensors[x], values, np.int32), self.inputs[w].T)
        factor = rescale.effective_scale(tensors[x].scale, tensors[w].scale, _GATE_SCALE, self.stock_litert)
        return self.context.requantize(product + bias, factor)

    def _product(self, a: np.ndarray, b: np.ndarray, factor: float, shift: int) -> np.ndarray:
        if self.stock_litert:
            return _int16(rescale.rounding_divide_by_pot(a * b, shift))
        return _int16(self.context.requantize(a * b, factor))

    def _tanh(self, x: np.ndarray, power: int) -> np.ndarray:
        """tanh of integers in units of 2**power, in units of 2**-15."""
        if self.stock_litert:
            return fixed_point.tanh(x, 15 + power, 16)
        shift = 12 + power
        return tanh_from_table(x * (3 << shift) if shift >= 0 else (3 * x + (1 << (-shift - 1))) >> -shift)
