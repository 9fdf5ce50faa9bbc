# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of narrowing, as ratios measured side by side in one run.

Compares `tflm_export.narrow` with unpacking a file into the schema's object API and packing it again (what converters
and quantisers do): with no edit at all, and with the least that an edit to the same scales takes, which is to be told
them and to round every weight and bias to nearest. That peer solves nothing, rounds without regard to outputs and
reports nothing. Narrowing takes no synthetic images in this; the time with them, where the model's input is a colour
image, stands beside it. Shows how time grows with the number of weights on synthetic models, and gives the peak of
temporary memory over the file's size.

usage: python -m benchmarks.exporter [--bits=1] [--repeats=5] [--output=DIR] [MODEL.tflite]
"""

import pathlib
import statistics
import sys
import time
import tracemalloc

import flatbuffers
import numpy as np
from absl import flags
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from benchmarks import command
from benchmarks.datasets import data_folder
from tflm_export import check_bits, files, narrow
from tflm_export.flatbuffer.model import parse

_COMMAND = command.Command("exporter", __doc__)
_BITS = flags.DEFINE_integer("bits", 1, "Width k of the multipliers.", flag_values=_COMMAND.flags)
_REPEATS = flags.DEFINE_integer(
    "repeats", 5, "Repetitions, interleaved; the median counts.", lower_bound=1, flag_values=_COMMAND.flags
)

DEFAULT_MODEL = "models/coral__tf2_mobilenet_v2_1.0_224_ptq.tflite"
GROWTH = (1, 4, 16)
BASE_CHANNELS = 128
_DTYPES = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}


def changed_scales(stock: bytes, narrowed: bytes) -> dict[tuple[int, int], np.ndarray]:
    """The scales that differ between two files of one structure: float32 [1] or [channels] by (subgraph, tensor)."""
    pairs = zip(parse(stock).tensors, parse(narrowed).tensors, strict=True)
    pairs = [(old, new.quantization.scale.values) for old, new in pairs if old.quantization is not None]
    return {old.key: new for old, new in pairs if (new != old.quantization.scale.values).any()}


def through_objects(data: bytes, scales: dict[tuple[int, int], np.ndarray]) -> bytes:
    """Unpacks, sets the given scales and rounds the constants under them to nearest, packs."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for (subgraph, index), new in scales.items():
        tensor = model.subgraphs[subgraph].tensors[index]
        quantization, buffer = tensor.quantization, model.buffers[tensor.buffer]
        old, quantization.scale = quantization.scale, new
        if buffer.data is not None:
            dtype = _DTYPES[tensor.type]
            limits, zero = np.iinfo(dtype), int(quantization.zeroPoint[0])
            shape = np.ones(len(tensor.shape), int)
            shape[quantization.quantizedDimension] = -1
            ratio = (old / new.astype(np.float64)).reshape(shape)
            real = np.subtract(buffer.data.view(dtype).reshape(tensor.shape), zero, dtype=np.float64) * ratio
            integers = np.clip(np.rint(real) + zero, limits.min, limits.max).astype(dtype)
            buffer.data = integers.reshape(-1).view(np.uint8)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def synthetic(layers: int) -> bytes:
    """A chain of pointwise convolutions of 128 to 128 channels, with random weights."""
    random = np.random.default_rng(0)
    channels = BASE_CHANNELS
    graph = schema.SubGraphT(tensors=[], operators=[], name="main")
    model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[schema.BufferT()])
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=3, builtinCode=3, version=3))

    def tensor(name, kind, shape, scale, data=None):
        model.buffers.append(schema.BufferT(data=None if data is None else data.reshape(-1).view(np.uint8)))
        quantization = schema.QuantizationParametersT(scale=scale, zeroPoint=[0] * len(scale), quantizedDimension=0)
        graph.tensors.append(
            schema.TensorT(shape=shape, type=kind, buffer=len(model.buffers) - 1, name=name, quantization=quantization)
        )
        return len(graph.tensors) - 1

    x = tensor("input", schema.TensorType.INT8, [1, 8, 8, channels], [0.05])
    graph.inputs = [x]
    for i in range(layers):
        scales = random.uniform(0.001, 0.002, channels).astype(np.float32)
        weights = random.integers(-127, 128, (channels, 1, 1, channels), dtype=np.int8)
        bias = random.integers(-1000, 1000, channels, dtype=np.int32)
        w = tensor(f"w{i}", schema.TensorType.INT8, [channels, 1, 1, channels], scales.tolist(), weights)
        b = tensor(f"b{i}", schema.TensorType.INT32, [channels], (scales * np.float32(0.05)).tolist(), bias)
        y = tensor(f"y{i}", schema.TensorType.INT8, [1, 8, 8, channels], [0.05])
        options = schema.Conv2DOptionsT(strideW=1, strideH=1)
        graph.operators.append(
            schema.OperatorT(
                inputs=[x, w, b], outputs=[y], builtinOptionsType=schema.BuiltinOptions.Conv2DOptions,
                builtinOptions=options,
            )
        )  # fmt: skip
        x = y
    graph.outputs = [x]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def medians(repeats: int, **actions) -> dict[str, float]:
    """Median seconds of each action; they take turns, so that a drifting machine hits all alike."""
    seconds = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(data: bytes, bits: int) -> int:
    """Bytes allocated at most at a time while narrowing, the result included and the input not."""
    tracemalloc.start()
    narrow(data, bits, synthetic="none")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(data: bytes, bits: int, repeats: int) -> dict:
    """Figures of narrowing a model, and of how time grows with the number of weights."""
    scales = changed_scales(data, narrow(data, bits, synthetic="none")[0])
    seconds = medians(
        repeats,
        narrow=lambda: narrow(data, bits, synthetic="none"),
        with_images=lambda: narrow(data, bits),
        same_edit=lambda: through_objects(data, scales),
        no_edit=lambda: through_objects(data, {}),
    )
    models = {f"{layers}x": synthetic(layers) for layers in GROWTH}
    growth = medians(repeats, **{key: (lambda model=model: narrow(model, bits)) for key, model in models.items()})
    peers = {name: seconds[name] for name in ("same_edit", "no_edit")}
    return {
        "bytes": len(data),
        "bits": bits,
        "narrow_seconds": seconds["narrow"],
        "with_images_seconds": seconds["with_images"],
        "objects_seconds": peers,
        "speedup": {name: value / seconds["narrow"] for name, value in peers.items()},
        "peak_over_file": peak_memory(data, bits) / len(data),
        "growth": {key: {"seconds": value, "ratio": value / growth[f"{GROWTH[0]}x"]} for key, value in growth.items()},
    }


def table(report: dict):
    """The figures, for people."""
    rows = [("narrow", f"{1000 * report['narrow_seconds']:.0f} ms")]
    rows += [("narrow, with synthetic images for colour images", f"{1000 * report['with_images_seconds']:.0f} ms")]
    for name, what in (("same_edit", "set the same scales, round to nearest"), ("no_edit", "no edit")):
        time_of = f"{1000 * report['objects_seconds'][name]:.0f} ms ({report['speedup'][name]:.2f}x narrow)"
        rows.append((f"object API: unpack, {what}, pack", time_of))
    rows.append(("peak memory / file size", f"{report['peak_over_file']:.2f}"))
    for layers in GROWTH:
        found = report["growth"][f"{layers}x"]
        cell = f"{1000 * found['seconds']:.1f} ms ({found['ratio']:.1f}x for {layers}x weights)"
        rows.append((f"synthetic, {layers * BASE_CHANNELS**2:,} weights", cell))
    title = f"{report['model']}, {report['bytes'] / 1e6:.2f} MB, {report['bits']}-bit multipliers"
    return command.table(("what", "figure"), rows, 1, title=title)


def _main(given: str = "") -> int:
    check_bits(_BITS.value)
    folder = data_folder()
    if given:
        name, data = pathlib.Path(given).name, files.read(given)
    elif folder is not None:
        name, data = pathlib.Path(DEFAULT_MODEL).name, files.read(str(folder / DEFAULT_MODEL))
    else:
        name, data = "synthetic", synthetic(GROWTH[-1])
    output, console = _COMMAND.folder, command.console()
    with console.status("measuring"):
        report = {"model": name} | measure(data, _BITS.value, _REPEATS.value)
    console.print(table(report))
    files.write({str(output / "exporter.json"): command.to_json(report)})
    return command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    return _COMMAND.run(argv, _main, arguments=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
