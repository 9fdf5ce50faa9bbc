# SPDX-License-Identifier: Apache-2.0
"""Narrows the rescales of an int8 .tflite model to k-bit multipliers.

usage: python -m tflm_export --bits K [flags] MODEL.tflite     write MODEL_kK.tflite
       python -m tflm_export --check --bits K MODEL.tflite     exit with 0 if every rescale is on the k-bit grid, else 1
       python -m tflm_export --search --max_drop X --calibration FILE.npz MODEL.tflite
                                                               write the narrowest MODEL_searched.tflite within X
       python -m tflm_export --to_int8 [--bits K] MODEL.tflite write a uint8 model in int8: MODEL_int8.tflite, _int8_kK
       python -m tflm_export --explain MODEL.tflite            show each rescale
       python -m tflm_export --dump MODEL.tflite               print the multipliers of a narrowed model as JSON
       python -m tflm_export --bits K --output_dir DIR FOLDER  write FOLDER/.../MODEL.tflite to DIR/.../MODEL_kK.tflite

MODEL.tflite may be - for standard input, if --output says where the result goes; --output - is standard output, and all
messages then go to standard error. Files that exist stay without --overwrite, which follows links to regular files and
replaces nothing but regular files. Of several runs at once that would write the same new files, one succeeds. Files may
be several, and folders: each then is narrowed or checked by itself, and a table at the end says what became of them.

exit codes: 0 done; 1 the model: refused, wider than --check allows, or not as --verify wants it; 2 the command line, or
messages that could not be written; 3 written, but no runtime could check all that --verify is for. Of several models,
the worst: 2, 1, 3, 0.
"""

import functools
import io
import json
import os
import sys

from absl import flags

import tflm_export
from tflm_export import command_line, cores, files, metadata, outputs, rescale, several, signals, terminal
from tflm_export.errors import ModelError, UsageError
from tflm_export.explain import explain
from tflm_export.flatbuffer.model import parse
from tflm_export.narrow import METHODS, SYNTHETIC, check, narrow
from tflm_export.report import Report
from tflm_export.rules import with_additions
from tflm_export.rules_file import load_rules
from tflm_export.to_int8 import IO, Conversion, is_uint8, to_int8

EXIT_OK, EXIT_MODEL, EXIT_USAGE, EXIT_UNVERIFIED = 0, 1, 2, 3

USED = {  # by the ways to call it that write no model: the other flags
    "check": {"bits", "report", "overwrite", "quiet", "jobs"},
    "explain": set(),
    "dump": set(),
}
NEEDED = {"core": "c_source", "io": "to_int8", "max_drop": "search"}  # flag: the one without which it means nothing
CONVERSION = {"to_int8", "io", "calibration", "synthetic", "output", "output_dir", "overwrite", "quiet", "jobs"}
COARSE_BITS = 2  # from where one scale for all channels of a layer is worth a word
UINT8 = (
    "this is a uint8 model, one scale for all channels of a layer, which TensorFlow Lite Micro no longer runs; "
    "--to_int8 converts it on the way"
)

_FLAGS = flags.FlagValues()
_BITS = flags.DEFINE_integer(
    "bits", None, f"Width k of the multipliers: 1 (pure shifts) to {rescale.MAX_BITS}.", flag_values=_FLAGS
)
_METHOD = flags.DEFINE_enum(
    "method",
    METHODS[0],
    METHODS,
    "requantize: round factors up and re-round the weights to match. keep: round factors to nearest, weights stay.",
    flag_values=_FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write, - for standard output. Default: MODEL_kK.tflite.", flag_values=_FLAGS
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder for the narrowed models; those of a FOLDER keep their places below it. Made where it is not there.",
    flag_values=_FLAGS,
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace regular files that exist.", flag_values=_FLAGS)
_REPORT = flags.DEFINE_string(
    "report", None, "Write the table as JSON to this file, - for standard output.", flag_values=_FLAGS
)
_METADATA = flags.DEFINE_bool(
    "metadata", True, f"Add the multipliers as metadata entry {metadata.NAME}.", flag_values=_FLAGS
)
_CC_ARRAY = flags.DEFINE_string(
    "cc_array",
    None,
    "Folder for the model as C++ array too: NAME_model_data.cc and .h.",
    flag_values=_FLAGS,
)
_C_SOURCE = flags.DEFINE_string(
    "c_source", None, "Folder for the model as a C99 program part too, with the kernels it needs.", flag_values=_FLAGS
)
_CORE = flags.DEFINE_string(
    "core", "portable", f"Core that --c_source is tuned for: {', '.join(cores.NAMES)}.", flag_values=_FLAGS
)
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    None,
    "File of real inputs (.npz, .npy): arrays named as the model's inputs, or one array. Three rows of four choose "
    "scales and round weights, the fourth measures the agreement with the stock model.",
    flag_values=_FLAGS,
)
_BITS_CONFIG = flags.DEFINE_string(
    "bits_config",
    None,
    "YAML or JSON file of bits (or {bits, method}) by operator index or by regular expression on the name of its "
    "output tensor; --bits holds for the others.",
    flag_values=_FLAGS,
)
_ADD_BITS = flags.DEFINE_integer(
    "add_bits",
    None,
    "Width of the multipliers of ADD and SUB that --bits_config does not name; --bits holds for the others.",
    lower_bound=1,
    upper_bound=rescale.MAX_BITS,
    flag_values=_FLAGS,
)
_SYNTHETIC = flags.DEFINE_enum(
    "synthetic",
    SYNTHETIC[0],
    SYNTHETIC,
    "Without --calibration, correct biases for what synthetic images make of the rounded weights: auto: where the one "
    "input is a colour image, [1, height, width, 3]; images: always, inputs are images; none: never.",
    flag_values=_FLAGS,
)
_SEARCH = flags.DEFINE_bool(
    "search", False, "Find the narrowest bits, operator by operator, within --max_drop.", flag_values=_FLAGS
)
_MAX_DROP = flags.DEFINE_float(
    "max_drop",
    0.01,
    "For --search: tolerated share of rows that change class; for outputs that are no classes, relative change.",
    flag_values=_FLAGS,
)
_VERIFY = flags.DEFINE_integer(
    "verify",
    None,
    "Run both models on LiteRT and TFLM on this many rows: of those of --calibration that measure, else random.",
    flag_values=_FLAGS,
)
_TO_INT8 = flags.DEFINE_bool(
    "to_int8",
    False,
    "Convert a per-tensor uint8 model to int8 first, per channel; without --bits, do nothing else.",
    flag_values=_FLAGS,
)
_IO = flags.DEFINE_enum(
    "io", IO[0], IO, "For --to_int8: type of the inputs and outputs that are uint8.", flag_values=_FLAGS
)
_STRICT = flags.DEFINE_bool("strict", False, "Write nothing if any rescale cannot be narrowed.", flag_values=_FLAGS)
_CHECK = flags.DEFINE_bool("check", False, "Only check.", flag_values=_FLAGS)
_EXPLAIN = flags.DEFINE_bool("explain", False, "Only show each rescale.", flag_values=_FLAGS)
_DUMP = flags.DEFINE_bool("dump", False, f"Only print metadata entry {metadata.NAME} as JSON.", flag_values=_FLAGS)
_JOBS = flags.DEFINE_integer("jobs", 1, "Models that are worked on at once, of several.", flag_values=_FLAGS)
_QUIET = flags.DEFINE_bool("quiet", False, "Print nothing but errors.", flag_values=_FLAGS)
_VERSION = flags.DEFINE_bool("version", False, "Show the version.", flag_values=_FLAGS)
_HELP = command_line.define_help(_FLAGS)


_out = terminal.Messages(sys.stdout)  # of this run


def main(argv: list[str]) -> int:
    """Runs the command line `argv` (with the program's name first); returns the exit code."""
    global _out
    _out = terminal.Messages(sys.stdout)
    try:
        arguments = _parse(argv)
        if {_OUTPUT.value, _REPORT.value} & {*files.STANDARD_OUTPUT}:  # which then is a file's content
            _out = terminal.Messages(sys.stderr)
        code = _run(argv, arguments)
    except (flags.Error, UsageError) as error:
        code = _fail(f"{error}{_hint(argv)}", EXIT_USAGE)
    if _out.is_lost:
        code = _fail(f"cannot write to standard output: {_out.problem.strerror}", EXIT_USAGE)
    return code


def _parse(argv: list[str]) -> list[str]:
    """Sets the flags; returns what is none."""
    for name in _FLAGS:
        _FLAGS[name].unparse()
    return _FLAGS(argv)[1:]


def _hint(argv: list[str]) -> str:
    """What to do about a file that was taken for flags."""
    flagged = [text for text in argv[1:] if text.startswith("-") and "=" not in text]
    names = [text for text in flagged if text.endswith(several.ENDING)]
    return f"; write ./{names[0]}, or -- before it, if that is a file" if names and "--" not in argv else ""


def _fail(message, code: int) -> int:
    terminal.complain(message)
    return code


def _say(*lines: str) -> None:
    """Says something to people: nothing with --quiet."""
    if not _QUIET.value:
        _out.say(*lines)


def _run(argv: list[str], arguments: list[str]) -> int:
    if _HELP.value:
        _out.say(*command_line.help_text(__doc__, _FLAGS).split("\n"))
        return EXIT_OK
    if _VERSION.value:
        _out.say(f"tflm_export {tflm_export.__version__}")
        return EXIT_OK
    if not arguments:
        raise UsageError("give a MODEL.tflite, several, or a folder of them; see --help")
    _require_meaning()
    is_several = several.is_asked(arguments, _OUTPUT_DIR.value)
    for mode in ("explain", "dump"):
        if _FLAGS[mode].value and is_several:
            raise UsageError(f"--{mode} takes one MODEL.tflite")
    if is_several:
        return _run_several(argv, arguments)
    outcome = _attempt(several.Source(arguments[0]))
    if not outcome.error:
        return outcome.code
    name = f"{terminal.visible(outcome.path)}: " if outcome.code != EXIT_USAGE else ""
    return _fail(f"{name}{outcome.error}", outcome.code)


def _run_several(argv: list[str], arguments: list[str]) -> int:
    """Narrows or checks several models, each for itself; the worst exit code."""
    _require_possible()
    if _OUTPUT.value is not None:
        raise UsageError("--output names one file, and there may be several; --output_dir names a folder for them")
    if not _CHECK.value and _OUTPUT_DIR.value is None and any(map(os.path.isdir, arguments)):
        raise UsageError("for the models of a folder, --output_dir names the folder for those that are written")
    for path in (_CALIBRATION.value, _BITS_CONFIG.value):
        if path is not None and files.is_stream(path):
            raise UsageError(f"{path} can be read only once, and there may be several models; give a file")
    if _BITS_CONFIG.value is not None:
        load_rules(_BITS_CONFIG.value)  # what is wrong with it is said once
    sources = several.find(arguments, _OUTPUT_DIR.value)
    wanted = [] if _CHECK.value else [_wanted(source) for source in sources]
    several.require_distinct(sources, wanted, _REPORT.value)
    from tflm_export import workers

    work, outcomes = functools.partial(_one_of_several, argv), []
    with several.folders(wanted):
        outputs.require_writable([_REPORT.value], _OVERWRITE.value)
        for outcome in workers.ordered(work, sources, _JOBS.value, _died):
            if outcome.text:
                _say(outcome.path, *(f"  {line}" for line in outcome.text.splitlines()))
            if outcome.error:
                _fail(f"{terminal.visible(outcome.path)}: {outcome.error}", outcome.code)
            outcomes.append(outcome)
        files.write(several.report_files(outcomes, _REPORT.value), _OVERWRITE.value)
    _say("", *several.table(outcomes).split("\n"))
    return several.worst(outcomes)


def _one_of_several(argv: list[str], source: several.Source) -> several.Outcome:
    """What becomes of a model, in a process of its own."""
    global _out
    _parse(argv)
    _out = terminal.Messages(io.StringIO())
    outcome = _attempt(source)
    outcome.text = _out.stream.getvalue()
    return outcome


def _died(source: several.Source, how: str) -> several.Outcome:
    return several.Outcome(source.path, EXIT_MODEL, f"the process that worked on it was ended {how}")


def _attempt(source: several.Source) -> several.Outcome:
    """Does with a model what the flags say, whatever comes of it."""
    try:
        if _EXPLAIN.value:
            _out.say(*explain(files.read(source.path)).split("\n"))
            return several.Outcome(source.path)
        if _DUMP.value:
            _out.say(json.dumps(metadata.dump(files.read(source.path))))
            return several.Outcome(source.path)
        _require_possible()
        if _is_conversion():
            return _convert(source)
        return _check(source) if _CHECK.value else _narrow(source)
    except UsageError as error:
        return several.Outcome(source.path, EXIT_USAGE, str(error))
    except ModelError as error:
        return several.Outcome(source.path, EXIT_MODEL, str(error))


def _given() -> set[str]:
    """The flags of the command line."""
    return {name for name in _FLAGS if _FLAGS[name].present and name != "flagfile"}


def _is_conversion() -> bool:
    """Whether nothing but a conversion to int8 is asked for."""
    return _TO_INT8.value and _given() <= CONVERSION


def _require_meaning() -> None:
    """Raises UsageError where a flag is given that would have no effect beside the others."""
    given = _given()
    modes = [name for name in USED if _FLAGS[name].value]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} exclude each other")
    for mode in modes:
        idle = sorted(given - USED[mode] - {mode})
        if idle:
            raise UsageError(f"--{mode} reads the model as it is and writes none; leave out --{', --'.join(idle)}")
    for name, other in NEEDED.items():
        if name in given and not _FLAGS[other].value:
            raise UsageError(f"--{name} means nothing without --{other}; add it, or leave out --{name}")


def _require_possible() -> None:
    """Raises UsageError where what the flags say cannot be, whatever the model."""
    if _SEARCH.value:
        if any(flag.value is not None for flag in (_BITS, _BITS_CONFIG, _ADD_BITS)):
            raise UsageError("--search chooses the bits; leave out --bits, --bits_config and --add_bits")
    elif _BITS.value is None and not _is_conversion():
        raise UsageError("--bits is required; see --help")
    elif _BITS.value is not None:
        rescale.check_bits(_BITS.value)
    if _JOBS.value < 1:
        raise UsageError(f"--jobs must be at least 1, got {_JOBS.value}")
    cores.find(_CORE.value)
    _require_verifiable()


def _check(source: several.Source) -> several.Outcome:
    report_path = _REPORT.value if source.is_alone else None
    outputs.require_writable([report_path], _OVERWRITE.value)
    report = check(files.read(source.path), _BITS.value)
    files.write(outputs.report_files(report, report_path), _OVERWRITE.value)
    for row in report.offenders:
        width = f"{row.bits_after} bits" if row.bits_after is not None else row.reason
        _say(f"{row.label}: {width}")
    _say(f"{source.path}: {report.summary()}")
    return several.Outcome(source.path, EXIT_MODEL if report.offenders else EXIT_OK, report=report)


def _wanted(source: several.Source) -> outputs.Outputs:
    """The files to write for a model."""
    suffix = "searched" if _SEARCH.value else f"k{_BITS.value}"
    if _TO_INT8.value:
        suffix = "int8" if _is_conversion() else f"int8_{suffix}"
    return outputs.Outputs(
        model=source.output(_OUTPUT_DIR.value, suffix) if _OUTPUT.value is None else _OUTPUT.value,
        report=_REPORT.value if source.is_alone else None,
        array_folder=source.folder(_CC_ARRAY.value),
        source_folder=source.folder(_C_SOURCE.value),
        core=_CORE.value,
        with_metadata=_METADATA.value,
        overwrite=_OVERWRITE.value,
    )


def _convert(source: several.Source) -> several.Outcome:
    output = _wanted(source).model
    outputs.require_writable([output], _OVERWRITE.value)
    stock = files.read(source.path)
    converted = _conversion(stock, _calibration(stock)[0])
    files.write({output: converted.data}, _OVERWRITE.value)
    _say(f"{output}: int8; {len(converted.data)} bytes")
    return several.Outcome(source.path, output=output, size=len(converted.data))


def _conversion(stock: bytes, train: dict | None) -> Conversion:
    """What is narrowed: the stock model, or with --to_int8 what it is in int8."""
    if not _TO_INT8.value:
        return Conversion(stock, {})
    means = None
    if train is not None and _is_simulated(stock):
        from tflm_export.calibration import Calibration

        means = Calibration.run(parse(stock), list(train.values())).statistics
    converted = to_int8(stock, _IO.value, _SYNTHETIC.value, means)
    _say(*(f"note: {note}" for note in converted.notes))
    return converted


def _is_simulated(data: bytes) -> bool:
    """Whether a model can be run here; not all uint8 ones can whose int8 form can."""
    from tflm_export.simulator import unsupported

    return not unsupported(data)


def _narrow(source: several.Source) -> several.Outcome:
    wanted = _wanted(source)
    wanted.check()
    stock = files.read(source.path)
    rows = _calibration(stock)
    converted = _conversion(stock, rows[0])
    train, test = (None if own is None else converted.inputs(own) for own in rows)
    if _SEARCH.value:
        data, report = _search(converted, train, test)
    else:
        rules = _rules(converted.data)
        data, report = narrow(
            converted.data, _BITS.value, _METHOD.value, train, rules, _SYNTHETIC.value, converted.references
        )
    if _STRICT.value:
        report.require_narrow()
    written = wanted.write(data, report)
    outcome = several.Outcome(source.path, output=wanted.model, size=len(written.model), report=report)
    _say(*(report.table().split("\n") if source.is_alone else report.notes()))
    _say(*written.lines)
    if not _TO_INT8.value and report.bits <= COARSE_BITS and is_uint8(parse(stock)):
        _say(f"note: {UINT8}")
    if rows[1] is not None:
        outcome.agreement = _agreement(stock, converted, data, rows[1])
    if _VERIFY.value is not None:
        outcome.code, outcome.error = _verify(converted.data, written.model, test)
    return outcome


def _agreement(stock: bytes, converted: Conversion, data: bytes, rows: dict) -> str:
    """How far a narrowed model is from the stock one on rows of that one, or if need be from its int8 form."""
    from tflm_export.compare import compare

    own = list(converted.inputs(rows).values())
    form = "" if _is_simulated(stock) else " in int8"
    before, inputs = (converted.data, own) if form else (stock, list(rows.values()))
    found = str(compare(parse(before), parse(data), inputs, own))
    _say(f"agreement with the stock model{form}: {found}")
    return found


def _rules(stock: bytes) -> dict | None:
    """What --bits_config and --add_bits say of single operators."""
    rules = load_rules(_BITS_CONFIG.value) if _BITS_CONFIG.value is not None else None
    if _ADD_BITS.value is None:
        return rules
    return with_additions(parse(stock), rules, _ADD_BITS.value)


def _calibration(stock: bytes) -> tuple[dict | None, dict | None]:
    """The rows of --calibration to calibrate with and to measure on, in the model's integers; None without the flag."""
    if _CALIBRATION.value is None:
        return None, None
    from tflm_export import calibration

    return calibration.split(calibration.by_input(parse(stock), calibration.load(_CALIBRATION.value)))


def _search(source: Conversion, train: dict | None, test: dict | None) -> tuple[bytes, Report]:
    """The narrowest model within --max_drop; shows its progress on a terminal, and its rules."""
    if train is None:
        raise UsageError("--search measures on real inputs; pass --calibration FILE.npz")
    if not _MAX_DROP.value >= 0:
        raise UsageError(f"--max_drop must not be negative, got {_MAX_DROP.value}")
    from tflm_export.search import search

    def progress():
        if sys.stderr.isatty() and not _QUIET.value and _out.stream in (sys.stdout, sys.stderr):  # not of several
            print(".", end="", file=sys.stderr, flush=True)

    rows = list(test.values())
    found = search(source.data, _METHOD.value, train, rows, _MAX_DROP.value, progress, source.references)
    if found.agreement.top1 is not None and 0 < _MAX_DROP.value * found.agreement.rows < 1:
        _say(f"note: --max_drop {_MAX_DROP.value:g} is less than one of the {found.agreement.rows} rows that measure")
    _say(f"models tried: {found.tried}; bits by operator, for --bits_config: {json.dumps(found.rules)}")
    return found.data, found.report


def _require_verifiable() -> None:
    """Raises UsageError where --verify asks for what cannot be."""
    if _VERIFY.value is None:
        return
    if _VERIFY.value < 1:
        raise UsageError(f"--verify needs at least one row, got {_VERIFY.value}")
    from tflm_export import runtimes

    if not runtimes.installed():
        raise UsageError("--verify needs a runtime, and none is installed; pip install ai-edge-litert tflite-micro")


def _verify(stock: bytes, data: bytes, inputs: dict | None) -> tuple[int, str]:
    """Runs both models; the exit code, and why it is not 0."""
    from tflm_export import verify

    rows = _VERIFY.value
    if inputs is None:
        arrays = verify.random_inputs(parse(stock), rows)
        _say("verified on random inputs, which says little about accuracy; --calibration FILE.npz gives real ones")
    else:
        arrays = [array[:rows] for array in inputs.values()]
    found = verify.verify(stock, data, arrays)
    _say(*found.table().split("\n"))
    if found.problem:
        return EXIT_MODEL, found.problem
    return (EXIT_UNVERIFIED, found.unverified) if found.unverified else (EXIT_OK, "")


def run() -> None:
    """The console script."""
    try:
        signals.raise_stopped()
        terminal.open_standard_streams()
        code = main(sys.argv)
        terminal.let_go()
    except signals.Stopped as stopped:
        signals.die_of(stopped.number)
    sys.exit(code)


if __name__ == "__main__":
    from tflm_export import __main__ as importable  # so that worker processes know its functions by that name

    importable.run()
