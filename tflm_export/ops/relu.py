"""RELU, RELU6, RELU_N1_TO_1 and LEAKY_RELU, PRELU as operators of their own."""

import dataclasses

import numpy as np

from tflm_export import rescale, solver
from tflm_export.arithmetic import Arithmetic
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import LeakyReluOptions
from tflm_export.flatbuffer.reader import FLOAT32
from tflm_export.ops.activations import clamp_of
from tflm_export.ops.base import SMALLEST_SCALE, Declaration, activation_problem, quantized_keys, register
from tflm_export.ops.constants import constant_keys, requantise_constants
from tflm_export.ops.summed import SummedOp
from tflm_export.program.requantize import Prelu as PreluForm
from tflm_export.program.requantize import Requantize
from tflm_export.program.value import value_of
from tflm_export.setting import KEEP


class _Relu(SummedOp):
    types = ("INT8", "INT16")

    def problem(self, operator, graph):
        return activation_problem(*self.terms(operator), operator.outputs[0], types=self.types)

    def lowering_problem(self, operator):
        tensors = (*operator.inputs, *operator.outputs)
        types = {t.type for t in tensors}
        if len(types) != 1 or not types <= set(self.types) or not all(t.is_quantized for t in tensors):
            return f"{' and '.join(sorted(types))} operands are not simulated"
        return ""


def requantize(operator: Operator, arithmetic: Arithmetic, activation: str = "NONE") -> Requantize:
    """The rescale from Sx to Sy, clamped."""
    x, y = operator.inputs[0], operator.outputs[0]
    return Requantize(
        inputs=(value_of(x),),
        outputs=(value_of(y),),
        input_zero_point=x.zero_point,
        rescale=arithmetic.rescale(arithmetic.quotient(x.scale, y.scale)),
        zero_point=y.zero_point,
        clamp=clamp_of(y, activation),
    )


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

    def lower(self, operator, arithmetic):
        """Source: ReluQuantized in tensorflow/lite/micro/kernels/activations.cc."""
        return (requantize(operator, arithmetic, self.activation),)


@register("RELU_N1_TO_1")
class ReluN1To1(Relu):
    """TFLM has no such operator."""

    activation = "RELU_N1_TO_1"


@register("RELU6")
class Relu6(Relu):
    """TFLM clamps the input's integers and leaves them at the input's scale, whatever the output's; LiteRT rescales."""

    activation = "RELU6"

    def lower(self, operator, arithmetic):
        if not arithmetic.keeps_scale_of_relu6:
            return super().lower(operator, arithmetic)
        x, y = operator.inputs[0], value_of(operator.outputs[0])
        six = x.zero_point + int(np.floor(float(np.float32(6) / np.float32(x.scale)) + 0.5))
        low, high = (min(max(bound, y.limits[0]), y.limits[1]) for bound in (x.zero_point, six))
        return (
            Requantize(
                inputs=(value_of(x),),
                outputs=(y,),
                input_zero_point=0,
                rescale=rescale.IDENTITY,
                zero_point=0,
                clamp=(low, high),
            ),
        )


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

    def edit(self, operator, plan, edits):
        x, y = operator.inputs[0], operator.outputs[0]
        alpha = _alpha(operator)
        _, stock = self.factors(operator)
        if not stock:
            return
        identity = plan.scales[x.key] / plan.scales[y.key]
        factor = identity * abs(alpha)
        target = plan.grid.snap(stock if plan.method == KEEP else factor, "nearest")
        if not np.isclose(target, factor, rtol=rescale.FLOAT32_TOLERANCE, atol=0):
            new = np.array([np.copysign(target / identity, alpha)])
            offset = operator.option_offset(LeakyReluOptions.ALPHA)
            edits.set(offset, np.array([alpha], np.float32), new, f"alpha of {y.name}")

    def gain_error(self, before, after):
        old, new = _alpha(before), _alpha(after)
        return abs(new / old - 1) if old else 0.0

    def lower(self, operator, arithmetic):
        """Source: QuantizeLeakyRelu in tensorflow/lite/kernels/internal/reference/leaky_relu.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        slope = arithmetic.product(x.scale, _alpha(operator), y.scale)
        form = requantize(operator, arithmetic)
        return (dataclasses.replace(form, below=arithmetic.rescale(abs(slope)), below_sign=-1 if slope < 0 else 1),)


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

    def edit(self, operator, plan, edits):
        requantise_constants(operator.inputs[1:2], plan, edits)

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/prelu.h."""
        (x, alpha), y = operator.inputs, operator.outputs[0]
        return (
            PreluForm(
                inputs=(value_of(x), value_of(alpha)),
                outputs=(value_of(y),),
                zero_points=(x.zero_point, alpha.zero_point),
                above=arithmetic.rescale(arithmetic.quotient(x.scale, y.scale)),
                below=arithmetic.rescale(arithmetic.product(x.scale, alpha.scale, y.scale)),
                zero_point=y.zero_point,
            ),
        )
