# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution of any kernel, stride and dilation for ARMv6-M: two outputs in one product.

A plane is kept as words x[i] + 2^16 * x[i + lane]; a weight times such a word is a product for two outputs. The
products of a few taps are added before the halves are split, which is exact while the lower one is an int16: 128 times
the sum of their |w| is below 2^15, so they may add up to 255. Channels whose weights are larger than those of the
others have a kernel of their own, which splits more often.
"""

import functools

import numpy as np

from tflm_export.c.epilogue import FoldedRescale
from tflm_export.c.pair_plane_loop import PairLoop
from tflm_export.c.plane_walk import PlaneWalk, strip_kernel
from tflm_export.c.tiles import Layout
from tflm_export.program.weighted_sum import WeightedSum

_LANE = 255  # sum of |w| whose products with int8 share a 16-bit lane
_SECOND = 0.1  # share of splits that a second kernel must save


class PairPlanes(PlaneWalk):
    """How a layer goes plane by plane: planes of words of two inputs."""

    header, kind = "narrow_depthwise_conv_2d_pairs_v6m.h", "NARROW_PLANE_PAIRS"
    element = 4
    channel_cycles, row_cycles, element_cycles = 140, 60, 11

    @functools.cached_property
    def magnitudes(self) -> np.ndarray:
        """|w| as [channels, rows of the kernel, columns]."""
        return np.abs(self.taps(self.form.rows.T).astype(np.int64)).transpose(2, 0, 1)

    @functools.cached_property
    def blocks(self) -> tuple[int, int, np.ndarray]:
        """Taps between splits, of the usual channels and of others, and which those are: bool [channels]."""
        taps = self.axes[1].kernel
        splits, fit = {}, {}
        for block in range(1, taps + 1):
            starts = range(0, taps, block)
            splits[block] = len(starts)
            sums = np.stack([self.magnitudes[:, :, start : start + block].sum(2) for start in starts])
            fit[block] = (sums <= _LANE).all((0, 2))
        least = max(block for block in fit if fit[block].all())

        def spent(block: int) -> float:
            return float(np.where(fit[block], splits[block], splits[least]).mean())

        usual = min(fit, key=lambda block: (spent(block), -block))
        usual = usual if spent(usual) < (1 - _SECOND) * splits[least] else least
        return usual, least, ~fit[usual]

    @property
    def pitch(self) -> int:
        words = self.loop_of(1, 1).words
        return words if self.loop_of(1, 1).is_packed else words + words % 2

    @property
    def loop(self) -> PairLoop:
        return self.loop_of(self.blocks[0], 4 * self.pitch)

    @property
    def others(self) -> PairLoop | None:
        """The kernel of the other channels, None where there are none."""
        _, least, wide = self.blocks
        return self.loop_of(least, 4 * self.pitch) if wide.any() else None

    def loop_of(self, block: int, pitch: int) -> PairLoop:
        """A kernel that splits after so many taps; pitch: bytes."""
        rows, columns = self.axes
        return PairLoop(
            self.end, rows.kernel, columns.kernel, block, columns.stride, columns.dilation, rows.dilation * pitch,
            rows.stride * pitch, columns.output, *self.output_steps,
        )  # fmt: skip

    @property
    def line(self) -> int:
        """Elements of a row with its padding, behind the last word's upper input."""
        loop = self.loop_of(1, 1)
        read = (4 * self.pitch // 3 if loop.is_packed else self.pitch) + loop.lane
        return max(read, self.axes[1].padded)

    @property
    def fits(self) -> bool:
        """Whether its kernels do."""
        return self.loop.fits and (self.others is None or self.others.fits)

    @property
    def scratch(self) -> int:
        """With a record and a row of the core's own."""
        rows, columns = self.axes
        return super().scratch + 4 * (4 + rows.kernel * columns.kernel) + (self.line + 3 & ~3)

    def constants(self) -> dict[str, np.ndarray]:
        _, _, wide = self.blocks
        return {"wide": np.packbits(wide, bitorder="little")} if wide.any() else {}

    @property
    def kernels(self) -> list[tuple[int, PairLoop]]:
        _, _, wide = self.blocks
        others = [] if self.others is None else [(int(wide.sum()), self.others)]
        return [(int((~wide).sum()), self.loop), *others]

    def definitions(self) -> list[str]:
        return [self._definition(loop) for _, loop in self.kernels]

    def records(self, columns: np.ndarray) -> np.ndarray:
        taps = self.taps(columns).transpose(2, 0, 1).reshape(columns.shape[1], -1)
        shift = [] if self.end == "SUM" else [self.folded.shift[:, None]]
        bytes_ = np.concatenate([taps, *shift], 1)
        words = np.ascontiguousarray(np.pad(bytes_, ((0, 0), (0, -bytes_.shape[1] % 4)))).view("<i4")
        return np.concatenate([self.fields(has_shift=False), words], 1)

    def layer(self, records: np.ndarray) -> str:
        rows, columns = self.axes
        own: dict[str, object] = {"kernel": self._name(self.loop)}
        if self.others is not None:
            own |= {"second": self._name(self.others), "wide": "wide"}
        own |= {"taps": rows.kernel * columns.kernel, "lane": self.loop.lane}
        own |= {"packed": int(self.loop.is_packed), "line": self.line}
        return self.statement(records, **own)

    def _name(self, loop: PairLoop) -> str:
        return f"{self.kernel}_{loop.block}"

    def _definition(self, loop: PairLoop) -> str:
        sizes = (
            loop.rows, loop.taps, loop.block, loop.tap_row // 4, loop.dilation, loop.stride_row // 4, loop.stride,
            loop.outputs, loop.output_row, loop.output_column,
        )  # fmt: skip
        name = self._name(loop)
        return strip_kernel("NARROW_DEPTHWISE_CONV_2D_PAIRS_V6M", name, self.end, sizes, loop.assembly())


def pair_planes(
    form: WeightedSum, given: Layout, made: Layout, folded: FoldedRescale | None = None
) -> PairPlanes | None:
    """As `dsp_planes` of c/dsp_planes.py."""
    ways = [PairPlanes(form, given, made, folded, transposed) for transposed in (False, True)]
    return min((way for way in ways if way.fits), key=lambda way: way.cycles, default=None)
