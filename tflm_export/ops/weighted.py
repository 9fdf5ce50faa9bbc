"""Operators with int8 weights: factor `Sx * Sw[c] / Sy`, landed on the grid by the weight scales.

`requantize` rounds the factor up, writes the larger weight scale that makes it so and re-rounds weights and bias to it.
`keep` rounds the factor to nearest and writes a scale that says so; weights and bias keep their bytes.
"""

import numpy as np

from tflm_export import rescale, rounding, solver
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.ops.base import SMALLEST_SCALE, Declaration, Op, WorstCase, int8_problem, quantized_keys
from tflm_export.ops.statistics import Statistics

_INT32 = np.iinfo(np.int32)
_BLOCK = 1 << 13  # weights that are rounded at a time: keeps temporary memory small beside the file


class WeightedOp(Op):
    """Base of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED.

    Attributes:
      weight_rank: dimensions of the weight tensor.
      channel_axis: which of them are the output channels.
      float32_product: whether the runtimes multiply Sx and a per-tensor Sw in float32.
    """

    min_inputs = 2
    weight_rank = 4
    channel_axis = 0
    float32_product = False

    def declare(self, operator, graph):
        if _is_float(operator):
            return Declaration(pins=quantized_keys(operator))
        problem = self._problem(operator, graph)
        if problem:
            return Declaration(pins=quantized_keys(operator), reason=problem)
        x, w, _ = _inputs(operator)
        scale = w.quantization.scale.values
        per_tensor = float(scale[0]) if scale.size == 1 and scale[0] > 0 else None
        return Declaration(node=solver.Weighted(x.key, operator.outputs[0].key, per_tensor))

    def _problem(self, operator: Operator, graph) -> str:
        x, w, bias = _inputs(operator)
        problem = int8_problem(x, operator.outputs[0])
        if problem:
            return problem
        where = f"weight tensor {w.index} ({w.name})"
        if w.type != "INT8" or w.quantization is None:
            return (
                f"{where} is {w.type} {'without scales' if w.quantization is None else ''}; INT8 with scales is needed"
            )
        if w.data is None:
            return f"{where} is computed at run time; a constant is needed"
        if len(w.shape) != self.weight_rank or not w.data.size:
            return f"{where} has shape {list(w.shape)}; {self.weight_rank} dimensions are needed, none of them 0"
        if w.quantization.zero_point.any():
            return f"{where} has a zero point other than 0"
        channels = w.quantization.scale.values.size
        if channels not in (1, w.shape[self.channel_axis]):
            return f"{where} has {channels} scales for {w.shape[self.channel_axis]} output channels"
        if channels > 1 and w.quantization.dimension != self.channel_axis:
            return f"{where} is quantised along dimension {w.quantization.dimension}; {self.channel_axis} is needed"
        if w.quantization.scale.values.max() > 1 / SMALLEST_SCALE:
            return f"{where} has scale {w.quantization.scale.values.max():g}, over {1 / SMALLEST_SCALE:g}"
        if not graph.owns(w):
            return f"{where} is shared with another operator or tensor"
        if bias is None:
            return ""
        where = f"bias tensor {bias.index} ({bias.name})"
        if bias.type != "INT32" or bias.data is None:
            return f"{where} is {bias.type}{'' if bias.is_constant else ' computed at run time'}; INT32 is needed"
        if bias.quantization is not None and bias.quantization.scale.values.size != channels:
            return f"{where} has {bias.quantization.scale.values.size} scales, its weights have {channels}"
        if not graph.owns(bias):
            return f"{where} is shared with another operator or tensor"
        return ""

    def factors(self, operator):
        x, w, _ = _inputs(operator)
        y = operator.outputs[0]
        if not (x.is_quantized and w.is_quantized and y.is_quantized and y.scale > 0):
            return None
        return self._factors(x.scale, w.quantization.scale.values, y.scale)

    def _factors(self, input_scale, weight_scale, output_scale) -> np.ndarray:
        product_first = self.float32_product and weight_scale.size == 1
        factor = rescale.effective_scale(input_scale, weight_scale, output_scale, product_first)
        # The runtimes flush factors this small to 0; such a rescale has no multiplier to narrow.
        return np.where(rescale.quantize_multiplier(factor).multiplier == 0, 0.0, factor)

    def edit(self, operator, plan, edits):
        x, w, bias = _inputs(operator)
        y = operator.outputs[0]
        input_scale, output_scale = plan.scales[x.key], plan.scales[y.key]
        old = w.quantization.scale.values
        stock = self._factors(x.scale, old, y.scale)
        factor = self._factors(input_scale, old, output_scale)
        if plan.method == solver.KEEP:
            target = rescale.snap(stock, plan.bits, "nearest").value
            settled = np.isclose(target, factor, rtol=rescale.FLOAT32_TOLERANCE, atol=0)
        else:
            target = rescale.snap(factor, plan.bits, "up").value
            settled = rescale.is_narrow(factor, plan.bits)
        new = np.where(settled, old, target * output_scale / input_scale).astype(np.float32)
        edits.set(w.quantization.scale.offset, old, new, f"scales of {w.name}")
        if bias is not None and bias.quantization is not None:
            new_bias_scale = (np.float64(input_scale) * new).astype(np.float32)
            old_bias_scale = bias.quantization.scale.values
            kept = settled & (input_scale == x.scale)
            new_bias_scale = np.where(kept, old_bias_scale, new_bias_scale)
            edits.set(bias.quantization.scale.offset, old_bias_scale, new_bias_scale, f"scales of {bias.name}")
        if plan.method == solver.KEEP:
            return
        growth = np.divide(new.astype(np.float64), old, out=np.ones(old.shape), where=old > 0)
        shift = 0.0  # of the accumulators, in old units
        if (growth != 1).any():
            statistics = plan.statistics(operator) if plan.statistics is not None else None
            weights = self._rounded(x, w, growth, statistics)
            edits.set(w.data_offset, w.data, self._weight_shape(weights, w), f"weights {w.name}")
            if statistics is not None:
                lost = self._channel_rows(w.data) - weights * growth.reshape(-1, 1)
                shift = (lost * statistics.mean).sum(1)
        growth = growth * (input_scale / x.scale)
        if bias is not None and ((growth != 1).any() or np.any(shift)):
            integers = np.clip(np.rint((bias.data + shift) / growth), _INT32.min, _INT32.max)
            edits.set(bias.data_offset, bias.data, integers, f"bias {bias.name}")

    def _rounded(self, x: Tensor, w: Tensor, growth: np.ndarray, statistics: Statistics | None) -> np.ndarray:
        """The weights at scales that grew, int8 [channels, elements]; where a scale did not, the integers stay."""
        old = self._channel_rows(w.data)
        new = old.copy()
        growth = np.broadcast_to(growth, len(old))
        kernel = w.shape[1:3] if len(w.shape) == 4 else (1, 1)
        changed = np.flatnonzero(growth != 1)
        step = max(1, _BLOCK // old.shape[1]) if statistics is None else len(old)
        for block in (changed[i : i + step] for i in range(0, len(changed), step)):
            target = old[block] / growth[block, None]
            if statistics is None:
                taps = target.reshape(len(block), kernel[0] * kernel[1], -1)
                rounded = rounding.round_weights(taps, kernel, one_sided=x.zero_point == -128)
            else:
                covariance = statistics.covariance
                rounded = rounding.error_feedback(target, covariance[block] if covariance.ndim == 3 else covariance)
            new[block] = rounded.reshape(len(block), -1)
        return new

    def _channel_rows(self, values: np.ndarray) -> np.ndarray:
        """Weights as [channels, elements]."""
        return np.moveaxis(values, self.channel_axis, 0).reshape(values.shape[self.channel_axis], -1)

    def _weight_shape(self, rows: np.ndarray, w: Tensor) -> np.ndarray:
        """Weights of [channels, elements] in the tensor's shape."""
        channels_first = [w.shape[self.channel_axis], *np.delete(w.shape, self.channel_axis)]
        return np.moveaxis(rows.reshape(channels_first), 0, self.channel_axis)

    def worst_case(self, operator, bits):
        x, w, bias = _inputs(operator)
        weights = self._channel_rows(w.data)
        positive = np.maximum(weights, 0).sum(1, dtype=np.int64)
        negative = np.minimum(weights, 0).sum(1, dtype=np.int64)
        low, high = -128 - x.zero_point, 127 - x.zero_point
        offset = np.asarray(bias.data, np.int64) if bias is not None else 0
        most = positive * high + negative * low + offset
        least = positive * low + negative * high + offset
        accumulator = np.maximum(np.abs(most), np.abs(least)).astype(np.float64)
        recovered = rescale.recover(self.factors(operator), bits)
        half = np.ldexp(0.5, np.maximum(recovered.shift, 0))
        return WorstCase(accumulator, accumulator * recovered.multiplier + half)

    def weight_error(self, before, after):
        old, new = _inputs(before)[1], _inputs(after)[1]
        old_scale, new_scale = (w.quantization.scale.values.astype(np.float64) for w in (old, new))
        a, b = self._channel_rows(old.data), self._channel_rows(new.data)
        # Sums of products of int8 are exact; only they are combined in float64.
        power, cross, new_power = (_row_products(*pair) for pair in ((a, a), (a, b), (b, b)))
        power = power * old_scale**2
        error = power - 2 * old_scale * new_scale * cross + new_scale**2 * new_power
        relative = np.divide(error, power, out=np.zeros_like(power), where=power > 0)
        return float(np.sqrt(relative.max(initial=0.0)))


def _row_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum over each row of a * b, exact in float64 [rows]; int8 [rows, n]."""
    return np.einsum("ij,ij->i", a, b, dtype=np.int64, casting="unsafe").astype(np.float64)


def _inputs(operator: Operator) -> tuple[Tensor, Tensor, Tensor | None]:
    """Input, weights and bias."""
    x, w, *rest = operator.inputs
    return x, w, rest[0] if rest else None


def _is_float(operator: Operator) -> bool:
    """Whether the accumulator is not an integer one: float and dynamic-range operators."""
    return any(t is not None and t.type in ("FLOAT32", "FLOAT16") for t in (operator.inputs[0], *operator.outputs))
