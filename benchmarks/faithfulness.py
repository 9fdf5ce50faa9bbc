# SPDX-License-Identifier: Apache-2.0
"""How near a narrowed model stays to its stock file, beside how near two kernel libraries stay on that file.

What is compared is what decides: the input of a last SOFTMAX, ARG_MAX or the like, where no saturation hides the noise,
as XNNPACK computes it. The floor is the stock file's own: LiteRT's reference kernels against XNNPACK.
"""

import dataclasses

import flatbuffers
import numpy as np
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from benchmarks.natural_inputs import Rows
from tflm_export import ModelError, narrow, runtimes
from tflm_export.arithmetic import Tflm
from tflm_export.compare import Agreement, agreement, worst
from tflm_export.flatbuffer.model import Model, Tensor, parse
from tflm_export.lowering import lower
from tflm_export.simulator import simulate

DECIDING = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "ARG_MAX")
CARRYING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE")
MULTIPLICATIONS = 12_000_000_000  # of all rows together: some half a minute of reference kernels
MOST_ROWS, FEWEST_ROWS = 200, 4
ALL = 99.0  # dB, of an operator without which nothing would be lost
COST_ROWS = 16  # that single operators are widened on


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a model decides by on some rows.

    Attributes:
      tensors: of the model, one for each output.
      values: what they held, by index; [rows, ...].
    """

    tensors: list[Tensor]
    values: dict[int, np.ndarray]

    @property
    def is_constant(self) -> bool:
        """Whether no output depends on the input."""
        return not any(np.ptp(self.values[tensor.index], axis=0).any() for tensor in self.tensors)

    def agreement(self, other: "Outputs") -> Agreement:
        """How another model of the same outputs agrees; of its worst output.

        What the other one's wider range holds beyond this one's is cut: there this one has nothing to agree with.
        """
        found = {}
        for old, new in zip(self.tensors, other.tensors, strict=True):
            values = _within(other.values[new.index], new, old)
            found[old.label] = agreement(self.values[old.index], values, old, new)
        return worst(found)


def _within(values: np.ndarray, tensor: Tensor, other: Tensor) -> np.ndarray:
    """What a tensor held, cut to the range of another one."""
    if not (tensor.is_quantized and other.is_quantized):
        return values
    limits = np.iinfo(other.type.lower())
    low, high = ((end - other.zero_point) * (other.scale / tensor.scale) for end in (limits.min, limits.max))
    return np.clip(values, tensor.zero_point + low, tensor.zero_point + high)


def rows_for(model: Model) -> int:
    """How many rows to measure on: fewer for models that take long."""
    try:
        blocks = lower(model, Tflm()).blocks
    except ModelError:
        return FEWEST_ROWS
    macs = sum(step.form.multiplications for block in blocks if block is not None for step in block.steps)
    return int(np.clip(MULTIPLICATIONS // max(macs, 1), FEWEST_ROWS, MOST_ROWS))


def deciding(model: Model) -> list[Tensor]:
    """For each output of a model, the tensor that decides it."""
    producers = {t.key: op for op in model.subgraphs[0].operators for t in op.outputs}
    found = []
    for tensor in model.subgraphs[0].outputs:
        decides, at = tensor, tensor
        while at.key in producers and producers[at.key].name in DECIDING + CARRYING:
            operator = producers[at.key]
            at = operator.inputs[0]
            if operator.name in DECIDING:
                decides = at
        found.append(decides)
    return found


def outputs(data: bytes, rows: Rows, reference: bool = False) -> Outputs:
    """What a file decides by, on LiteRT; where that refuses the file, in the simulator.

    Args:
      data: a .tflite file.
      rows: its inputs.
      reference: LiteRT's reference kernels instead of XNNPACK's.

    Raises:
      RuntimeError, ValueError: LiteRT cannot run the file, and the simulator cannot either, or is no other library.
    """
    model = parse(data)
    tensors = deciding(model)
    try:
        ending = _with_outputs(data, tensors)
        runtime = runtimes.LiteRT(ending, reference)
        return Outputs(tensors, runtimes.all_tensors(runtime, tensors, rows.arrays, ending))
    except (RuntimeError, ValueError):
        if reference:
            raise
        try:
            trace = simulate(model, rows.arrays, "tflm")
        except ModelError as error:
            raise ValueError(str(error)) from error
        return Outputs(tensors, {t.index: trace[t] for t in tensors})


def _with_outputs(data: bytes, tensors: list[Tensor]) -> bytes:
    """A file whose main subgraph ends in other tensors.

    Biases that old converters give the channel axis of their weights get the one they have, which LiteRT insists on.
    """
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.shape is not None and len(tensor.shape) == 1:
            tensor.quantization.quantizedDimension = 0
    model.subgraphs[0].outputs = [tensor.index for tensor in tensors]
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def floor(stock: bytes, rows: Rows, xnnpack: Outputs) -> Agreement | None:
    """How two kernel libraries agree on a file; None where one of them does not run it."""
    try:
        return xnnpack.agreement(outputs(stock, rows, reference=True))
    except (RuntimeError, ValueError):
        return None


def costliest(
    stock: bytes, bits: int, rows: Rows, xnnpack: Outputs, count: int = 3, **options
) -> list[tuple[str, float]]:
    """The operators that cost most: those that bring the output nearer to the stock file's if they alone keep 31 bits.

    Args:
      stock: the file.
      bits: width k of the others.
      rows: inputs.
      xnnpack: the stock file's outputs on them.
      count: how many operators.
      options: more of `narrow`'s arguments.

    Returns:
      (operator, gain in dB, at most `ALL`), the largest gain first; only gains.
    """
    some = rows.first(COST_ROWS)
    parts = {index: found[: some.count * (len(found) // rows.count)] for index, found in xnnpack.values.items()}
    target = Outputs(xnnpack.tensors, parts)
    narrowed, report = narrow(stock, bits, **options)
    before = target.agreement(outputs(narrowed, some)).sqnr
    gains = []
    for row in report.rows:
        if row.subgraph == 0 and row.narrow and not row.reason:
            widened, _ = narrow(stock, bits, **options | {"rules": {row.index: 31}})
            gain = target.agreement(outputs(widened, some)).sqnr - before
            if gain > 0:
                gains.append((f"{row.index} {row.op}", min(gain, ALL)))
    return sorted(gains, key=lambda pair: -pair[1])[:count]
