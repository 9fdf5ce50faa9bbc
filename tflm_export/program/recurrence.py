# SPDX-License-Identifier: Apache-2.0
"""Layers that go on from what they computed before: SVDF and LSTM."""

import dataclasses

import numpy as np

from tflm_export.program.form import Form, Rescaling, centred, exact_product
from tflm_export.rescale import Rescaler

_INT16 = (-(1 << 15), (1 << 15) - 1)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Svdf(Form):
    """A filter over features, a filter over time on its last outputs, and a sum over ranks.

    Inputs are activations and the state, the last outputs of the first filter; outputs are activations and the state.

    Attributes:
      features: int8 [filters, features].
      time: int8 or int16 [filters, memory].
      bias: int64 [filters / rank].
      rank: how many filters are summed.
      to_state, to_output: the rescales.
      zero_points: of input, state and output.
      reaches: the largest accumulators under both rescales, float64 [filters] and [filters / rank].
    """

    features: np.ndarray
    time: np.ndarray
    bias: np.ndarray
    rank: int
    to_state: Rescaler
    to_output: Rescaler
    zero_points: tuple[int, int, int]
    reaches: tuple[np.ndarray, np.ndarray]

    @property
    def multiplications(self):
        return self.inputs[0].size // self.features.shape[1] * (self.features.size + self.time.size)

    @property
    def rescalings(self):
        return tuple(map(Rescaling, (self.to_state, self.to_output), self.reaches))

    def evaluate(self, x, state):
        """Source: EvalIntegerSvdfReference in tensorflow/lite/micro/kernels/svdf_common.cc."""
        zero_x, zero_state, zero_y = self.zero_points
        rows = x.reshape(-1, self.features.shape[1])
        products = exact_product(centred(rows, zero_x, np.int32), self.features.T)
        kind = self.inputs[1]
        newest = np.clip(self.to_state.apply(products) + zero_state, *kind.limits).astype(kind.dtype)
        filters, memory = self.time.shape
        state = np.concatenate([state.reshape(len(rows), filters, memory)[:, :, 1:], newest[:, :, None]], 2)
        filtered = (centred(state, zero_state) * self.time).sum(2)
        total = filtered.reshape(len(rows), filters // self.rank, self.rank).sum(2) + self.bias
        total = total.astype(np.int32).astype(np.int64)  # the kernels' sums wrap
        y = self.saturated(self.to_output.apply(total) + zero_y)
        return y.reshape(len(x), *self.output.shape), state.reshape(len(x), *kind.shape)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Gate:
    """A gate of an LSTM.

    Attributes:
      input_weights, hidden_weights: int8 [units, inputs] and [units, units].
      bias: int64 [units].
      of_input, of_hidden: rescales of both products to the gate's scale.
      reaches: the largest accumulators under them, float64 [units] each.
      table: the gate's function of every int16.
    """

    input_weights: np.ndarray
    hidden_weights: np.ndarray
    bias: np.ndarray
    of_input: Rescaler
    of_hidden: Rescaler
    reaches: tuple[np.ndarray, np.ndarray]
    table: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Lstm(Form):
    """A sequence through an LSTM with 16-bit gates and cell state.

    Inputs are activations, the hidden state and the cell state; outputs are activations and both states.

    Attributes:
      gates: input, forget, cell and output gate.
      forgotten, added, hidden: rescales of the products of forget gate and cell, input gate and cell gate, and of
        output gate and activated cell.
      cell_table: tanh of every int16 of the cell state.
      saturates_terms: whether the product with the hidden state is saturated to 16 bits before it is added.
      cell_clip: largest magnitude of the cell state; 2**15 for none.
      zero_points: of input and hidden state.
      is_time_major: whether time is the first dimension, and not the second.
    """

    gates: tuple[Gate, Gate, Gate, Gate]
    forgotten: Rescaler
    added: Rescaler
    hidden: Rescaler
    cell_table: np.ndarray
    saturates_terms: bool
    cell_clip: int
    zero_points: tuple[int, int]
    is_time_major: bool

    @property
    def multiplications(self):
        weights = sum(gate.input_weights.size + gate.hidden_weights.size for gate in self.gates)
        units, depth = self.gates[0].input_weights.shape
        return self.inputs[0].size // depth * (weights + 3 * units)

    @property
    def rescalings(self):
        products = np.array([2.0**30])
        return (
            *(Rescaling(gate.of_input, gate.reaches[0]) for gate in self.gates),
            *(Rescaling(gate.of_hidden, gate.reaches[1]) for gate in self.gates),
            *(Rescaling(rescale, products) for rescale in (self.forgotten, self.added, self.hidden)),
        )

    def evaluate(self, x, hidden, cell):
        """Sources: lstm_eval.cc in tensorflow/lite/micro/kernels, and in tensorflow/lite/kernels for LiteRT."""
        (one,) = x  # there is a state: one inference at a time
        steps = one if self.is_time_major else one.swapaxes(0, 1)
        h, c = (state.reshape(steps.shape[1], -1) for state in (hidden, cell))
        outputs = []
        for now in steps:
            h, c = self._step(now, h, c)
            outputs.append(h)
        result = np.stack(outputs, 0 if self.is_time_major else 1)
        return (
            self.saturated(result).reshape(1, *self.output.shape),
            np.clip(h, *self.inputs[1].limits).astype(self.inputs[1].dtype).reshape(1, *self.inputs[1].shape),
            np.clip(c, *_INT16).astype(np.int16).reshape(1, *self.inputs[2].shape),
        )

    def _step(self, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next hidden and cell states, int64 [rows, units]."""
        x, h = centred(x, self.zero_points[0], np.int32), centred(hidden, self.zero_points[1], np.int32)
        of_input, of_forget, of_cell, of_output = (self._gate(gate, x, h) for gate in self.gates)
        kept = _int16(self.forgotten.apply(of_forget * cell.astype(np.int64)))
        added = _int16(self.added.apply(of_input * of_cell))
        cell = np.clip(_int16(kept + added), -self.cell_clip, self.cell_clip)
        rescaled = self.hidden.apply(_looked_up(self.cell_table, cell) * of_output)
        return np.clip(rescaled + self.zero_points[1], *self.inputs[1].limits), cell

    def _gate(self, gate: Gate, x: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        of_input = gate.of_input.apply(exact_product(x, gate.input_weights.T) + gate.bias)
        of_hidden = gate.of_hidden.apply(exact_product(hidden, gate.hidden_weights.T))
        of_hidden = _int16(of_hidden) if self.saturates_terms else of_hidden
        return _looked_up(gate.table, _int16(_int16(of_input) + of_hidden))


def _int16(integers: np.ndarray) -> np.ndarray:
    return np.clip(integers, *_INT16)


def _looked_up(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    return table[x + (1 << 15)]
