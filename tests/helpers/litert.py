# SPDX-License-Identifier: Apache-2.0
"""The judge of these tests: the stock converter and LiteRT's reference kernels, read with numpy alone."""

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
RESCALING = ("ADD", "MEAN", "QUANTIZE", "RELU", "RELU6")
TIED = ("AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D", "PAD", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR")
FIXED = ("LOGISTIC", "SOFTMAX", "TANH")  # a table or fixed point of their own
SHAPES = ("PACK", "SHAPE", "STRIDED_SLICE")  # int32, of the batch size


def stock_convert(model) -> bytes:
    """Full-int8 conversion of a Keras model with nothing of ours in between."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def off_grid(factor, bits) -> np.ndarray:
    """Relative distance of positive factors to the nearest m * 2**e with integers m < 2**bits and e; float64."""
    factor = np.asarray(factor, np.float64)
    unit = 2.0 ** (np.floor(np.log2(factor)) - (bits - 1))
    return np.abs(np.round(factor / unit) * unit / factor - 1)


def as_integers(real, details: dict) -> np.ndarray:
    """What real values are in the steps of an int8 tensor, by the interpreter's details of it; rounded, in floats."""
    scale, zero_point = details["quantization"]
    return np.clip(np.rint(real / scale) + zero_point, -128, 127)


class LiteRT:
    """A .tflite file on LiteRT's reference kernels."""

    def __init__(self, data: bytes):
        self._interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        self._interpreter.allocate_tensors()
        (self.input,) = self._interpreter.get_input_details()
        self.output = self._interpreter.get_output_details()[0]
        self._tensors = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}
        self.ops = self._interpreter._get_ops_details()

    def run(self, rows) -> np.ndarray:
        """int8 outputs for real inputs [rows, ...]."""
        integers = as_integers(np.asarray(rows, np.float64), self.input).astype(np.int8)
        self._interpreter.resize_tensor_input(self.input["index"], integers.shape)
        self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self.input["index"], integers)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])

    def as_integers(self, real) -> np.ndarray:
        """What real outputs [rows, ...] are in the steps of the output; float64 or float32, rounded."""
        return as_integers(real, self.output)

    @property
    def weighted(self) -> list[dict]:
        """The operators with weights, in order."""
        return [op for op in self.ops if op["op_name"] in WEIGHTED]

    def tensor(self, index) -> dict:
        return self._tensors[index]

    def scales(self, index) -> np.ndarray:
        return self._tensors[index]["quantization_parameters"]["scales"].astype(np.float64)

    def values(self, index) -> np.ndarray:
        return self._interpreter.get_tensor(index)

    def is_constant(self, index) -> bool:
        return all(index not in op["outputs"] for op in self.ops)

    def factors(self) -> list[tuple[str, np.ndarray]]:
        """(operator, rescale factors) for every operator that rescales; asserts that there are no unknown ones."""
        found = []
        for op in self.ops:
            name, inputs, (output, *_) = op["op_name"], [i for i in op["inputs"] if i >= 0], op["outputs"]
            if name == "DELEGATE" or name in SHAPES + FIXED:
                continue
            target = self.scales(output)
            if name in WEIGHTED:
                found.append((name, self.scales(inputs[0]) * self.scales(inputs[1]) / target))
            elif name in RESCALING:
                sources = inputs[:2] if name == "ADD" else inputs[:1]
                found += [(name, self.scales(source) / target) for source in sources]
            else:
                assert name in TIED, f"{name} is not known to these tests"
                sources = inputs if name == "CONCATENATION" else inputs[:1]
                for source in sources:
                    np.testing.assert_array_equal(self.scales(source), target, err_msg=name)
        return found

    def weights(self) -> list[np.ndarray]:
        """int8 weights of the operators with weights, in order."""
        return [self.values(op["inputs"][1]) for op in self.weighted]
