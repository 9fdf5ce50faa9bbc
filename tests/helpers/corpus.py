# SPDX-License-Identifier: Apache-2.0
"""The folder of real models and data: tests that need it take it from here and skip where it is absent."""

import numpy as np
import pytest

from benchmarks.datasets import DATA_VARIABLE, data_folder
from tests.helpers.internals import dtype_of
from tflm_export.flatbuffer.model import parse

FOLDER = data_folder()
REASON = f"no folder of real models and data: set {DATA_VARIABLE}"
# The models the exporter can narrow, at least in part.
NARROWABLE = (
    "baselines/fsdd_int8",
    "baselines/har_sp_int8",
    "baselines/har_sw_int8",
    "baselines/resnet8_cifar10jpeg_int8",
    "models/ai-edge-quantizer__conv_fc_mnist_srq_a8w8",
    "models/ai-edge-quantizer__partly_quantized_mnist",
    "models/coral__deeplabv3_mnv2_dm05_pascal_quant",
    "models/coral__keras_lstm_mnist_ptq",
    "models/coral__mobilenet_v1_0.25_128_quant",
    "models/coral__posenet_mobilenet_v1_075_353_481_16_quant_decoder",
    "models/coral__tf2_mobilenet_v2_1.0_224_ptq",
    "models/himax__kwt1_relu_mfcc_fvp_aligned_vela",
    "models/micro-wake-word-models__alexa",
    "models/micro-wake-word-models__okay_nabu",
    "models/mltk__fingerprint_signature_generator",
    "models/mltk__image_example1",
    "models/mltk__keyword_spotting_on_off_v3",
    "models/tflite-micro__conv0",
    "models/tflite-micro__conv1",
    "models/tflite-micro__conv5",
    "models/tflite-micro__conv8",
    "models/tflite-micro__dtln_noise_suppression",
    "models/tflite-micro__hello_world_int8",
    "models/tflite-micro__keyword_scrambled",
    "models/tflite-micro__leaky_relu0",
    "models/tflite-micro__micro_speech_quantized",
    "models/tflite-micro__person_detect",
    "models/tflite-micro__trained_lstm_int8",
    "models/tflite-micro__transpose_conv0",
    "models/tflite-micro__transpose_conv3",
    "models/tflite-support__mobilenet_v1_0.25_224_quant",
    "models/tiny__ad01_int8",
    "models/tiny__kws_ref_model",
    "models/tiny__pretrainedResnet_quant",
    "models/tiny__str_ww_ref_model",
    "models/tiny__vww_96_int8",
    "models/tinyengine__mcunetv2_large",
    "models/tinyengine__ptq_mnist_lenet-300-100",
    "models/tinyengine__vww",
    "models/tinymaix__cifar10_q",
    "models/tinymaix__mnist_arduino_q",
    "models/tinymaix__mnist_dw_q",
    "models/tinymaix__mnist_rect_q",
    "models/tinymaix__vww96_q",
)
NOT_A_MODEL = "models/modelzoo__yolo-fastest_192_face_v4"

# int16 activations with int8 weights and int64 biases: (name, whether its first input is the output's shape).
GOLDEN = {
    name: name.startswith("transpose_conv")
    for name in "add0 add3 conv0 conv1 conv5 conv8 leaky_relu0 pad0 quantize0 strided_slice0 sub0 transpose_conv0 "
    "transpose_conv3".split()
}


def read(name: str) -> bytes:
    """The bytes of a model, by its path in the folder without the ending; skips the test where it is absent."""
    path = FOLDER / f"{name}.tflite" if FOLDER else None
    if path is None or not path.is_file():
        pytest.skip(f"{REASON} ({name} is not there)")
    return path.read_bytes()


def all_models() -> list:
    """Parameters: the names of all real models there are, or one that skips."""
    if FOLDER is None:
        return [pytest.param("", marks=pytest.mark.skip(reason=REASON))]
    paths = sorted([*FOLDER.glob("models/*.tflite"), *FOLDER.glob("baselines/*.tflite")])
    names = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in paths]
    return [name for name in names if name != NOT_A_MODEL]


def published(name: str, data: bytes) -> tuple[list[np.ndarray], np.ndarray]:
    """Upstream's inputs of a model and the output it expects."""
    folder = FOLDER / "golden_int16x8"
    graph = parse(data).subgraphs[0]

    def column(what, tensor):
        kind = "int32" if tensor.type == "INT32" else "int16"
        text = (folder / f"{name}_{what}_{kind}.csv").read_text()
        values = np.array([int(v) for v in text.replace("\n", ",").split(",") if v.strip()])
        return values.astype(dtype_of(tensor)).reshape(tensor.shape)

    inputs = [column(f"input{i}", tensor) for i, tensor in enumerate(graph.inputs)]
    return inputs, column("golden", graph.outputs[0])
