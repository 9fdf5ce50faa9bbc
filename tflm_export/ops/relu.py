"""RELU, RELU6, RELU_N1_TO_1 and LEAKY_RELU, PRELU as operators of their own."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.flatbuffer.model import Tensor
from tflm_export.flatbuffer.options import LeakyReluOptions
from tflm_export.flatbuffer.reader import FLOAT32
from tflm_export.ops.base import (
    SMALLEST_SCALE,
    Declaration,
    activation_problem,
    quantized_keys,
    reach,
    register,
    rounded_apart,
)
from tflm_export.ops.constants import constant_keys, requantise_constants
from tflm_export.ops.context import Context, Rounding, centred, emit, saturate
from tflm_export.ops.product import real_product
from tflm_export.ops.summed import SummedOp


def _real(context: Context) -> type:
    """The type in which a runtime divides the scales of these operators: LiteRT float32, TFLM's wheel float64."""
    return np.float32 if context.rounding is Rounding.TFLITE else np.float64


def _identity(x: Tensor, y: Tensor, context: Context) -> float:
    """Sx / Sy."""
    real = _real(context)
    return float(real(x.scale) / real(y.scale))


class _Relu(SummedOp):
    types = ("INT8", "INT16")

    def problem(self, operator, graph):
        return activation_problem(*self.terms(operator), operator.outputs[0], types=self.types)

    def worst_case(self, operator, bits):
        """Every factor has its own rounding."""
        return rounded_apart(np.array(self.reaches(operator), np.float64), self.factors(operator), bits)

    def reaches(self, operator) -> tuple[int, ...]:
        """The largest |acc| under each factor."""
        return (reach(operator.inputs[0]),)

    def simulation_problem(self, operator):
        tensors = (*operator.inputs, *operator.outputs)
        types = {t.type for t in tensors}
        if len(types) != 1 or not types <= set(self.types) or not all(t.is_quantized for t in tensors):
            return f"{' and '.join(sorted(types))} operands are not simulated"
        return ""


@register("RELU")
class Relu(_Relu):
    """Rescaled from Sx to Sy, then clamped."""

    types = ("INT8", "INT16", "UINT8")
    activation = "RELU"

    def declare(self, operator, graph):
        declaration = super().declare(operator, graph)
        x, y = operator.inputs[0], operator.outputs[0]
        if declaration.nodes and x.scale == y.scale:
            return Declaration(ties=((x.key, y.key),))
        return declaration

    def run(self, operator, inputs, context):
        """Source: ReluQuantized in tensorflow/lite/micro/kernels/activations.cc."""
        x, y = operator.inputs[0], operator.outputs[0]
        return [emit(y, context.requantize(centred(x, inputs[0]), _identity(x, y, context)), self.activation)]


@register("RELU_N1_TO_1")
class ReluN1To1(Relu):
    """TFLM has no such operator."""

    activation = "RELU_N1_TO_1"


@register("RELU6")
class Relu6(Relu):
    """TFLM clamps the input's integers and leaves them at the input's scale, whatever the output's; LiteRT rescales."""

    activation = "RELU6"

    def run(self, operator, inputs, context):
        if context.rounding is not Rounding.TFLM:
            return super().run(operator, inputs, context)
        x, y = operator.inputs[0], operator.outputs[0]
        six = x.zero_point + int(np.floor(float(np.float32(6) / np.float32(x.scale)) + 0.5))
        return [saturate(y, inputs[0].astype(np.int64), x.zero_point, six)]


def _alpha(operator) -> float:
    """The slope of a LEAKY_RELU."""
    return operator.option(LeakyReluOptions.ALPHA, FLOAT32, 0.0)


@register("LEAKY_RELU")
class LeakyRelu(_Relu):
    """Sx/Sy above the zero point, alpha*Sx/Sy below.

    Alpha is an option of the operator and is rewritten to the nearest value whose factor is narrow.
    """

    def declare(self, operator, graph):
        alpha = _alpha(operator)
        problem = ""
        if not abs(alpha) <= 1 / SMALLEST_SCALE:
            problem = f"its alpha is {alpha:g}, outside +-{1 / SMALLEST_SCALE:g}"
        elif alpha and not graph.owns_options(operator):
            problem = "its options are shared with another operator"
        if problem and all(t.is_quantized for t in (operator.inputs[0], *operator.outputs)):
            return Declaration(pins=quantized_keys(operator), reason=problem)
        return super().declare(operator, graph)

    def factors(self, operator):
        identity = super().factors(operator)
        alpha = abs(_alpha(operator))
        if identity is None or not alpha <= 1 / SMALLEST_SCALE:
            return None
        slope = identity[0] * alpha
        # The runtimes flush factors this small to 0.
        return np.array([identity[0], slope if rescale.quantize_multiplier(slope).multiplier else 0.0])

    def reaches(self, operator):
        return super().reaches(operator) * 2

    def edit(self, operator, plan, edits):
        x, y = operator.inputs[0], operator.outputs[0]
        alpha = _alpha(operator)
        _, stock = self.factors(operator)
        if not stock:
            return
        identity = plan.scales[x.key] / plan.scales[y.key]
        factor = identity * abs(alpha)
        target = rescale.snap(stock if plan.method == solver.KEEP else factor, plan.bits, "nearest").value
        if not np.isclose(target, factor, rtol=rescale.FLOAT32_TOLERANCE, atol=0):
            new = np.array([np.copysign(target / identity, alpha)])
            offset = operator.option_offset(LeakyReluOptions.ALPHA)
            edits.set(offset, np.array([alpha], np.float32), new, f"alpha of {y.name}")

    def gain_error(self, before, after):
        old, new = _alpha(before), _alpha(after)
        return abs(new / old - 1) if old else 0.0

    def run(self, operator, inputs, context):
        """Source: QuantizeLeakyRelu in tensorflow/lite/kernels/internal/reference/leaky_relu.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        real = _real(context)
        slope = float(real(x.scale) * real(_alpha(operator)) / real(y.scale))
        values = centred(x, inputs[0])
        below = context.requantize(values, abs(slope))
        below = -below if slope < 0 else below
        return [emit(y, np.where(values >= 0, context.requantize(values, _identity(x, y, context)), below))]


@register("PRELU")
class Prelu(_Relu):
    """Sx/Sy above the zero point, Sx*Salpha/Sy below, times the alpha of the element."""

    run_inputs = 2
    min_inputs = 2
    types = ("INT8", "UINT8")

    def terms(self, operator):
        return operator.inputs[:1]

    def problem(self, operator, graph):
        return activation_problem(*operator.inputs[:2], operator.outputs[0], types=self.types)

    def declare(self, operator, graph):
        declaration = super().declare(operator, graph)
        if not declaration.nodes:
            return declaration
        x, alpha = operator.inputs[:2]
        product = solver.Product((x.key, alpha.key), operator.outputs[0].key)
        owned, pinned = constant_keys(graph, (alpha,))
        return Declaration(nodes=(*declaration.nodes, product), pins=pinned, constants=owned)

    def factors(self, operator):
        identity, alpha = super().factors(operator), operator.inputs[1]
        if identity is None or not alpha.is_quantized:
            return None
        x, y = operator.inputs[0], operator.outputs[0]
        return np.array([identity[0], rescale.effective_scale(x.scale, alpha.scale, y.scale)])

    def reaches(self, operator):
        x, alpha = operator.inputs[:2]
        return reach(x), reach(x) * reach(alpha)

    def edit(self, operator, plan, edits):
        requantise_constants(operator.inputs[1:2], plan, edits)

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/prelu.h."""
        (x, alpha), y = operator.inputs, operator.outputs[0]
        values = centred(x, inputs[0])
        above = context.requantize(values, _identity(x, y, context))
        product = values * centred(alpha, inputs[1])
        below = context.requantize(product, real_product(context.rounding, x, alpha, y))
        return [emit(y, np.where(values >= 0, above, below))]

    def mixes_rows(self, operator):
        return not operator.inputs[1].is_constant
