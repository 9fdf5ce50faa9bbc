# SPDX-License-Identifier: Apache-2.0
"""Why layers cannot be quantised, and how messages list them: a line for each reason, with the names it concerns."""

from collections.abc import Iterable

import tf_keras as keras

from keras_rat import configs
from keras_rat.graph import kinds
from keras_rat.graph.listed import listed

_TABLE = "int8 kernels look it up in a table that the converter makes of calibration data alone"
_RECURRENT = "the converter makes no int8 operator of a trained loop"
_STATISTICS = (
    "it divides by statistics of its own input, for which int8 has no operator; train with BatchNormalization instead"
)
_PRODUCTS = (
    "products of two activations, of which the converter makes no int8 operator; annotate the layers before it, with "
    "quantize_annotate_layer, and it stays in float with those behind it"
)
_INDICES = "it computes with integers, not with quantised numbers"
_IMAGES = "its output in inference is not its input"

# By the name of the layer's class.
REASONS = {
    "LSTM": f"{_RECURRENT}, and of a float LSTM only by calibration: use its representative_dataset, then "
    "tflm_export --calibration, which narrows UNIDIRECTIONAL_SEQUENCE_LSTM",
    "GRU": _RECURRENT,
    "SimpleRNN": _RECURRENT,
    "Bidirectional": _RECURRENT,
    "ConvLSTM2D": _RECURRENT,
    "TimeDistributed": "put the layer itself, which takes more axes, or a reshape around it, in its place",
    "LayerNormalization": _STATISTICS,
    "GroupNormalization": _STATISTICS,
    "UnitNormalization": _STATISTICS,
    "MultiHeadAttention": _PRODUCTS,
    "Attention": _PRODUCTS,
    "AdditiveAttention": _PRODUCTS,
    "Dot": _PRODUCTS,
    "Embedding": _INDICES,
    "ELU": _TABLE,
    "ThresholdedReLU": "no int8 operator",
    "Conv3D": "no int8 operator",
    "Conv3DTranspose": "no int8 operator",
    "Average": "put an Add and a Rescaling in its place",
    "Lambda": "its function cannot be seen; put the Keras layer for it in its place",
    "Normalization": "along another axis than the last",
    "RandomCrop": _IMAGES,
    "RandomHeight": _IMAGES,
    "RandomWidth": _IMAGES,
    "CenterCrop": "put Cropping2D in its place",
    "PruneLowMagnitude": "take the wrapper off first, with tfmot.sparsity.keras.strip_pruning(model)",
    "ClusterWeights": "take the wrapper off first, with tfmot.clustering.keras.strip_clustering(model)",
}
# By the name of an activation.
ACTIVATIONS = dict.fromkeys(("elu", "gelu", "selu", "softplus", "softsign", "mish", "exponential"), _TABLE)


def why(layer: keras.layers.Layer) -> str:
    """The kind of a layer that cannot be quantised, with its activation, and the reason where it is known."""
    kind = type(layer).__name__
    name = kinds.activation_name(layer.activation) if hasattr(layer, "activation") else ""
    reason = REASONS.get(kind) or ACTIVATIONS.get(name)
    computed = ("", "linear", *configs.CLAMPING, *configs.TABLED)
    label = kind if name in computed or kind in REASONS else f"{kind} with activation {name}"
    return f"{label}: {reason}" if reason else label


def grouped(offenders: Iterable[tuple[str, str]]) -> str:
    """(name, reason) as lines "  reason: names", in the order in which reasons come first."""
    names: dict[str, list[str]] = {}
    for name, reason in offenders:
        names.setdefault(reason, []).append(name)
    return "\n".join(f"  {reason}: {listed(concerned)}" for reason, concerned in names.items())
