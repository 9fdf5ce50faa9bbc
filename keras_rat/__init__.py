# SPDX-License-Identifier: Apache-2.0
"""Rescale-aware training: quantisation-aware training that sees k-bit rescale multipliers (arXiv 2510.11484)."""

from keras_rat import callbacks, signed_digits
from keras_rat.auto import Choice
from keras_rat.calibrate import calibrate
from keras_rat.convert import convert
from keras_rat.graph.keras3 import from_keras3
from keras_rat.phases import Phase, phase
from keras_rat.quantize import (
    choose_bits,
    quantize_annotate_layer,
    quantize_annotate_model,
    quantize_apply,
    quantize_model,
)
from keras_rat.rescales import Multipliers, multipliers, rescale_layers, widths
from keras_rat.scheme import RescaleAwareScheme
from keras_rat.scope import quantize_scope

__all__ = [
    "Choice",
    "Multipliers",
    "Phase",
    "RescaleAwareScheme",
    "calibrate",
    "callbacks",
    "choose_bits",
    "convert",
    "from_keras3",
    "multipliers",
    "phase",
    "quantize_annotate_layer",
    "quantize_annotate_model",
    "quantize_apply",
    "quantize_model",
    "quantize_scope",
    "rescale_layers",
    "signed_digits",
    "widths",
]
