"""Cortex-M0+ and other ARMv6-M cores: two pixels in one product, weights as words of two channels."""

import numpy as np

from tflm_export.kernels.planes import planes
from tflm_export.kernels.portable import Portable, rescale_statement, window_statement
from tflm_export.kernels.step import Step

_LANE = 255  # |w| + |w'| of neighbours whose products share a 16-bit lane


class CortexM0Plus(Portable):
    """Convolutions and dense layers with weights repacked; everything else as on any core."""

    def _windowed(self, operator, folded, weights, view, activation, patch) -> Step:
        if operator.name == "CONV_2D" and self._fits(weights):
            return self._conv(operator, folded, weights, view, activation)
        if operator.name == "DEPTHWISE_CONV_2D":
            sizes, taps = planes(operator, view, folded.end), _row_sums(weights)
            if sizes is not None and (taps[:, :2] <= _LANE).all():
                return self._planes(operator, folded, weights, view, activation, sizes, taps[:, 2] > _LANE)
        return super()._windowed(operator, folded, weights, view, activation, patch)

    def _planes(self, operator, folded, columns, view, activation, sizes, wide) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        # Words of a row: stride 1 reads them by fours, or by three for one output; stride 2 by three for two outputs.
        fours, ones = divmod(sizes.output_width, 4)
        pitch = 4 * fours + (0, 4, 4, 4)[ones] if sizes.stride == 1 else 3 * -(-sizes.output_width // 2)
        macro = "NARROW_DEPTHWISE_CONV_2D_PLANES_V6M"
        made = [sizes.definition(macro, pitch, split) for split in ((3, 2) if wide.any() else (3,))]
        second = made[1][0] if wide.any() else "0"
        call = (
            f"narrow_depthwise_conv_2d_planes_v6m(&window, &rescale, weights, wide, {x.shape[3]}, 1, {sizes.height}, "
            f"{pitch}, x0, y, scratch, {made[0][0]}, {second}, {sizes.end_argument});"
        )
        statements = (window_statement(view, x, y), rescale_statement(folded), call)
        constants = {"weights": np.ascontiguousarray(columns.T.astype(np.int8))} | folded.constants()
        constants["wide"] = np.packbits(wide, bitorder="little")
        scratch = 4 * sizes.height * pitch + (2 * pitch + 11 & ~3) + sizes.sums
        header, definitions = "narrow_depthwise_conv_2d_planes_v6m.h", [line for _, line in made]
        return self.with_activation(
            operator, (x,), statements, constants, activation, scratch, header, folded, definitions
        )

    def _fits(self, rows: np.ndarray) -> bool:
        neighbours = np.abs(_padded(rows).astype(np.int64)).reshape(len(rows), -1, 2).sum(2)
        return len(rows) % 2 == 0 and bool((neighbours <= _LANE).all())

    def _conv(self, operator, folded, rows, view, activation) -> Step:
        x, y = operator.inputs[0], operator.outputs[0]
        call = f"narrow_conv_2d_v6m_{folded.end.value}(&window, &rescale, weights, x0, y, scratch);"
        statements = (window_statement(view, x, y), rescale_statement(folded), call)
        constants = {"weights": channel_words(rows)} | folded.constants()
        scratch = 5 * _padded(rows).shape[1]
        kernel = "narrow_conv_2d_v6m.c"
        return self.with_activation(operator, (x,), statements, constants, activation, scratch, kernel, folded)

    def _dense(self, operator, folded, weights, rows, activation) -> Step:
        channels, depth = weights.shape
        if rows > 1 and operator.name == "CONV_2D" and self._fits(weights):
            return self._conv(operator, folded, weights, self.view(operator), activation)
        if channels % 2:
            return super()._dense(operator, folded, weights, rows, activation)
        function = f"narrow_fully_connected_v6m_{folded.end.value}"
        call = f"{function}({rows}, {depth}, {channels}, &rescale, weights, x0, y, scratch);"
        constants = {"weights": channel_words(weights)} | folded.constants()
        statements, scratch = (rescale_statement(folded), call), 4 * _padded(weights).shape[1]
        inputs, kernel = operator.inputs[:1], "narrow_fully_connected_v6m.c"
        return self.with_activation(operator, inputs, statements, constants, activation, scratch, kernel, folded)


def _row_sums(columns: np.ndarray) -> np.ndarray:
    """Sums of |weights| of 3x3 kernels [9, channels]: [channels, 3], the largest of any row: first two, third, all."""
    rows = np.abs(columns.astype(np.int64)).T.reshape(-1, 3, 3)
    return np.stack([rows[:, :, :2].sum(2).max(1), rows[:, :, 2].max(1), rows.sum(2).max(1)], 1)


def _padded(rows: np.ndarray) -> np.ndarray:
    """Weights [channels, depth] with zeros up to a multiple of 4."""
    return np.pad(rows.astype(np.int8), ((0, 0), (0, -rows.shape[1] % 4)))


def channel_words(rows: np.ndarray) -> np.ndarray:
    """Weights [channels, depth] as words of two channels and two depths, [channels / 2, depth4 / 2].

    A word is (A k, B k, A k + 1, B k + 1), lowest byte first.
    """
    padded = _padded(rows)
    grouped = padded.reshape(len(rows) // 2, 2, -1, 2)  # [pair of channels, A or B, pair of depths, second of it]
    return np.ascontiguousarray(grouped.transpose(0, 2, 3, 1)).reshape(len(rows) // 2, -1).view("<i4")
