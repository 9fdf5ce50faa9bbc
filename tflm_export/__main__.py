# SPDX-License-Identifier: Apache-2.0
"""Narrows the rescales of an int8 .tflite model to k-bit multipliers.

usage: python -m tflm_export --bits K [flags] MODEL.tflite     write MODEL_kK.tflite
       python -m tflm_export --check --bits K MODEL.tflite     exit with 0 if every rescale is on the k-bit grid, else 1
       python -m tflm_export --search --max_drop X --calibration FILE.npz MODEL.tflite
                                                               write the narrowest MODEL_searched.tflite within X
       python -m tflm_export --explain MODEL.tflite            show each rescale
       python -m tflm_export --dump MODEL.tflite               print the multipliers of a narrowed model as JSON

MODEL.tflite may be - for standard input, if --output says where the result goes; --output - is standard output, and all
messages then go to standard error. Files that exist stay without --overwrite, which follows links to regular files and
replaces nothing but regular files. Of several runs at once that would write the same new files, one succeeds.

exit codes: 0 done; 1 the model: refused, wider than --check allows, or not as --verify wants it; 2 the command line; 3
written, but no runtime could check all that --verify is for
"""

import json
import os
import sys

from absl import flags

from tflm_export import command_line, cores, files, metadata, outputs, rescale
from tflm_export.errors import ModelError, UsageError
from tflm_export.explain import explain
from tflm_export.flatbuffer.model import parse
from tflm_export.narrow import METHODS, SYNTHETIC, check, narrow
from tflm_export.report import Report
from tflm_export.rules import load_rules, with_additions

EXIT_OK, EXIT_MODEL, EXIT_USAGE, EXIT_UNVERIFIED = 0, 1, 2, 3

USED = {  # by the ways to call it that write no model: the other flags
    "check": {"bits", "report", "overwrite"},
    "explain": set(),
    "dump": set(),
}
NEEDED = {"core": "c_source", "max_drop": "search"}  # flag: the one without which it means nothing

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
_CORE = flags.DEFINE_enum(
    "core", "portable", list(cores.NAMES), "Core that --c_source is tuned for.", flag_values=_FLAGS
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
_STRICT = flags.DEFINE_bool("strict", False, "Write nothing if any rescale cannot be narrowed.", flag_values=_FLAGS)
_CHECK = flags.DEFINE_bool("check", False, "Only check.", flag_values=_FLAGS)
_EXPLAIN = flags.DEFINE_bool("explain", False, "Only show each rescale.", flag_values=_FLAGS)
_DUMP = flags.DEFINE_bool("dump", False, f"Only print metadata entry {metadata.NAME} as JSON.", flag_values=_FLAGS)
_HELP = command_line.define_help(_FLAGS)


def main(argv: list[str]) -> int:
    """Runs the command line `argv` (with the program's name first); returns the exit code."""
    try:
        for name in _FLAGS:
            _FLAGS[name].unparse()
        positional = _FLAGS(argv)[1:]
        if _HELP.value:
            print(command_line.help_text(__doc__, _FLAGS))
            return EXIT_OK
        if len(positional) != 1:
            raise UsageError(f"give one MODEL.tflite, got {len(positional)}; see --help")
        return _run(positional[0])
    except (flags.Error, UsageError) as error:
        return _fail(error, EXIT_USAGE)
    except ModelError as error:
        return _fail(f"{positional[0]}: {error}", EXIT_MODEL)


def _fail(message, code: int) -> int:
    print(f"tflm_export: {' '.join(str(message).split())}", file=sys.stderr)
    return code


def _say(*lines: str) -> None:
    """Prints for people: to standard error where standard output is a file's content."""
    taken = {_OUTPUT.value, _REPORT.value} & {*files.STANDARD_OUTPUT}
    print(*lines, sep="\n", file=sys.stderr if taken else sys.stdout)


def _run(path: str) -> int:
    _require_meaning()
    if _EXPLAIN.value:
        print(explain(files.read(path)))
        return EXIT_OK
    if _DUMP.value:
        print(json.dumps(metadata.dump(files.read(path))))
        return EXIT_OK
    if _SEARCH.value:
        if any(flag.value is not None for flag in (_BITS, _BITS_CONFIG, _ADD_BITS)):
            raise UsageError("--search chooses the bits; leave out --bits, --bits_config and --add_bits")
        return _narrow(path, None)
    if _BITS.value is None:
        raise UsageError("--bits is required; see --help")
    bits = rescale.check_bits(_BITS.value)
    return _check(path, bits) if _CHECK.value else _narrow(path, bits)


def _require_meaning() -> None:
    """Raises UsageError where a flag is given that would have no effect beside the others."""
    given = {name for name in _FLAGS if _FLAGS[name].present and name != "flagfile"}
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


def _check(path: str, bits: int) -> int:
    outputs.require_writable([_REPORT.value], _OVERWRITE.value)
    report = check(files.read(path), bits)
    files.write(outputs.report_files(report, _REPORT.value), _OVERWRITE.value)
    for row in report.offenders:
        width = f"{row.bits_after} bits" if row.bits_after is not None else row.reason
        _say(f"{row.label}: {width}")
    _say(f"{path}: {report.summary()}")
    return EXIT_MODEL if report.offenders else EXIT_OK


def _narrow(path: str, bits: int | None) -> int:
    suffix = "searched" if bits is None else f"k{bits}"
    wanted = outputs.Outputs(
        model=outputs.default_path(path, suffix) if _OUTPUT.value is None else _OUTPUT.value,
        report=_REPORT.value,
        array_folder=_CC_ARRAY.value,
        source_folder=_C_SOURCE.value,
        core=_CORE.value,
        with_metadata=_METADATA.value,
        overwrite=_OVERWRITE.value,
    )
    _require_verifiable()
    wanted.check()
    stock = files.read(path)
    train, test = _calibration(stock)
    if bits is None:
        data, report = _search(stock, train, test)
    else:
        data, report = narrow(stock, bits, _METHOD.value, train, _rules(stock), _SYNTHETIC.value)
    if _STRICT.value:
        report.require_narrow()
    written = wanted.write(data, report)
    _say(report.table(), *written.lines)
    if test is not None:
        from tflm_export.compare import compare

        _say(f"agreement with the stock model: {compare(parse(stock), parse(data), list(test.values()))}")
    return EXIT_OK if _VERIFY.value is None else _verify(path, stock, written.model, test)


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


def _search(stock: bytes, train: dict | None, test: dict | None) -> tuple[bytes, Report]:
    """The narrowest model within --max_drop; shows its progress on a terminal, and its rules."""
    if train is None:
        raise UsageError("--search measures on real inputs; pass --calibration FILE.npz")
    if not _MAX_DROP.value >= 0:
        raise UsageError(f"--max_drop must not be negative, got {_MAX_DROP.value}")
    from tflm_export.search import search

    def progress():
        if sys.stderr.isatty():
            print(".", end="", file=sys.stderr, flush=True)

    found = search(stock, _METHOD.value, train, list(test.values()), _MAX_DROP.value, progress)
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


def _verify(path: str, stock: bytes, data: bytes, inputs: dict | None) -> int:
    from tflm_export import verify

    rows = _VERIFY.value
    if inputs is None:
        arrays = verify.random_inputs(parse(stock), rows)
        _say("verified on random inputs, which says little about accuracy; --calibration FILE.npz gives real ones")
    else:
        arrays = [array[:rows] for array in inputs.values()]
    found = verify.verify(stock, data, arrays)
    _say(found.table())
    if found.problem:
        return _fail(f"{path}: {found.problem}", EXIT_MODEL)
    return _fail(f"{path}: {found.unverified}", EXIT_UNVERIFIED) if found.unverified else EXIT_OK


def run() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):  # a model's names may hold what the terminal cannot show
        stream.reconfigure(errors="backslashreplace")
    code = EXIT_OK
    try:
        code = main(sys.argv)
        sys.stdout.flush()
    except OSError as error:  # of standard output; what it still holds cannot be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not code and not isinstance(error, BrokenPipeError):  # the reader may leave, as in `... | head`
            code = _fail(f"cannot write to standard output: {error.strerror}", EXIT_USAGE)
    sys.exit(code)


if __name__ == "__main__":
    run()
