"""Operators that carry integers over unchanged (or compare or average them): one scale on both sides."""

from tflm_export.ops.base import Declaration, Op, quantized_keys, quantized_tensors, register


@register(
    "BATCH_TO_SPACE_ND",
    "BROADCAST_TO",
    "DEPTH_TO_SPACE",
    "DYNAMIC_UPDATE_SLICE",
    "GATHER",
    "GATHER_ND",
    "MIRROR_PAD",
    "PACK",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "REVERSE_V2",
    "SLICE",
    "SPACE_TO_BATCH_ND",
    "SPACE_TO_DEPTH",
    "TILE",
    "UNPACK",
)
class DataMovement(Op):
    """Ties all its quantised tensors; pins them where they differ already or where one is a constant."""

    unequal_reason = ""

    def declare(self, operator, graph):
        tensors = quantized_tensors(operator)
        equal = len({(t.scale, t.zero_point, t.type) for t in tensors}) <= 1
        if not equal or any(t.is_constant for t in tensors):
            return Declaration(pins=quantized_keys(operator), reason="" if equal else self.unequal_reason)
        return Declaration(ties=(quantized_keys(operator),) if tensors else ())


@register("REDUCE_MAX", "REDUCE_MIN")
class SameScale(DataMovement):
    """Rescales its inputs where their scales differ from the output's; without that it only moves data."""

    unequal_reason = "its inputs and output have unequal scales, which is not supported yet"
