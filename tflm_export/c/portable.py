# SPDX-License-Identifier: Apache-2.0
"""Forms as calls of the portable kernels. A core with kernels of its own overrides single forms."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np

from tflm_export.c import movement
from tflm_export.c.choice import Choice, fastest
from tflm_export.c.epilogue import INT32_LIMIT, Epilogue, FoldedRescale, Sums, fold, simplify, stock_shifts
from tflm_export.c.forms import GENERAL
from tflm_export.c.forms.weighted_sum import with_chosen
from tflm_export.c.initializer import initializer
from tflm_export.c.step import CStep, UnsupportedError, channels_first
from tflm_export.c.tiles import Layout
from tflm_export.program.aligned_sum import AlignedSum, RescaledSum
from tflm_export.program.form import Form
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.move import Move
from tflm_export.program.pool import AveragePool, MaxPool, Pool
from tflm_export.program.product import Product
from tflm_export.program.program import Step
from tflm_export.program.reduction import Mean, Reduction, Total
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.softmax import Softmax
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.rescale import Rescale, StockRescale

INT8 = (-128, 127)
_MAX_SOFTMAX_DEPTH = 4095
_MAX_COUNT = 1 << 23  # elements whose sum fits 32 bits


class Portable:
    """Emits forms as portable C99.

    Args:
      channels_first: keys of the values that are kept as [batches, channels, height, width].
      choose: which of several ways to compute a layer is taken.

    Attributes:
      channel_multiple: layers of a multiple of so many channels have the fastest kernels.
    """

    channel_multiple = 2

    def __init__(self, channels_first: Iterable = (), choose: Choice = fastest):
        self.channels_first = frozenset(channels_first)
        self.choose = choose

    def gives_channels_first(self, form: Form) -> bool:
        """Whether the form can write its output channel by channel at no cost."""
        return False

    def takes_channels_first(self, form: Form) -> bool:
        """Whether the form would rather read its input channel by channel."""
        return False

    @property
    def forms(self) -> dict[type[Form], Callable[[Step], CStep]]:
        """What emits every type of form that there are kernels for."""
        return {
            WeightedSum: self.weighted_sum,
            AlignedSum: self.aligned_sum,
            RescaledSum: self.rescaled_sum,
            Product: self.product,
            AveragePool: self.pool,
            MaxPool: self.pool,
            Mean: self.mean,
            Total: self.total,
            Softmax: self.softmax,
            Requantize: self.requantize,
            Prelu: self.table,
            Lookup: self.table,
            Move: self.move,
        }

    def emit(self, step: Step) -> CStep:
        """One form.

        Raises:
          UnsupportedError: the kernels cannot express it.
        """
        emitted = self._emitted(step)
        if not all(np.isfinite(values).all() for values in emitted.arrays.values()):
            raise UnsupportedError("it has constants that are not finite")
        note = "; ".join(part for part in (emitted.note, _selected(step.form)) if part)
        return dataclasses.replace(emitted, multiplications=step.form.multiplications, note=note)

    def _emitted(self, step: Step) -> CStep:
        """From the kernels for int8 or int16, which are the faster ones, or from those for all types."""
        fast, general = self.forms.get(type(step.form)), GENERAL.get(type(step.form))
        values = (*step.form.inputs, *step.form.outputs)
        if fast is not None and all(value.dtype == np.int8 for value in values):
            try:
                return fast(step)
            except UnsupportedError:
                if general is None:
                    raise
        if general is None:
            other = [value for value in values if value.dtype != np.int8]
            found = f" of {other[0].dtype.name.upper()}" if fast is not None and other else ""
            raise UnsupportedError(f"there is no kernel for it{found}")
        own = self.of_int16(step) if isinstance(step.form, WeightedSum) else None
        if own is not None:
            return own
        return dataclasses.replace(general(step), is_general=True)

    # Sums with constant weights.

    def of_int16(self, step: Step[WeightedSum]) -> CStep | None:
        """A layer of int16 with a kernel of the core, None where it has none for its types and sizes."""
        return None

    def weighted_sum(self, step: Step[WeightedSum]) -> CStep:
        form = step.form
        axes = (form.windows.height, form.windows.width)
        if any(axis.spread != 1 for axis in axes):
            raise UnsupportedError("a transposed convolution has no kernel")
        if form.weights.shape[0] > 1 and not form.is_depthwise:
            raise UnsupportedError("grouped convolution has no kernel")
        if form.weights.dtype != np.int8:
            return self.with_wide_channels(step)
        folded = fold(form.rescale, sums_of(form), form.zero_point)
        rows = np.where(folded.dead[:, None], 0, form.rows)
        if form.is_depthwise:
            return self.depthwise(step, folded, np.ascontiguousarray(rows.T))
        return self.dense(step, folded, rows) if form.windows.is_pointwise else self.convolution(step, folded, rows)

    def with_wide_channels(self, step: Step[WeightedSum]) -> CStep:
        """A layer some of whose channels have weights that int8 does not hold: these on their own behind the others."""
        form = step.form
        wide = ((form.rows < INT8[0]) | (form.rows > INT8[1])).any(1)
        if 2 * int(wide.sum()) > len(wide):
            raise UnsupportedError("its weights without their zero point are not INT8")
        zeroed = wide.reshape(*form.weights.shape[:2], 1, 1, 1)
        weights, bias = np.where(zeroed, 0, form.weights).astype(np.int8), np.where(wide, 0, form.bias)
        others = self.weighted_sum(
            dataclasses.replace(step, form=dataclasses.replace(form, weights=weights, bias=bias))
        )
        layouts = self.layout(form.inputs[0], form), self.layout(form.output, form)
        return with_chosen(others, form, np.flatnonzero(wide), layouts) if wide.any() else others

    def layout(self, value: Value, form: WeightedSum) -> Layout:
        """Where the elements of an image are, the input or the output of a form."""
        if value is form.output:
            height, width, channels = form.windows.height.output, form.windows.width.output, form.channels
        else:
            _, height, width, channels = form.image_shape
        steps = (1, height * width) if value.key in self.channels_first else (channels, 1)
        return Layout(*steps, height * width * channels)

    def kept_channels_first(self, step: Step) -> tuple[str, ...]:
        """Which of "x0" and "y" of a layer are kept channel by channel."""
        return channels_first(step.form.inputs, step.form.outputs, self.channels_first)

    def depthwise(self, step: Step[WeightedSum], folded: FoldedRescale, columns: np.ndarray) -> CStep:
        """Windows over one input channel each; weights [taps, channels]."""
        patch = columns.shape[0] * step.form.input_channels
        return self._windowed(step, folded, columns, "narrow_depthwise_conv_2d", patch)

    def convolution(self, step: Step[WeightedSum], folded: FoldedRescale, rows: np.ndarray) -> CStep:
        """Windows over all input channels; weights [channels, taps * inputs]."""
        return self._windowed(step, folded, rows, "narrow_conv_2d", rows.shape[1])

    def dense(self, step: Step[WeightedSum], folded: FoldedRescale, rows: np.ndarray) -> CStep:
        """Windows of one pixel, all in order; weights [channels, inputs]."""
        channels, depth = rows.shape
        function = f"narrow_fully_connected_{folded.epilogue.value}"
        call = f"{function}({pixels_of(step.form)}, {depth}, {channels}, &rescale, weights, x0, y);"
        constants = {"weights": rows.astype(np.int8)} | folded.constants()
        return self.clamped(
            step, (rescale_statement(folded), call), constants, kernel="narrow_fully_connected.c", folded=folded
        )

    def _windowed(self, step: Step[WeightedSum], folded: FoldedRescale, weights, function: str, patch: int) -> CStep:
        statements = (
            window_statement(step.form),
            rescale_statement(folded),
            f"{function}_{folded.epilogue.value}(&window, &rescale, weights, x0, y, scratch);",
        )
        constants = {"weights": weights.astype(np.int8)} | folded.constants()
        return self.clamped(step, statements, constants, patch, f"{function}.c", folded)

    def clamped(
        self, step: Step, statements, constants, scratch=0, kernel="", folded=None, definitions=(), inputs=None,
        work=None, layouts=(),
    ) -> CStep:  # fmt: skip
        """A step whose kernel saturates to int8, with a clamp that is narrower than that behind it.

        layouts: which of "x0" and "y" the kernel takes in any layout; of the others only pixel by pixel.
        """
        form, kernels = step.form, (kernel,)
        low, high = form.clamp
        if (low, high) != INT8:
            statements = (*statements, f"narrow_clamp({form.output.size}, {low}, {high}, y, y);")
            kernels = (kernel, "narrow_clamp.c")
        note = "" if folded is None else f"rescale: {folded.epilogue.value}"
        inputs = form.inputs if inputs is None else inputs
        first = tuple(name for name in self.kept_channels_first(step) if name in layouts)
        return CStep(
            step.origin, tuple(inputs), form.outputs, tuple(statements), constants, scratch, kernels,
            tuple(definitions), note, first, work=work,
        )  # fmt: skip

    def plain(self, step: Step, statements, kernel: str, constants=None) -> CStep:
        """A step without a clamp."""
        form = step.form
        return CStep(step.origin, form.inputs, form.outputs, tuple(statements), constants or {}, kernels=(kernel,))

    # Two values.

    def aligned_sum(self, step: Step[AlignedSum]) -> CStep:
        form, order = step.form, operands(step.form)
        factors = [form.factors[i] for i in order]
        if form.reach < INT32_LIMIT:
            name, suffix = "narrow_add", ""
        elif form.reach < 1 << 63:
            name, suffix = "narrow_add_wide", "LL"
        else:
            raise UnsupportedError("the scales of its inputs and output are too far apart for 64-bit arithmetic")
        inputs, repeats, count = repeated(form, order)
        numbers = ", ".join(f"{value}{suffix}" for value in (*factors, form.start))
        call = f"{name}({repeats}, {count}, {numbers}, {form.shift}, x0, x1, y);"
        return self.clamped(step, (call,), {}, kernel=f"{name}.c", inputs=inputs)

    def rescaled_sum(self, step: Step[RescaledSum]) -> CStep:
        form, order = step.form, operands(step.form)
        if form.signs != (1, 1):
            raise UnsupportedError("a difference with stock rescales has no kernel")
        inputs, repeats, count = repeated(form, order)
        rescales = [form.to_common[i] for i in order] + [form.to_output]
        others = [type(r).__name__ for r in rescales if type(r) is not StockRescale]
        if others:
            raise UnsupportedError(f"a sum of two rescales has no kernel that rounds as {others[0]}")
        constants = {
            "multipliers": np.array([int(r.multiplier) for r in rescales], np.int32),
            "zero_points": np.array([*(form.zero_points[i] for i in order), form.zero_point], np.int32),
            "shifts": np.array([int(stock_shifts(r)) for r in rescales], np.int8),
        }
        call = f"narrow_add_stock({repeats}, {count}, multipliers, shifts, zero_points, x0, x1, y);"
        return self.clamped(step, (call,), constants, kernel="narrow_add_stock.c", inputs=inputs)

    def product(self, step: Step[Product]) -> CStep:
        form, order = step.form, operands(step.form)
        inputs, repeats, count = repeated(form, order)
        zero_points = [form.zero_points[i] for i in order]
        ends = [(-128 - zero, 127 - zero) for zero in zero_points]
        products = [p * q for p in ends[0] for q in ends[1]]
        low, high = min(products), max(products)
        folded = fold(form.rescale, Sums([0], [max(-low, high)], [low], [high]), form.zero_point)
        if folded.dead.any():
            raise UnsupportedError("its factor is so small that its output is constant")
        constants = {"zero_points": np.array(zero_points, np.int32)} | folded.constants()
        call = f"narrow_mul_{folded.epilogue.value}({repeats}, {count}, zero_points, &rescale, x0, x1, y);"
        statements = (rescale_statement(folded), call)
        return self.clamped(step, statements, constants, kernel="narrow_mul.c", folded=folded, inputs=inputs)

    # One value.

    def pool(self, step: Step[Pool]) -> CStep:
        name = "narrow_average_pool_2d" if isinstance(step.form, AveragePool) else "narrow_max_pool_2d"
        return self.clamped(step, (window_statement(step.form), f"{name}(&window, x0, y);"), {}, kernel=f"{name}.c")

    def mean(self, step: Step[Mean]) -> CStep:
        form, sizes = step.form, extents(step.form)
        # The kernel counts quotients from -128 on, so that none it gives is negative.
        start = form.start + 128 * form.divisor
        reach = max(form.reach - abs(form.start) + abs(start), form.divisor)
        if reach < INT32_LIMIT:
            name, suffix = "narrow_mean", ""
        elif reach < 1 << 63:
            name, suffix = "narrow_mean_wide", "LL"
        else:
            raise UnsupportedError("the scales of its input and output are too far apart for 64-bit arithmetic")
        numbers = ", ".join(f"{value}{suffix}" for value in (form.factor, start, form.divisor))
        call = f"{name}({', '.join(map(str, sizes))}, {numbers}, x0, y);"
        return self.plain(step, (call,), f"{name}.c")

    def total(self, step: Step[Total]) -> CStep:
        form, sizes = step.form, extents(step.form)
        if type(form.rescale) is not StockRescale:
            raise UnsupportedError("a sum with a narrow rescale has no kernel")
        constants = {
            "multiplier": np.array([int(form.rescale.multiplier)], np.int32),
            "shift": np.array([int(stock_shifts(form.rescale))], np.int8),
        }
        call = f"narrow_mean_stock({', '.join(map(str, sizes))}, {form.input_zero_point}, &rescale, x0, y);"
        statements = (_rescale_fields({"multiplier", "shift"}, form.zero_point), call)
        return self.plain(step, statements, "narrow_mean_stock.c", constants)

    def softmax(self, step: Step[Softmax]) -> CStep:
        form, (x,) = step.form, step.form.inputs
        depth = x.shape[-1] if x.shape else 1
        if depth > _MAX_SOFTMAX_DEPTH:
            raise UnsupportedError(f"{depth} classes are more than {_MAX_SOFTMAX_DEPTH}")
        exponentials = form.exponentials[:256].astype(np.int32)
        call = f"narrow_softmax({x.size // depth}, {depth}, {len(exponentials)}, exponentials, x0, y);"
        return self.plain(step, (call,), "narrow_softmax.c", {"exponentials": exponentials})

    def requantize(self, step: Step[Requantize]) -> CStep:
        """In 32 bits where they suffice, else from a table."""
        form = step.form
        if form.below is None and form.clamp == INT8 and type(form.rescale) is Rescale:
            low, high = (limit - form.input_zero_point for limit in INT8)
            given = int(form.rescale.multiplier), int(form.rescale.shift)
            channel = simplify(*given, low, high, form.zero_point)
            factor, shift = channel.multiplier, channel.shift
            start = ((1 << shift) >> 1) + (form.zero_point << shift) - form.input_zero_point * factor
            if channel.constant is None and 128 * factor + abs(start) < INT32_LIMIT:
                call = f"narrow_quantize({form.output.size}, {factor}, {start}, {shift}, x0, y);"
                return self.plain(step, (call,), "narrow_quantize.c")
        return self.table(step)

    def table(self, step: Step) -> CStep:
        """Any function of one element: all its values."""
        form = step.form
        x, *others = form.inputs
        if any(not value.is_constant or value.size != 1 for value in others):
            raise UnsupportedError("a slope for each element has no kernel")
        one = (1,) * len(x.shape)
        domain = every_integer(np.int8).astype(np.int8).reshape(-1, *one)
        (values,) = form.evaluate(domain, *(value.data[None] for value in others))
        call = f"narrow_lookup({x.size}, table, x0, y);"
        constants = {"table": values.reshape(-1).astype(np.int8)}
        return CStep(step.origin, (x,), form.outputs, (call,), constants, kernels=("narrow_lookup.c",))

    def move(self, step: Step[Move]) -> CStep:
        form = step.form
        border = movement.border(form)
        if border is not None:
            constants = {name: np.array(values, np.int32) for name, values in border.items()}
            call = f"narrow_pad(shape, before, after, {form.fill}, x0, y);"
            return self.plain(step, (call,), "narrow_pad.c", constants)
        rows = movement.rows(form)
        if rows is None:
            raise UnsupportedError("there is no kernel for it")
        calls = (
            f"narrow_copy_rows({r.count}, {r.width}, {r.stride}, x{copy.source}, y + {r.start});"
            for r, copy in zip(rows, form.copies, strict=True)
        )
        return self.plain(step, calls, "narrow_copy_rows.c")


def _selected(form: Form) -> str:
    """How many channels of the operator's output a form computes, where it is not all of them."""
    selection = form.output.selection if form.outputs else None
    if selection is None:
        return ""
    kept = len(selection.indices)
    return f"{kept} of {selection.channels} channels, the others are constant or unread"


def sums_of(form: WeightedSum) -> Sums:
    """What its accumulators can be over all inputs."""
    reach = 128 * np.abs(form.rows.astype(np.int64)).sum(1)
    low, high = ([int(v) for v in bound] for bound in form.bounds())
    return Sums(form.start.tolist(), reach.tolist(), low, high)


def pixels_of(form: WeightedSum) -> int:
    """How many windows there are, over all images."""
    return form.image_shape[0] * form.windows.outputs


def operands(form: Form) -> tuple[int, int]:
    """The order of the two inputs with the one that is repeated last."""
    y = form.output
    for order in ((0, 1), (1, 0)):
        first, second = (form.inputs[i] for i in order)
        shape = _without_ones(second)
        if first.size == y.size and shape == list(y.shape[len(y.shape) - len(shape) :]):
            return order
    raise UnsupportedError(f"broadcasting {' and '.join(str(list(v.shape)) for v in form.inputs)} has no kernel")


def repeated(form: Form, order: tuple[int, int]) -> tuple[tuple[Value, ...], int, int]:
    """The inputs in an order, how often the last one is repeated, and its elements."""
    inputs = tuple(form.inputs[i] for i in order)
    count = inputs[1].size
    return inputs, form.output.size // max(count, 1), count


def _without_ones(value: Value) -> list[int]:
    """A shape without the ones at its front."""
    shape = list(value.shape)
    while shape and shape[0] == 1:
        shape.pop(0)
    return shape


def extents(form: Reduction) -> tuple[int, int, int]:
    """The elements before, along and behind the axes of a reduction.

    Raises:
      UnsupportedError: they are not next to one another, or too many.
    """
    shape = form.inputs[0].shape
    axes = sorted(axis for axis in form.axes if shape[axis] != 1)
    if axes and axes != list(range(axes[0], axes[-1] + 1)):
        raise UnsupportedError(f"its axes {axes} are not next to one another")
    first, last = (axes[0], axes[-1] + 1) if axes else (0, 0)
    outer, count, inner = (math.prod(part) for part in (shape[:first], shape[first:last], shape[last:]))
    if count >= _MAX_COUNT:
        raise UnsupportedError(f"a sum of {count} elements does not fit 32 bits")
    return outer, count, inner


def window_statement(form: WeightedSum | Pool, element_bytes: int = 1) -> str:
    """The narrow_window of a form, with as many bytes as channels where elements have more than one."""
    height, width = form.windows.height, form.windows.width
    if isinstance(form, Pool):
        image, channels, padding = form.inputs[0].shape, form.output.shape[3], form.inputs[0].zero_point
    else:
        image, channels, padding = form.image_shape, form.channels, form.input_zero_point
    fields = {
        "batches": image[0],
        "input_height": image[1],
        "input_width": image[2],
        "input_channels": element_bytes * image[3],
        "output_height": height.output,
        "output_width": width.output,
        "output_channels": channels,
        "kernel_height": height.kernel,
        "kernel_width": width.kernel,
        "stride_height": height.stride,
        "stride_width": width.stride,
        "dilation_height": height.dilation,
        "dilation_width": width.dilation,
        "pad_top": height.before,
        "pad_left": width.before,
        "padding_value": padding,
    }
    return f"static const narrow_window window = {initializer(fields)};"


def rescale_statement(folded: FoldedRescale, in_assembly: bool = False) -> str:
    """The narrow_rescale of a layer whose arrays are constants of the step."""
    zero_point = folded.zero_point if folded.epilogue in (Epilogue.WIDE, Epilogue.STOCK) else None
    return _rescale_fields(folded.constants(in_assembly), zero_point)


def _rescale_fields(names, zero_point: int | None) -> str:
    fields = {name: name if name in names else 0 for name in ("start", "multiplier", "fold", "shift")}
    return f"static const narrow_rescale rescale = {initializer({**fields, 'zero_point': zero_point or 0})};"


def is_image(form: WeightedSum) -> bool:
    """Whether the output is images of the windows' sizes; else it is vectors."""
    shape, windows = form.output.shape, form.windows
    return len(shape) == 4 and tuple(shape[1:3]) == (windows.height.output, windows.width.output)
