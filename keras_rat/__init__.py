"""Rescale-aware training: quantisation-aware training that sees k-bit rescale multipliers (arXiv 2510.11484)."""

from keras_rat import callbacks
from keras_rat.calibrate import calibrate
from keras_rat.convert import convert
from keras_rat.quantize import (
    quantize_annotate_layer,
    quantize_annotate_model,
    quantize_apply,
    quantize_model,
    quantize_scope,
)
from keras_rat.scheme import RescaleAwareScheme

__all__ = [
    "RescaleAwareScheme",
    "calibrate",
    "callbacks",
    "convert",
    "quantize_annotate_layer",
    "quantize_annotate_model",
    "quantize_apply",
    "quantize_model",
    "quantize_scope",
]
