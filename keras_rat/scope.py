# SPDX-License-Identifier: Apache-2.0
"""What files of quantised and of annotated models are read with."""

from collections.abc import Mapping
from typing import Any

import tensorflow_model_optimization as tfmot
import tf_keras as keras

from keras_rat import batch_norm, configs, quantizers, tfmot_internals
from keras_rat.graph import rewrite
from keras_rat.graph.channelwise import Channelwise, HardSwish
from keras_rat.slopes import SlopesQuantizer
from keras_rat.wrapper import RescaleWrapper

_tfmot = tfmot.quantization.keras


class RescaleAnnotate(tfmot_internals.QuantizeAnnotate):
    """An annotation with widths of its own.

    Args:
      bits: width k of the layer's multipliers; None for the scheme's.
      weight_bits: bits of its weights; None for the scheme's.
    """

    def __init__(self, layer, quantize_config=None, bits=None, weight_bits=None, **kwargs):
        super().__init__(layer, quantize_config, **kwargs)
        self.bits, self.weight_bits = bits, weight_bits

    def get_config(self):
        return super().get_config() | {"bits": self.bits, "weight_bits": self.weight_bits}


def quantize_scope(*args: Mapping[str, Any]) -> keras.utils.CustomObjectScope:
    """Scope for loading models with quantised layers, as tfmot's; pass further custom objects as dicts."""
    objects = {
        cls.__name__: cls
        for cls in (
            configs.HardSwishConfig,
            configs.NoQuantizeConfig,
            configs.OutputConfig,
            configs.ProductConfig,
            configs.RescaleConfig,
            configs.SlopeConfig,
            configs.SlopesConfig,
            configs.SumConfig,
            configs.TableOutputConfig,
            configs.TiedOutputConfig,
            quantizers.RangeQuantizer,
            quantizers.RescaleQuantizer,
            quantizers.TableQuantizer,
            quantizers.TiedQuantizer,
            RescaleAnnotate,
            Channelwise,
            HardSwish,
            SlopesQuantizer,
            rewrite.BatchReshape,
            *batch_norm.FREEZABLE.values(),
        )
    }
    scope = _tfmot.quantize_scope(*args, objects)
    readers = (_tfmot.QuantizeWrapperV2.__name__, RescaleWrapper.__name__)  # of files that tfmot's own are in
    reader = dict.fromkeys(readers, RescaleWrapper)
    return keras.utils.custom_object_scope(*scope.custom_objects, reader)
