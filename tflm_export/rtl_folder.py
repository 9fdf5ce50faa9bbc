# SPDX-License-Identifier: Apache-2.0
"""The folder of --rtl: whether it may be written, and what the hardware of a narrowed model is."""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence

import numpy as np

from tflm_export import files
from tflm_export.errors import ModelError, UsageError
from tflm_export.grid import Grid
from tflm_export.report import Report
from tflm_export.rescale import MAX_BITS, READABLE_BITS
from tflm_export.rtl import Hardware, Wanted, translate
from tflm_export.rtl.design import ANY
from tflm_export.rtl.hardware import GENERATOR, INDEX


@dataclasses.dataclass(frozen=True)
class RtlFolder:
    """What is asked for.

    Attributes:
      path: of the folder.
      wanted: widths of the rescaler.
      inferences: that vectors are of.
      is_forced: whether multipliers wider than 16 bits are taken, too.
    """

    path: str
    wanted: Wanted = ANY
    inferences: int = 1
    is_forced: bool = False

    def check(self, overwrite: bool) -> None:
        """Raises UsageError where the folder is another's, or has something in it that is not to be replaced."""
        if not self.path:
            raise UsageError("--rtl takes a folder; the empty text is none")
        files.require_folder(self.path)
        if not os.path.isdir(self.path) or not os.listdir(self.path):
            return
        index = self._index()
        if index is None:
            raise UsageError(
                f"{self.path} exists already, and is no folder that --rtl wrote; give the hardware one of its own, "
                f"such as --rtl {os.path.join(self.path, 'rtl')}"
            )
        if not overwrite:
            what = f"{self.path} exists already, of the model {index['model']}"
            raise UsageError(f"{what}; pass --overwrite to replace it, or give another folder")

    def hardware(self, data: bytes, name: str, report: Report, rows: Sequence[np.ndarray] | None) -> Hardware:
        """What is to be written.

        Args:
          data: the narrowed model.
          name: of it.
          report: of the narrowing.
          rows: real inputs, an array for each input of the model in its type; None for random ones.

        Raises:
          UsageError: there are fewer rows than inferences, accumulators are too narrow, or multipliers too wide.
          ModelError: nothing was narrowed, or nothing that was has a block.
        """
        if rows is not None:
            there = min(map(len, rows))
            if there < self.inferences:
                raise UsageError(
                    f"--rtl_inferences {self.inferences} is more than the {there} rows of --calibration that measure"
                )
            rows = [array[: self.inferences] for array in rows]
        grids = self._grids(report)
        widest = grids[0] if len(grids) == 1 else Grid(max(grid.bits for grid in grids))
        return translate(data, name, widest, dataclasses.replace(self.wanted, grids=grids), rows, self.inferences)

    def _grids(self, report: Report) -> tuple[Grid, ...]:
        """Those that the model was narrowed to: two signed digits first, then by width."""
        rows = [row for row in report.rows if row.narrow and row.grid.bits < MAX_BITS]
        wide = [] if self.is_forced else [row for row in rows if row.grid.bits > READABLE_BITS]
        if wide:
            more = f", and {len(wide) - 1} more operators" if len(wide) > 1 else ""
            raise UsageError(
                f"--rtl with multipliers of {wide[0].grid} for {wide[0].label}{more}: above {READABLE_BITS} bits a "
                "rescaler is hardly smaller than a stock one; give them less, or add --force"
            )
        most = MAX_BITS - 1 if self.is_forced else READABLE_BITS
        grids = {row.grid for row in rows}
        if not grids:
            raise ModelError(
                f"--rtl is for narrow multipliers, and the model has none of up to {most} bits; give --bits less, or "
                "leave out --rtl"
            )
        return tuple(sorted(grids, key=lambda grid: (isinstance(grid, Grid), grid.bits)))

    def stale(self, written: Iterable[str]) -> list[str]:
        """What an earlier run wrote in the folder, as it was left, that is none of what is written now.

        Args:
          written: paths, with the folder's before them.
        """
        listed = (self._index() or {}).get("files", {})
        sizes = {os.path.join(self.path, name): size for name, size in listed.items() if _is_inside(name)}
        return [
            path for path in sizes.keys() - {*written} if os.path.isfile(path) and os.path.getsize(path) == sizes[path]
        ]

    def _index(self) -> dict | None:
        """The folder's index; None where it has none of ours."""
        path = os.path.join(self.path, INDEX)
        if not os.path.isfile(path):
            return None
        try:
            found = json.loads(files.read(path))
            is_ours = found["generator"].startswith(GENERATOR) and {"model"} <= found.keys()
            return found if is_ours and isinstance(found.get("files", {}), dict) else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def leftovers(self, written: Iterable[str]) -> list[str]:
        """Tables of yours, for people."""
        tables = os.path.join(self.path, "tables")
        there = {os.path.join(tables, name) for name in os.listdir(tables)}
        others = sorted(os.path.basename(path) for path in there - {*written})
        return [f"{tables} holds {', '.join(others)} from before or of yours"] if others else []


def _is_inside(name: str) -> bool:
    """Whether a name, of a file that anyone may have written, is one in the folder itself."""
    parts = name.split("/")
    return not {"", ".", ".."} & {*parts} and "\\" not in name and ":" not in name
