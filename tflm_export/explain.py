# SPDX-License-Identifier: Apache-2.0
"""Rescales as a person reads them."""

import numpy as np

from tflm_export import rescale
from tflm_export.arithmetic import Narrow
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Operator, named, parse, short_name
from tflm_export.lowering import forms_of, lowering_problem
from tflm_export.ops import op_for
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.lookup import Lookup
from tflm_export.program.recurrence import Lstm, Svdf
from tflm_export.signed_digits import TwoDigits

_LEGEND = "acc: accumulator with bias; a, b: inputs less zero points; >> rounds to nearest"
# Forms whose rescales are between steps of their own, so that no single one gives the output.
INNER = (Lookup, Lstm, Svdf)


def explain(data: bytes, digits: TwoDigits | None = None) -> str:
    """A legend, then two lines an operator with a rescale: its name, and its formula in integers with the real factor.

    Args:
      data: a .tflite file.
      digits: a grid of two signed digits; operators that are on it are shown with shifts and additions.

    Raises:
      ModelError: the bytes are no TFLite model, are damaged, or hold no rescale.
    """
    paragraphs = [_paragraph(operator, factors, digits) for operator, factors in _rescales(data)]
    if not paragraphs:
        raise ModelError("the model has no int8 rescale")
    return "\n".join([_LEGEND, *paragraphs])


def _rescales(data: bytes):
    for operator in parse(data).operators:
        factors = op_for(operator).factors(operator)
        if factors is not None:
            yield operator, factors


def _paragraph(operator: Operator, factors: np.ndarray, digits: TwoDigits | None) -> str:
    if digits is not None and digits.contains(factors).all():
        recovered, width = digits.recover(factors), str(digits)
    else:
        bits, digits = int(rescale.significant_bits(factors).max()), None
        recovered, width = rescale.recover(factors, max(bits, 1)), "1 bit" if bits == 1 else f"{bits} bits"
    where = f"{operator.subgraph}." if operator.subgraph else ""
    title = named(f"{where}{operator.index} {operator.name}", short_name(operator.outputs[0].name))
    return (
        f"{title}\n"
        f"    {_formula(operator, recovered, digits)}    "
        f"{factors.size} factor{'s' if factors.size > 1 else ''} of {width}, M = {_span(recovered.value, '.4g')}"
    )


def _formula(operator: Operator, recovered: rescale.Rescale, digits: TwoDigits | None) -> str:
    forms = () if lowering_problem(operator) else forms_of(operator, Narrow())
    start = f"y = {operator.outputs[0].zero_point} + "
    if any(isinstance(form, INNER) for form in forms):
        return f"inside: {_term('acc', recovered, digits)}"
    if not forms or not isinstance(forms[0], AlignedSum):
        return start + _term("acc", recovered, digits)
    a, b = (
        _term(x, rescale.Rescale(*pair), digits)
        for x, *pair in zip("ab", recovered.multiplier, recovered.shift, strict=True)
    )
    return f"{start}{a} {'-' if forms[0].factors[1] < 0 else '+'} {b}"


def _term(variable: str, recovered: rescale.Rescale, digits: TwoDigits | None) -> str:
    """A rescale of a variable; spans of multipliers and shifts where there are several."""
    product = variable
    if (recovered.multiplier > 1).any():
        by_bits = f"({variable} * {_span(recovered.multiplier, 'd')})"
        product = by_bits if digits is None else _digits(variable, recovered, digits)
    if (recovered.shift < 0).all():
        return f"({product} << {_span(-recovered.shift, 'd')})"
    return f"({product} >> {_span(recovered.shift, 'd')})" if recovered.shift.any() else product


def _digits(variable: str, recovered: rescale.Rescale, digits: TwoDigits) -> str:
    """The product of a variable with two signed digits."""
    distance, negative = digits.digits(recovered.multiplier)
    sign = "-" if negative.all() else "+-" if negative.any() else "+"
    return f"(({variable} << {_span(distance, 'd')}) {sign} {variable})"


def _span(values: np.ndarray, form: str) -> str:
    low, high = values.min(), values.max()
    return format(low, form) if low == high else f"{format(low, form)}..{format(high, form)}"
