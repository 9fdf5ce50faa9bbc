# SPDX-License-Identifier: Apache-2.0
"""Base of cores whose convolutions go tile by tile and can write planes for the depthwise layers behind them."""

import numpy as np

from tflm_export.c.cost import Work
from tflm_export.c.epilogue import FoldedRescale
from tflm_export.c.planes import LARGEST_PLANE, Planes, planes
from tflm_export.c.portable import Portable, is_image, rescale_statement, window_statement
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.tiles import Tiles
from tflm_export.program.program import Origin, Step
from tflm_export.program.weighted_sum import WeightedSum

_NOWHERE = Origin(0, 0, "", "", "")


class Tiled(Portable):
    """Kernels of a core where its shapes allow, else portable ones."""

    def tiling(self, form: WeightedSum):
        """How a convolution over an image goes tile by tile, None where it does not."""
        raise NotImplementedError

    def tiles(self, step: Step, folded: FoldedRescale, rows: np.ndarray) -> CStep | None:
        """A convolution over an image tile by tile, None where its shape does not allow it."""
        raise NotImplementedError

    def columns(self, step: Step, folded: FoldedRescale, columns: np.ndarray) -> CStep | None:
        """A depthwise convolution with a kernel of the core, None where it has none."""
        raise NotImplementedError

    def packed(self, step: Step, folded: FoldedRescale, rows: np.ndarray) -> CStep | None:
        """A dense layer with a kernel of the core, None where it has none."""
        raise NotImplementedError

    def depthwise(self, step, folded, columns):
        return self._chosen([self.columns(step, folded, columns)]) or super().depthwise(step, folded, columns)

    def convolution(self, step, folded, rows):
        return self._chosen([self.tiles(step, folded, rows)]) or super().convolution(step, folded, rows)

    def dense(self, step, folded, rows):
        in_tiles = [self.tiles(step, folded, rows)] if is_image(step.form) else []
        return self._chosen([*in_tiles, self.packed(step, folded, rows)]) or super().dense(step, folded, rows)

    def _chosen(self, ways: list[CStep | None]) -> CStep | None:
        """The best of the ways that the layer's sizes allow, None where there is none."""
        possible = [way for way in ways if way is not None]
        return self.choose(possible) if possible else None

    def tile_step(
        self, step: Step, tiles: Tiles, name: str, sizes, weights, call: str, scratch: int, work: Work
    ) -> CStep:
        """A convolution whose tile kernel the macro NAME of the header of that name makes.

        Args:
          step: the layer.
          tiles: its end.
          name: of the macro, in lower case.
          sizes: its arguments before pixel and channel.
          weights: as the kernel reads them.
          call: the statement that walks over the tiles.
          scratch: bytes that it needs, without sums.
          work: what it does.
        """
        folded, layout = tiles.folded, tiles.layout
        places = (layout.pixel, layout.channel) if tiles.is_whole else (0, 0)
        kernel, definition = tiles.definition(name.upper(), *sizes, *places)
        constants = {"weights": weights, "records": tiles.records()} | ({} if tiles.is_whole else folded.constants())
        rescaling = () if tiles.is_whole else (rescale_statement(folded),)
        statements = (window_statement(step.form), *rescaling, tiles.statement(kernel), call)
        scratch += tiles.sums
        return self.clamped(step, statements, constants, scratch, f"{name}.h", folded, [definition], work=work)

    def gives_channels_first(self, form):
        if not isinstance(form, WeightedSum) or form.is_depthwise or not is_image(form):
            return False
        if form.windows.outputs > LARGEST_PLANE or self._has_problem(form):
            return False
        return self.tiling(form) is not None

    def takes_channels_first(self, form):
        if not isinstance(form, WeightedSum) or not form.is_depthwise or self._has_problem(form):
            return False
        return self.planes(form) is not None

    def planes(self, form: WeightedSum) -> Planes | None:
        """The sizes of a depthwise layer that the core's kernel takes plane by plane, None for others."""
        return planes(form)

    def _has_problem(self, form: WeightedSum) -> bool:
        """Whether the form cannot be emitted at all."""
        try:
            Portable().emit(Step(_NOWHERE, form))
        except UnsupportedError:
            return True
        return False
