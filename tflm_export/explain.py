"""Rescales as a person reads them."""

import numpy as np

from tflm_export import rescale
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Operator, parse
from tflm_export.ops import op_for


def explain(data: bytes) -> str:
    """Two lines an operator with a rescale: its formula in integers, and where the factor comes from.

    Raises:
      ModelError: the bytes are no TFLite model, are damaged, or hold no rescale.
    """
    paragraphs = [_paragraph(operator, factors) for operator, factors in _rescales(data)]
    if not paragraphs:
        raise ModelError("the model has no int8 rescale")
    return "\n".join(paragraphs)


def _rescales(data: bytes):
    for operator in parse(data).operators:
        factors = op_for(operator).factors(operator)
        if factors is not None:
            yield operator, factors


def _paragraph(operator: Operator, factors: np.ndarray) -> str:
    bits = int(rescale.significant_bits(factors).max())
    recovered = rescale.recover(factors, max(bits, 1))
    zero_point = operator.outputs[0].zero_point
    width = "1 bit" if bits == 1 else f"{bits} bits"
    where = f"{operator.subgraph}." if operator.subgraph else ""
    return (
        f"{where}{operator.index} {operator.label.split(' ', 2)[2]}\n"
        f"    y = {zero_point} + {_formula(recovered)}    "
        f"{factors.size} factor{'s' if factors.size > 1 else ''} of {width}, M = {_span(factors, '.4g')}"
    )


def _formula(recovered: rescale.Rescale) -> str:
    shift = _span(recovered.shift, "d")
    if (recovered.multiplier <= 1).all():
        return f"(acc >> {shift})"
    return f"((acc * {_span(recovered.multiplier, 'd')}) >> {shift})"


def _span(values: np.ndarray, form: str) -> str:
    low, high = values.min(), values.max()
    return format(low, form) if low == high else f"{format(low, form)}..{format(high, form)}"
