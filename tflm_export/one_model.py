# SPDX-License-Identifier: Apache-2.0
"""What the command line does with one model: explains, dumps, checks, converts or narrows it."""

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from tflm_export import files, flags, metadata, outputs, several
from tflm_export.errors import ModelError, UsageError
from tflm_export.explain import explain
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.narrow import NothingToNarrowError, check, narrow
from tflm_export.report import Report, Row
from tflm_export.rules import with_additions
from tflm_export.rules_file import load_rules
from tflm_export.terminal import Messages
from tflm_export.to_int8 import IO as INTEGERS
from tflm_export.to_int8 import Conversion, is_uint8, to_int8

if TYPE_CHECKING:
    from tflm_export.rtl_folder import RtlFolder

EXIT_OK, EXIT_MODEL, EXIT_USAGE, EXIT_UNVERIFIED = 0, 1, 2, 3

COARSE_BITS = 2  # from where one scale for all channels of a layer is worth a word
UINT8 = (
    "this is a uint8 model, one scale for all channels of a layer, which TensorFlow Lite Micro no longer runs; "
    "--to_int8 converts it on the way"
)


def say(out: Messages, *lines: str) -> None:
    """Says something to people: nothing with --quiet."""
    if not flags.QUIET.value:
        out.say(*lines)


class OneModel:
    """The work on one model.

    Attributes:
      source: which it is.
      out: takes what is said to people.
    """

    def __init__(self, source: several.Source, out: Messages):
        self.source, self.out = source, out

    def say(self, *lines: str) -> None:
        """Says something to people: nothing with --quiet."""
        say(self.out, *lines)

    def attempt(self) -> several.Outcome:
        """Does with a model what the flags say, whatever comes of it."""
        try:
            if flags.EXPLAIN.value:
                self.out.say(*explain(files.read(self.source.path), flags.grid()).split("\n"))
                return several.Outcome(self.source.path)
            if flags.DUMP.value:
                self.out.say(json.dumps(metadata.dump(files.read(self.source.path))))
                return several.Outcome(self.source.path)
            flags.require_possible()
            if flags.is_conversion():
                return self._convert()
            return self._check() if flags.CHECK.value else self._narrow()
        except UsageError as error:
            return several.Outcome(self.source.path, EXIT_USAGE, str(error))
        except ModelError as error:
            return several.Outcome(self.source.path, EXIT_MODEL, str(error))

    def _check(self) -> several.Outcome:
        report_path = flags.REPORT.value if self.source.is_alone else None
        outputs.require_writable([report_path], flags.OVERWRITE.value)
        report = check(files.read(self.source.path), flags.grid())
        files.write(outputs.report_files(report, report_path), flags.OVERWRITE.value)
        for row in report.offenders:
            self.say(f"{row.label}: {_width(row)}")
        self.say(f"{self.source.path}: {report.summary()}")
        return several.Outcome(self.source.path, EXIT_MODEL if report.offenders else EXIT_OK, report=report)

    def _convert(self) -> several.Outcome:
        output = outputs_of(self.source).model
        outputs.require_writable([output], flags.OVERWRITE.value)
        stock = files.read(self.source.path)
        converted = self._conversion(stock, _calibration(stock)[0])
        files.write({output: converted.data}, flags.OVERWRITE.value)
        self.say(f"{output}: int8; {len(converted.data)} bytes")
        return several.Outcome(self.source.path, output=output, size=len(converted.data))

    def _conversion(self, stock: bytes, train: dict | None) -> Conversion:
        """What is narrowed: the stock model, or with --to_int8 what it is in int8."""
        if not flags.TO_INT8.value:
            return Conversion(stock, {})
        means = None
        if train is not None and _is_simulated(stock):
            from tflm_export.calibration import Calibration

            means = Calibration.run(parse(stock), list(train.values())).statistics
        converted = to_int8(stock, flags.IO.value or INTEGERS[0], flags.SYNTHETIC.value, means)
        self.say(*(f"note: {note}" for note in converted.notes))
        return converted

    def _narrow(self) -> several.Outcome:
        wanted = outputs_of(self.source)
        wanted.check()
        stock = files.read(self.source.path)
        rows = _calibration(stock)
        converted = self._conversion(stock, rows[0])
        train, test = (None if own is None else converted.inputs(own) for own in rows)
        if flags.SEARCH.value:
            data, report, notes = *self._search(converted, train, test), ()
        else:
            data, report, notes = self._narrowed(converted, train)
        if flags.STRICT.value:
            report.require_narrow()
        written = wanted.write(data, report, None if test is None else list(test.values()))
        outcome = several.Outcome(self.source.path, output=wanted.model, size=len(written.model), report=report)
        self.say(*(report.table().split("\n") if self.source.is_alone else report.notes()))
        self.say(*notes, *written.lines)
        if not flags.TO_INT8.value and report.bits <= COARSE_BITS and is_uint8(parse(stock)):
            self.say(f"note: {UINT8}")
        if rows[1] is not None:
            outcome.agreement = self._agreement(stock, converted, data, rows[1])
        if flags.VERIFY.value is not None:
            outcome.code, outcome.error = self._verify(converted.data, written.model, test)
        return outcome

    def _narrowed(self, converted: Conversion, train: dict | None) -> tuple[bytes, Report, tuple[str, ...]]:
        """The narrowed model, its report and notes. For C, which any model becomes, as it is where nothing narrows."""
        rules = _rules(converted.data)
        settings = flags.grid(), flags.METHOD.value, train, rules, flags.SYNTHETIC.value
        try:
            return *narrow(converted.data, *settings, converted.references), ()
        except NothingToNarrowError as error:
            if flags.C_SOURCE.value is None or flags.RTL.value is not None:
                raise
            return converted.data, error.report, (f"note: {error}; written as it is",)

    def _agreement(self, stock: bytes, converted: Conversion, data: bytes, rows: dict) -> str:
        """How far a narrowed model is from the stock one on rows of that one, or if need be from its int8 form."""
        from tflm_export.compare import compare

        own = list(converted.inputs(rows).values())
        form = "" if _is_simulated(stock) else " in int8"
        before, inputs = (converted.data, own) if form else (stock, list(rows.values()))
        found = str(compare(parse(before), parse(data), inputs, own))
        self.say(f"agreement with the stock model{form}: {found}")
        return found

    def _search(self, converted: Conversion, train: dict | None, test: dict | None) -> tuple[bytes, Report]:
        """The narrowest model within --max_drop; shows its progress on a terminal, and its rules."""
        if train is None:
            raise UsageError("--search measures on real inputs; pass --calibration FILE.npz")
        if not flags.MAX_DROP.value >= 0:
            raise UsageError(f"--max_drop must not be negative, got {flags.MAX_DROP.value}")
        from tflm_export.search import search

        def progress():
            if (
                sys.stderr.isatty() and not flags.QUIET.value and self.out.stream in (sys.stdout, sys.stderr)
            ):  # not of several
                print(".", end="", file=sys.stderr, flush=True)

        rows = list(test.values())
        with self._workers() as client:
            found = search(
                converted.data,
                flags.METHOD.value,
                train,
                rows,
                flags.MAX_DROP.value,
                progress,
                converted.references,
                client,
            )
        if found.agreement.top1 is not None and 0 < flags.MAX_DROP.value * found.agreement.rows < 1:
            rows_measured = f"the {found.agreement.rows} rows that measure"
            self.say(f"note: --max_drop {flags.MAX_DROP.value:g} is less than one of {rows_measured}")
        self.say(f"models tried: {found.tried}; bits by operator, for --bits_config: {json.dumps(found.rules)}")
        return found.data, found.report

    def _workers(self) -> contextlib.AbstractContextManager:
        """Those that measure for a search. Of several models, --jobs are searched at once, each by one process."""
        if flags.SCHEDULER.value is None and (flags.JOBS.value == 1 or not self.source.is_alone):
            return contextlib.nullcontext()
        from tflm_export.cluster import connected

        return connected(flags.JOBS.value, flags.SCHEDULER.value)

    def _verify(self, stock: bytes, data: bytes, inputs: dict | None) -> tuple[int, str]:
        """Runs both models; the exit code, and why it is not 0."""
        from tflm_export import verify

        rows = flags.VERIFY.value
        if inputs is None:
            arrays = verify.random_inputs(parse(stock), rows)
            self.say(
                "verified on random inputs, which says little about accuracy; --calibration FILE.npz gives real ones"
            )
        else:
            arrays = [array[:rows] for array in inputs.values()]
        found = verify.verify(stock, data, arrays)
        self.say(*found.table().split("\n"))
        if found.problem:
            return EXIT_MODEL, found.problem
        return (EXIT_UNVERIFIED, found.unverified) if found.unverified else (EXIT_OK, "")


def _width(row: Row) -> str:
    """What a rescale that is not on its grid has, for people."""
    if row.bits_after is None:
        return row.reason
    return f"{row.bits_after} bits" + ("" if isinstance(row.grid, Grid) else f", not {row.grid}")


def outputs_of(source: several.Source) -> outputs.Outputs:
    """The files to write for a model."""
    grid = flags.grid()
    suffix = "searched" if grid is None else grid.name
    if flags.TO_INT8.value:
        suffix = "int8" if flags.is_conversion() else f"int8_{suffix}"
    return outputs.Outputs(
        model=source.output(flags.OUTPUT_DIR.value, suffix) if flags.OUTPUT.value is None else flags.OUTPUT.value,
        report=flags.REPORT.value if source.is_alone else None,
        array_folder=source.folder(flags.CC_ARRAY.value),
        source_folder=source.folder(flags.C_SOURCE.value),
        rtl=_rtl_folder(source),
        name=flags.MODEL_NAME.value,
        core=flags.CORE.value,
        optimize=flags.OPTIMIZE.value,
        has_integer_borders=flags.IO.value is not None and not flags.TO_INT8.value,
        with_metadata=flags.METADATA.value,
        overwrite=flags.OVERWRITE.value,
    )


def _rtl_folder(source: several.Source) -> "RtlFolder | None":
    folder = source.folder(flags.RTL.value)
    if folder is None:
        return None
    from tflm_export.rtl import Wanted
    from tflm_export.rtl_folder import RtlFolder

    wanted = Wanted(flags.RTL_ACCUMULATOR_BITS.value, flags.rtl_shifts(), is_folded=flags.RTL_FOLDED.value)
    return RtlFolder(folder, wanted, flags.RTL_INFERENCES.value, flags.FORCE.value)


def _rules(stock: bytes) -> dict | None:
    """What --bits_config and --add_bits say of single operators."""
    rules = load_rules(flags.BITS_CONFIG.value) if flags.BITS_CONFIG.value is not None else None
    if flags.ADD_BITS.value is None:
        return rules
    return with_additions(parse(stock), rules, flags.ADD_BITS.value)


def _calibration(stock: bytes) -> tuple[dict | None, dict | None]:
    """The rows of --calibration to calibrate with and to measure on, in the model's integers; None without the flag."""
    if flags.CALIBRATION.value is None:
        return None, None
    from tflm_export import calibration

    return calibration.split(calibration.by_input(parse(stock), calibration.load(flags.CALIBRATION.value)))


def _is_simulated(data: bytes) -> bool:
    """Whether a model can be run here; not all uint8 ones can whose int8 form can."""
    from tflm_export.simulator import unsupported

    return not unsupported(data)
