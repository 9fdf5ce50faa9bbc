"""Cortex-M4 and other cores with the DSP extension: weights in the order that SXTB16 and SMLAD want them."""

import numpy as np

from tflm_export.kernels.planes import planes
from tflm_export.kernels.portable import Portable, rescale_statement, window_statement
from tflm_export.kernels.step import Step


class CortexM4(Portable):
    """Two products an instruction where shapes allow; everything else as on any core."""

    def _windowed(self, operator, folded, weights, view, activation, patch) -> Step:
        if operator.name == "CONV_2D" and len(weights) % 2 == 0:
            return self._conv(operator, folded, weights, view, activation)
        x, y = operator.inputs[0], operator.outputs[0]
        sizes = planes(operator, view, folded.end) if operator.name == "DEPTHWISE_CONV_2D" else None
        if sizes is not None:
            return self._planes(operator, folded, weights, view, activation, sizes)
        if operator.name == "DEPTHWISE_CONV_2D" and x.shape[3] == y.shape[3] and y.shape[3] % 4 == 0:
            call = f"narrow_depthwise_conv_2d_dsp_{folded.end.value}(&window, &rescale, weights, x0, y, scratch);"
            statements = (window_statement(view, x, y), rescale_statement(folded), call)
            constants = {"weights": channel_pairs(weights)} | folded.constants()
            kernel = "narrow_depthwise_conv_2d_dsp.c"
            return self.with_activation(operator, (x,), statements, constants, activation, patch, kernel, folded)
        return super()._windowed(operator, folded, weights, view, activation, patch)

    def _planes(self, operator, folded, columns, view, activation, sizes) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        kernel, definition = sizes.definition("NARROW_DEPTHWISE_CONV_2D_PLANES_DSP", sizes.pitch)
        call = (
            f"narrow_depthwise_conv_2d_planes_dsp(&window, &rescale, weights, {x.shape[3]}, 1, {sizes.height}, "
            f"{sizes.pitch}, x0, y, scratch, {kernel}, {sizes.end_argument});"
        )
        statements = (window_statement(view, x, y), rescale_statement(folded), call)
        constants = {"weights": plane_words(columns)} | folded.constants()
        scratch = (sizes.height * sizes.pitch + 7 & ~3) + sizes.sums
        header = "narrow_depthwise_conv_2d_planes_dsp.h"
        return self.with_activation(
            operator, (x,), statements, constants, activation, scratch, header, folded, [definition]
        )

    def _conv(self, operator, folded, rows, view, activation) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        call = f"narrow_conv_2d_dsp_{folded.end.value}(&window, &rescale, weights, x0, y, scratch);"
        statements = (window_statement(view, x, y), rescale_statement(folded), call)
        constants = {"weights": depth_pairs(rows)} | folded.constants()
        scratch = 9 * (-(-rows.shape[1] // 4) * 4)
        kernel = "narrow_conv_2d_dsp.c"
        return self.with_activation(operator, (x,), statements, constants, activation, scratch, kernel, folded)

    def _dense(self, operator, folded, weights, rows, activation) -> Step:
        channels, depth = weights.shape
        if rows >= 4 and channels % 2 == 0 and operator.name == "CONV_2D":
            return self._conv(operator, folded, weights, self.view(operator), activation)
        if channels % 4 or depth % 4:
            return super()._dense(operator, folded, weights, rows, activation)
        call = f"narrow_fully_connected_dsp_{folded.end.value}({rows}, {depth}, {channels}, &rescale, weights, x0, y);"
        # [fours of channels, fours of depth, pairs of channels, words]
        words = depth_pairs(weights).reshape(channels // 4, 2, depth // 4, 2).transpose(0, 2, 1, 3)
        constants = {"weights": np.ascontiguousarray(words)} | folded.constants()
        statements = (rescale_statement(folded), call)
        inputs, kernel = operator.inputs[:1], "narrow_fully_connected_dsp.c"
        return self.with_activation(operator, inputs, statements, constants, activation, 0, kernel, folded)


def depth_pairs(rows: np.ndarray) -> np.ndarray:
    """Weights [channels, depth] as words of two channels and two depths, [channels / 2, depth4 / 2].

    A word is (A k, B k, A k', B k'), lowest byte first, with k, k' = 0, 2 and then 1, 3 of every four.
    """
    channels, depth = rows.shape
    padded = np.zeros((channels, -(-depth // 4) * 4), np.int8)
    padded[:, :depth] = rows
    # [pair of channels, A or B, four, second of its pair, odd or even]: k = 2 * second + odd
    grouped = padded.reshape(channels // 2, 2, -1, 2, 2)
    words = grouped.transpose(0, 2, 4, 3, 1)
    return np.ascontiguousarray(words).reshape(channels // 2, -1).view("<i4")


def plane_words(columns: np.ndarray) -> np.ndarray:
    """Weights [9, channels] of 3x3 kernels as words of two int16, [channels, 5]: see the plane kernel's header."""
    w = columns.T.reshape(-1, 3, 3).astype(np.int16)
    outer = w[:, :, [0, 2]].reshape(-1, 6)
    middle = np.pad(w[:, :, 1], ((0, 0), (0, 1)))
    return np.ascontiguousarray(np.concatenate([outer, middle], 1)).view("<i4")


def channel_pairs(columns: np.ndarray) -> np.ndarray:
    """Weights [taps, channels] as words of two int16, [channels / 4, taps, 2]: channels (0, 2), (1, 3) of each four."""
    taps, channels = columns.shape
    grouped = columns.astype(np.int16).reshape(taps, channels // 4, 2, 2)  # channel = 2 * upper + odd
    return np.ascontiguousarray(grouped.transpose(1, 0, 3, 2)).reshape(channels // 4, taps, 4).view("<i4")
