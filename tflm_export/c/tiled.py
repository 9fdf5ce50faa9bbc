# SPDX-License-Identifier: Apache-2.0
"""Base of cores whose convolutions go tile by tile and can write planes for the depthwise layers behind them."""

import numpy as np

from tflm_export.c.cost import Work
from tflm_export.c.epilogue import FoldedRescale
from tflm_export.c.plane_walk import PlaneWalk
from tflm_export.c.portable import Portable, is_image, rescale_statement, window_statement
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.tiles import Tiles
from tflm_export.c.work import plane_walk
from tflm_export.program.program import Origin, Step
from tflm_export.program.weighted_sum import WeightedSum

_LARGEST_PLANE = 65535  # bytes
_NOWHERE = Origin(0, 0, "", "", "")


class Tiled(Portable):
    """Kernels of a core where its shapes allow, else portable ones."""

    def tilings(self, form: WeightedSum) -> list:
        """The ways in which a convolution over an image goes tile by tile, none where its shape does not allow it."""
        raise NotImplementedError

    def tiles(self, step: Step, folded: FoldedRescale, rows: np.ndarray) -> list[CStep]:
        """A convolution over an image tile by tile, in all of these ways."""
        raise NotImplementedError

    def columns(self, step: Step, folded: FoldedRescale, columns: np.ndarray) -> list[CStep]:
        """A depthwise convolution with the kernels of the core, in all ways that its shape allows."""
        raise NotImplementedError

    def packed(self, step: Step, folded: FoldedRescale, rows: np.ndarray) -> CStep | None:
        """A dense layer with a kernel of the core, None where it has none."""
        raise NotImplementedError

    def depthwise(self, step, folded, columns):
        return self._chosen(step, self.columns(step, folded, columns)) or super().depthwise(step, folded, columns)

    def plane_by_plane(self, step: Step, folded: FoldedRescale, columns: np.ndarray) -> CStep | None:
        """A layer each of whose outputs is of one input channel, None where its shape does not allow it."""
        sizes = self.planes(step.form, folded)
        if sizes is None:
            return None
        records, sums = sizes.records(columns), () if folded.in_assembly else (rescale_statement(folded),)
        statements = (*sums, sizes.layer(records), f"narrow_plane_walk(&layer, {sizes.kind}, x0, y, scratch);")
        constants = {"records": records} | sizes.constants() | ({} if folded.in_assembly else folded.constants())
        return self.clamped(
            step, statements, constants, sizes.scratch, sizes.header, folded, sizes.definitions(),
            work=plane_walk(sizes), layouts=("x0", "y"),
        )  # fmt: skip

    def convolution(self, step, folded, rows):
        return self._chosen(step, self.over_image(step, folded, rows)) or super().convolution(step, folded, rows)

    def dense(self, step, folded, rows):
        ways = self.over_image(step, folded, rows) if is_image(step.form) else []
        return self._chosen(step, [*ways, self.packed(step, folded, rows)]) or super().dense(step, folded, rows)

    def over_image(self, step: Step, folded: FoldedRescale, rows: np.ndarray) -> list[CStep | None]:
        """A convolution over an image tile by tile and, of one channel, plane by plane, in all ways."""
        is_plane = step.form.input_channels == 1 and is_image(step.form)
        planes = [self.plane_by_plane(step, folded, np.ascontiguousarray(rows.T))] if is_plane else []
        return [*planes, *self.tiles(step, folded, rows)]

    def _chosen(self, step: Step, ways: list[CStep | None]) -> CStep | None:
        """The best of the ways that the layer's sizes and the layouts of its values allow, None where there is none."""
        layouts = self.kept_channels_first(step)
        possible = [way for way in ways if way is not None and way.channels_first == layouts]
        return self.choose(possible) if possible else None

    def tile_step(
        self, step: Step, tiles: Tiles, header: str, layer: str, definitions, weights, call: str, scratch: int,
        work: Work,
    ) -> CStep:  # fmt: skip
        """A convolution tile by tile.

        Args:
          step: the layer.
          tiles: its end.
          header: which has the macros that make the tile kernels.
          layer: the statement that declares the narrow_tile_layer.
          definitions: of the tile kernels.
          weights: as the kernels read them.
          call: the statement that walks over the tiles.
          scratch: bytes that it needs, without sums.
          work: what it does.
        """
        folded = tiles.folded
        constants = {"weights": weights} | ({} if tiles.is_whole else folded.constants())
        rescaling = () if tiles.is_whole else (rescale_statement(folded),)
        statements = (window_statement(step.form), *rescaling, layer, call)
        scratch += tiles.sums
        return self.clamped(
            step, statements, constants, scratch, header, folded, definitions, work=work, layouts=("y",)
        )

    def gives_channels_first(self, form):
        if not isinstance(form, WeightedSum) or form.is_depthwise or not is_image(form):
            return False
        if form.windows.outputs > _LARGEST_PLANE or self._has_problem(form):
            return False
        one_channel = form.input_channels == 1 and self.planes(form) is not None
        return bool(self.tilings(form)) or one_channel

    def takes_channels_first(self, form):
        if not isinstance(form, WeightedSum) or not form.is_depthwise or self._has_problem(form):
            return False
        return self.planes(form) is not None

    def planes(self, form: WeightedSum, folded: FoldedRescale | None = None) -> PlaneWalk | None:
        """How a layer goes plane by plane, None where it does not; folded: None where only the shape matters."""
        raise NotImplementedError

    def _has_problem(self, form: WeightedSum) -> bool:
        """Whether the form cannot be emitted at all."""
        try:
            Portable().emit(Step(_NOWHERE, form))
        except UnsupportedError:
            return True
        return False
