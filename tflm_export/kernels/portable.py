"""Operators as calls of the portable kernels. A core with kernels of its own overrides single operators."""

import math
from collections.abc import Callable

import numpy as np

from tflm_export import rescale
from tflm_export.errors import ModelError
from tflm_export.fixed_point import exp_on_negative_values
from tflm_export.flatbuffer import options
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.reader import FLOAT32
from tflm_export.kernels import folding
from tflm_export.kernels.folding import End, Folded
from tflm_export.kernels.step import Step, UnsupportedError
from tflm_export.ops import op_for
from tflm_export.ops.base import int8_problem
from tflm_export.ops.context import Context, Rounding, activation_range, fused_activation
from tflm_export.ops.windows import Windows, windows

_MAX_SOFTMAX_DEPTH = 4095
_SOFTMAX_INTEGER_BITS = 5


class Portable:
    """Lowers operators to portable C99.

    Args:
      bits: width k that the model was narrowed to.
      rounding: NARROW, or TFLM for the stock rescale.
    """

    def __init__(self, bits: int, rounding: Rounding = Rounding.NARROW):
        self.bits, self.rounding = bits, rounding
        self.planar: frozenset = frozenset()  # keys of tensors that are kept channel by channel

    def gives_planes(self, operator: Operator) -> bool:
        """Whether the operator can write its output channel by channel at no cost."""
        return False

    def takes_planes(self, operator: Operator) -> bool:
        """Whether the operator would rather read its input channel by channel."""
        return False

    @property
    def operators(self) -> dict[str, Callable[[Operator], Step]]:
        """The lowering of every operator type there is."""
        tables = "RELU RELU6 RELU_N1_TO_1 LEAKY_RELU LOGISTIC TANH HARD_SWISH"
        return dict.fromkeys(tables.split(), self.table) | {
            "CONV_2D": self.conv_2d,
            "DEPTHWISE_CONV_2D": self.depthwise_conv_2d,
            "FULLY_CONNECTED": self.fully_connected,
            "ADD": self.add,
            "MUL": self.mul,
            "AVERAGE_POOL_2D": self.pool,
            "MAX_POOL_2D": self.pool,
            "MEAN": self.mean,
            "SOFTMAX": self.softmax,
            "QUANTIZE": self.quantize,
            "PAD": self.pad,
            "PADV2": self.pad,
            "CONCATENATION": self.concatenation,
        }

    def lower(self, operator: Operator) -> Step:
        """One operator.

        Raises:
          UnsupportedError: the kernels cannot express it.
        """
        lowering = self.operators.get(operator.name)
        if lowering is None:
            raise UnsupportedError("there is no kernel for it")
        problem = op_for(operator).simulation_problem(operator)
        if problem:
            raise UnsupportedError(problem)
        computed = [t for t in operator.inputs if t is not None and not t.is_constant]
        problem = int8_problem(*computed, *operator.outputs)
        if problem:
            raise UnsupportedError(problem)
        try:
            return lowering(operator)
        except ModelError as error:
            raise UnsupportedError(str(error)) from None

    # Operators with weights.

    def conv_2d(self, operator: Operator) -> Step:
        x, w, y = *operator.inputs[:2], operator.outputs[0]
        _weights(operator)
        view = self.view(operator)
        if x.shape[3] != w.shape[3]:
            raise UnsupportedError("grouped convolution has no kernel")
        activation = activation_of(operator, options.Conv2DOptions.ACTIVATION)
        rows = w.data.reshape(w.shape[0], -1)
        folded = self.fold(operator, rows)
        rows = np.where(folded.dead[:, None], 0, rows)
        if is_pointwise(view):
            return self._dense(operator, folded, rows, math.prod(y.shape[:3]), activation)
        return self._windowed(operator, folded, rows, view, activation, rows.shape[1])

    def view(self, operator: Operator) -> Windows:
        """The windows of a CONV_2D."""
        return windows(operator, options.Conv2DOptions, operator.inputs[0].shape, operator.inputs[1].shape[1:3])

    def depthwise_conv_2d(self, operator: Operator) -> Step:
        x, w = operator.inputs[:2]
        _weights(operator)
        view = self.depthwise_view(operator)
        activation = activation_of(operator, options.DepthwiseConv2DOptions.ACTIVATION)
        columns = w.data.reshape(-1, w.shape[3])
        folded = self.fold(operator, columns.T)
        columns = np.where(folded.dead, 0, columns)
        return self._windowed(operator, folded, columns, view, activation, columns.shape[0] * x.shape[3])

    def fully_connected(self, operator: Operator) -> Step:
        x, _ = operator.inputs[:2]
        rows = _weights(operator)
        activation = activation_of(operator, options.FullyConnectedOptions.ACTIVATION)
        folded = self.fold(operator, rows)
        rows = np.where(folded.dead[:, None], 0, rows)
        return self._dense(operator, folded, rows, math.prod(x.shape) // rows.shape[1], activation)

    def fold(self, operator: Operator, rows: np.ndarray) -> Folded:
        """The rescale of an operator with weights [channels, elements]."""
        x, _, *rest = operator.inputs
        bias = rest[0] if rest else None
        if bias is not None and (bias.data is None or bias.type != "INT32"):
            raise UnsupportedError(f"its bias {bias.name} is not a constant of INT32")
        offsets = np.zeros(len(rows), np.int64) if bias is None else bias.data.reshape(-1).astype(np.int64)
        positive = np.maximum(rows, 0).sum(1, dtype=np.int64)
        negative = np.minimum(rows, 0).sum(1, dtype=np.int64)
        low, high = -128 - x.zero_point, 127 - x.zero_point
        sums = positive * low + negative * high + offsets, positive * high + negative * low + offsets
        factors = op_for(operator).factors(operator)
        if factors is None:
            raise UnsupportedError("its scales give no rescale factor")
        centring = -x.zero_point * (positive + negative)
        reach = 128 * (positive - negative)
        y = operator.outputs[0]
        return folding.fold(factors, self.bits, self.rounding, offsets, centring, reach, sums, y.zero_point)

    def depthwise_view(self, operator: Operator) -> Windows:
        """The windows of a DEPTHWISE_CONV_2D."""
        kernel = operator.inputs[1].shape[1:3]
        return windows(operator, options.DepthwiseConv2DOptions, operator.inputs[0].shape, kernel)

    def _windowed(self, operator, folded: Folded, weights, view: Windows, activation: tuple, patch: int) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        function = f"narrow_{operator.name.lower()}"
        statements = (
            window_statement(view, x, y),
            rescale_statement(folded),
            f"{function}_{folded.end.value}(&window, &rescale, weights, x0, y, scratch);",
        )
        constants = {"weights": weights.astype(np.int8)} | folded.constants()
        return self.with_activation(operator, (x,), statements, constants, activation, patch, f"{function}.c", folded)

    def _dense(self, operator, folded: Folded, weights, rows: int, activation: tuple) -> Step:
        channels, depth = weights.shape
        call = f"narrow_fully_connected_{folded.end.value}({rows}, {depth}, {channels}, &rescale, weights, x0, y);"
        constants = {"weights": weights.astype(np.int8)} | folded.constants()
        statements = (rescale_statement(folded), call)
        inputs, kernel = operator.inputs[:1], "narrow_fully_connected.c"
        return self.with_activation(operator, inputs, statements, constants, activation, 0, kernel, folded)

    def with_activation(
        self, operator, inputs, statements, constants, activation, scratch=0, kernel="", folded=None, definitions=()
    ) -> Step:
        """A step whose kernel saturates to int8, with a fused activation that is narrower than that behind it."""
        kernels = (kernel,)
        low, high = activation
        if (low, high) != (-128, 127):
            count = math.prod(operator.outputs[0].shape)
            statements = (*statements, f"narrow_clamp({count}, {low}, {high}, y, y);")
            kernels = (kernel, "narrow_clamp.c")
        note = "" if folded is None else f"rescale: {folded.end.value}"
        held = {"x0": operator.inputs[0], "y": operator.outputs[0]}
        planes = tuple(name for name, tensor in held.items() if tensor.key in self.planar)
        return Step(
            operator, tuple(inputs), tuple(statements), constants, scratch, kernels, tuple(definitions), note, planes
        )

    # Operators on two tensors.

    def add(self, operator: Operator) -> Step:
        (a, b), y, repeats, count = _broadcast(operator)
        activation = activation_of(operator, options.AddOptions.ACTIVATION)
        if self.rounding is not Rounding.NARROW:
            return self._add_stock(operator, (a, b), repeats, count, activation)
        recovered = rescale.recover_held(
            np.array([rescale.effective_scale(t.scale, 1.0, y.scale) for t in (a, b)]), self.bits
        )
        shift = max(0, int(recovered.shift.max()))
        factors = [int(m) << (shift - int(s)) for m, s in zip(recovered.multiplier, recovered.shift, strict=True)]
        common = min(shift, *((f & -f).bit_length() - 1 for f in factors if f)) if any(factors) else shift
        shift, factors = shift - common, [f >> common for f in factors]
        start = ((1 << shift) >> 1) + (y.zero_point << shift)
        start -= sum(t.zero_point * f for t, f in zip((a, b), factors, strict=True))
        reach = 128 * sum(factors) + abs(start)
        if reach < folding.INT32_LIMIT:
            name, suffix = "narrow_add", ""
        elif reach < 1 << 63:
            name, suffix = "narrow_add_wide", "LL"
        else:
            raise UnsupportedError("the scales of its inputs and output are too far apart for 64-bit arithmetic")
        numbers = ", ".join(f"{value}{suffix}" for value in (*factors, start))
        statements = (f"{name}({repeats}, {count}, {numbers}, {shift}, x0, x1, y);",)
        return self.with_activation(operator, (a, b), statements, {}, activation, kernel=f"{name}.c")

    def _add_stock(self, operator, inputs, repeats: int, count: int, activation) -> Step:
        a, b, y = *inputs, operator.outputs[0]
        twice = 2 * max(a.scale, b.scale)
        stock = rescale.quantize_multiplier(np.array([a.scale / twice, b.scale / twice, twice / ((1 << 20) * y.scale)]))
        constants = {
            "multipliers": stock.multiplier.astype(np.int32),
            "zero_points": np.array([t.zero_point for t in (a, b, y)], np.int32),
            "shifts": np.where(stock.multiplier == 0, 0, stock.shift - rescale.MAX_BITS).astype(np.int8),
        }
        call = f"narrow_add_stock({repeats}, {count}, multipliers, shifts, zero_points, x0, x1, y);"
        return self.with_activation(operator, inputs, (call,), constants, activation, kernel="narrow_add_stock.c")

    def mul(self, operator: Operator) -> Step:
        (a, b), y, repeats, count = _broadcast(operator)
        activation = activation_of(operator, options.MulOptions.ACTIVATION)
        ends = [(-128 - t.zero_point, 127 - t.zero_point) for t in (a, b)]
        products = [p * q for p in ends[0] for q in ends[1]]
        low, high = np.array([min(products)]), np.array([max(products)])
        none, reach = np.zeros(1, np.int64), np.maximum(-low, high)
        factor = np.atleast_1d(rescale.effective_scale(a.scale, b.scale, y.scale))
        folded = folding.fold(factor, self.bits, self.rounding, none, none, reach, (low, high), y.zero_point)
        if folded.dead.any():
            raise UnsupportedError("its factor is so small that its output is constant")
        constants = {"zero_points": np.array([a.zero_point, b.zero_point], np.int32)} | folded.constants()
        call = f"narrow_mul_{folded.end.value}({repeats}, {count}, zero_points, &rescale, x0, x1, y);"
        statements = (rescale_statement(folded), call)
        return self.with_activation(operator, (a, b), statements, constants, activation, 0, "narrow_mul.c", folded)

    def concatenation(self, operator: Operator) -> Step:
        y = operator.outputs[0]
        axis = operator.option(options.ConcatenationOptions.AXIS) % len(y.shape)
        rows, stride = math.prod(y.shape[:axis]), math.prod(y.shape[axis:])
        statements, start = [], 0
        for i, x in enumerate(operator.inputs):
            width = math.prod(x.shape[axis:])
            statements.append(f"narrow_copy_rows({rows}, {width}, {stride}, x{i}, y + {start});")
            start += width
        return Step(operator, operator.inputs, tuple(statements), kernels=("narrow_copy_rows.c",))

    # Operators on one tensor.

    def pool(self, operator: Operator) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        fields = options.Pool2DOptions
        kernel = (operator.option(fields.FILTER_HEIGHT), operator.option(fields.FILTER_WIDTH))
        view = windows(operator, fields, x.shape, kernel, dilated=False)
        name = f"narrow_{operator.name.lower()}"
        statements = (window_statement(view, x, y), f"{name}(&window, x0, y);")
        activation = activation_of(operator, fields.ACTIVATION)
        return self.with_activation(operator, (x,), statements, {}, activation, kernel=f"{name}.c")

    def mean(self, operator: Operator) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        rank = len(x.shape)
        axes = {int(a) % rank for a in operator.inputs[1].data.reshape(-1)}
        axes = sorted(a for a in axes if x.shape[a] != 1)
        if axes and axes != list(range(axes[0], axes[-1] + 1)):
            raise UnsupportedError(f"its axes {axes} are not next to one another")
        first, last = (axes[0], axes[-1] + 1) if axes else (0, 0)
        outer, count, inner = (math.prod(part) for part in (x.shape[:first], x.shape[first:last], x.shape[last:]))
        if count >= 1 << 23:
            raise UnsupportedError(f"a sum of {count} elements does not fit 32 bits")
        factor = rescale.effective_scale(x.scale, 1.0, y.scale)
        if self.rounding is not Rounding.NARROW:
            return self._mean_stock(operator, factor, outer, count, inner)
        recovered = rescale.recover_held(factor, self.bits)
        multiplier, shift = int(recovered.multiplier), int(recovered.shift)
        # 2 * (sum * m / divisor) and 1, over two: floor then rounds halves up.
        factor = 2 * multiplier << max(-shift, 0)
        divisor = 2 * count << max(shift, 0)
        common = math.gcd(factor, divisor // 2)
        factor, divisor = factor // common, divisor // common
        start = divisor * (y.zero_point + 128) + divisor // 2 - x.zero_point * count * factor
        reach = 128 * count * factor + abs(start)
        if max(reach, divisor) < folding.INT32_LIMIT:
            name, suffix = "narrow_mean", ""
        elif max(reach, divisor) < 1 << 63:
            name, suffix = "narrow_mean_wide", "LL"
        else:
            raise UnsupportedError("the scales of its input and output are too far apart for 64-bit arithmetic")
        numbers = ", ".join(f"{value}{suffix}" for value in (factor, start, divisor))
        call = f"{name}({outer}, {count}, {inner}, {numbers}, x0, y);"
        return Step(operator, (x,), (call,), kernels=(f"{name}.c",))

    def _mean_stock(self, operator, factor, outer: int, count: int, inner: int) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        stock = rescale.quantize_multiplier(factor)
        # TFLM divides the 31-bit multiplier by the count, truncated, with as many more bits as the count has.
        more = min(count.bit_length() - 1, 32, 62 - int(stock.shift))
        constants = {
            "multiplier": np.array([(int(stock.multiplier) << more) // count], np.int32),
            "shift": np.array([int(stock.shift) + more - rescale.MAX_BITS], np.int8),
        }
        rescale_ = _rescale_fields({"multiplier", "shift"}, y.zero_point)
        call = f"narrow_mean_stock({outer}, {count}, {inner}, {x.zero_point}, &rescale, x0, y);"
        return Step(operator, (x,), (rescale_, call), constants, kernels=("narrow_mean_stock.c",))

    def softmax(self, operator: Operator) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        depth = x.shape[-1] if x.shape else 1
        if y.zero_point != -128 or depth > _MAX_SOFTMAX_DEPTH:
            raise UnsupportedError(f"an output zero point of -128 and at most {_MAX_SOFTMAX_DEPTH} classes are needed")
        beta = float(np.float32(operator.option(options.SoftmaxOptions.BETA, FLOAT32)))
        fraction_bits = 31 - _SOFTMAX_INTEGER_BITS
        stock = rescale.quantize_multiplier(min(beta * x.scale * (1 << fraction_bits), (1 << 31) - 1.0))
        least = ((1 << _SOFTMAX_INTEGER_BITS) - 1) * (1 << fraction_bits) >> (31 - int(stock.shift))
        differences = -np.arange(min(least, 255) + 1)
        scaled = rescale.multiply_by_quantized_multiplier_double(differences, stock)
        exponentials = exp_on_negative_values(scaled, _SOFTMAX_INTEGER_BITS).astype(np.int32)
        rows = math.prod(x.shape) // depth
        call = f"narrow_softmax({rows}, {depth}, {len(exponentials)}, exponentials, x0, y);"
        return Step(operator, (x,), (call,), {"exponentials": exponentials}, kernels=("narrow_softmax.c",))

    def quantize(self, operator: Operator) -> Step:
        """In 32 bits where they suffice, else from a table."""
        x, y = operator.inputs[0], operator.outputs[0]
        recovered = rescale.recover_held(rescale.effective_scale(x.scale, 1.0, y.scale), self.bits)
        low, high = -128 - x.zero_point, 127 - x.zero_point
        channel = folding.simplify(int(recovered.multiplier), int(recovered.shift), low, high, y.zero_point)
        factor, shift = channel.multiplier, channel.shift
        start = ((1 << shift) >> 1) + (y.zero_point << shift) - x.zero_point * factor
        fits = 128 * factor + abs(start) < folding.INT32_LIMIT
        if self.rounding is not Rounding.NARROW or channel.constant is not None or not fits:
            return self.table(operator)
        call = f"narrow_quantize({math.prod(x.shape)}, {factor}, {start}, {shift}, x0, y);"
        return Step(operator, (x,), (call,), kernels=("narrow_quantize.c",))

    def table(self, operator: Operator) -> Step:
        """Any function of one element: all its values."""
        x = operator.inputs[0]
        domain = np.arange(-128, 128).astype(np.int8)
        (values,) = op_for(operator).run(operator, [domain], Context(self.rounding, self.bits, 256, {}, None))
        call = f"narrow_lookup({math.prod(x.shape)}, table, x0, y);"
        return Step(operator, (x,), (call,), {"table": values.astype(np.int8)}, kernels=("narrow_lookup.c",))

    def pad(self, operator: Operator) -> Step:
        x, border, *value = operator.inputs
        if value and value[0].data is None:
            raise UnsupportedError("its padding value is not a constant")
        fill = int(value[0].data.reshape(-1)[0]) if value else operator.outputs[0].zero_point
        rank = len(x.shape)
        if rank > 4:
            raise UnsupportedError(f"{rank} axes are more than 4")
        sides = [(0, 0)] * (4 - rank) + border.data.reshape(-1, 2).tolist()
        before, after = zip(*sides, strict=True)
        constants = {
            "shape": np.array([1] * (4 - rank) + list(x.shape), np.int32),
            "before": np.array(before, np.int32),
            "after": np.array(after, np.int32),
        }
        call = f"narrow_pad(shape, before, after, {fill}, x0, y);"
        return Step(operator, (x,), (call,), constants, kernels=("narrow_pad.c",))


def is_pointwise(view: Windows) -> bool:
    """Whether windows are single pixels, every one of them in order."""
    return all((a.kernel, a.stride, a.before, a.after) == (1, 1, 0, 0) for a in (view.height, view.width))


def activation_of(operator: Operator, field) -> tuple[int, int]:
    """The range that a fused activation clamps to, within int8."""
    low, high = activation_range(operator.outputs[0], fused_activation(operator, field))
    clamp = [max(-128, min(127, bound)) for bound in (-128 if low is None else low, 127 if high is None else high)]
    return clamp[0], clamp[1]


def _weights(operator: Operator) -> np.ndarray:
    w = operator.inputs[1]
    if w.data is None:
        raise UnsupportedError(f"its weights {w.name} are computed at run time")
    if w.type != "INT8" or w.quantization.zero_point.any():
        raise UnsupportedError(f"its weights {w.name} are not INT8 with zero point 0")
    return w.data


def _broadcast(operator: Operator) -> tuple[tuple[Tensor, Tensor], Tensor, int, int]:
    """The operands with the one that is repeated last, the output, how often it is, and its elements."""
    (a, b), y = operator.inputs, operator.outputs[0]
    for first, second in ((a, b), (b, a)):
        shape = list(second.shape)
        while shape and shape[0] == 1:
            shape.pop(0)
        whole = math.prod(first.shape) == math.prod(y.shape)
        if whole and shape == list(y.shape[len(y.shape) - len(shape) :]):
            problem = int8_problem(a, b)
            if problem:
                raise UnsupportedError(problem)
            count = math.prod(shape)
            return (first, second), y, math.prod(y.shape) // count, count
    raise UnsupportedError(f"broadcasting {list(a.shape)} and {list(b.shape)} has no kernel")


def window_statement(view: Windows, x: Tensor, y: Tensor) -> str:
    """The narrow_window of an operator."""
    height, width = view.height, view.width
    fields = {
        "batches": x.shape[0],
        "input_height": x.shape[1],
        "input_width": x.shape[2],
        "input_channels": x.shape[3],
        "output_height": height.output,
        "output_width": width.output,
        "output_channels": y.shape[3],
        "kernel_height": height.kernel,
        "kernel_width": width.kernel,
        "stride_height": height.stride,
        "stride_width": width.stride,
        "dilation_height": height.dilation,
        "dilation_width": width.dilation,
        "pad_top": height.before,
        "pad_left": width.before,
        "padding_value": x.zero_point,
    }
    return f"static const narrow_window window = {{{', '.join(f'.{k} = {v}' for k, v in fields.items())}}};"


def rescale_statement(folded: Folded, in_assembly: bool = False) -> str:
    """The narrow_rescale of a layer whose arrays are constants of the step."""
    zero_point = folded.zero_point if folded.end in (End.WIDE, End.STOCK) else None
    return _rescale_fields(folded.constants(in_assembly), zero_point)


def _rescale_fields(names, zero_point: int | None) -> str:
    fields = [f".{name} = {name}" for name in ("start", "multiplier", "fold", "shift") if name in names]
    fields += [] if zero_point is None else [f".zero_point = {zero_point}"]
    return f"static const narrow_rescale rescale = {{{', '.join(fields)}}};"
