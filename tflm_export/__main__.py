"""Narrows the rescales of an int8 .tflite model to k-bit multipliers.

usage: python -m tflm_export --bits K [flags] MODEL.tflite
       python -m tflm_export --check --bits K MODEL.tflite
"""

import json
import os
import sys

from absl import flags

from tflm_export import files, rescale
from tflm_export.errors import ModelError, UsageError
from tflm_export.narrow import METHODS, check, narrow
from tflm_export.report import Report

EXIT_OK, EXIT_MODEL, EXIT_USAGE = 0, 1, 2

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
_OUTPUT = flags.DEFINE_string("output", None, "File to write. Default: MODEL_kK.tflite.", flag_values=_FLAGS)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace output files that exist.", flag_values=_FLAGS)
_REPORT = flags.DEFINE_string("report", None, "Write the table as JSON to this file.", flag_values=_FLAGS)
_CHECK = flags.DEFINE_bool(
    "check",
    False,
    "Write no model; exit with 0 if every rescale is on the k-bit grid already, else 1.",
    flag_values=_FLAGS,
)
_HELP = flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=_FLAGS)


def main(argv: list[str]) -> int:
    """Runs the command line `argv` (with the program's name first); returns the exit code."""
    try:
        for name in _FLAGS:
            _FLAGS[name].unparse()
        positional = _FLAGS(argv)[1:]
        if _HELP.value:
            print(f"{__doc__}\nexit codes: {EXIT_OK} done, {EXIT_MODEL} the model, {EXIT_USAGE} the command line\n")
            print(_FLAGS.get_help())
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


def _run(path: str) -> int:
    if _BITS.value is None:
        raise UsageError("--bits is required; see --help")
    bits = rescale.check_bits(_BITS.value)
    if _REPORT.value is not None:
        files.require_writable(_REPORT.value, _OVERWRITE.value)
    if _CHECK.value:
        if _OUTPUT.value is not None:
            raise UsageError("--check writes no model; leave out --output")
        report = check(files.read(path), bits)
        files.write(_report_file(report))
        return _print_check(path, report)
    output = _OUTPUT.value
    if output is None:
        root, extension = os.path.splitext(path)
        output = f"{root}_k{bits}{extension or '.tflite'}"
    if output == "-":
        raise UsageError("--output - (standard output) is not supported; name a file")
    files.require_writable(output, _OVERWRITE.value)
    data, report = narrow(files.read(path), bits, _METHOD.value)
    files.write({output: data} | _report_file(report))
    print(report.table())
    print(f"{output}: {_summary(report)}")
    return EXIT_OK


def _report_file(report: Report) -> dict[str, bytes]:
    if _REPORT.value is None:
        return {}
    return {_REPORT.value: (json.dumps(report.to_dict(), indent=1) + "\n").encode()}


def _summary(report: Report) -> str:
    narrowed = len(report.rows) - len(report.offenders)
    width = "1 bit" if report.bits == 1 else f"{report.bits} bits"
    text = f"{narrowed} of {len(report.rows)} operators with a rescale are at most {width} wide"
    return text + (f"; {len(report.offenders)} not" if report.offenders else "")


def _print_check(path: str, report: Report) -> int:
    for row in report.offenders:
        width = f"{row.bits_after} bits" if row.bits_after is not None else row.reason
        print(f"{row.label}: {width}")
    print(f"{path}: {_summary(report)}")
    return EXIT_MODEL if report.offenders else EXIT_OK


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv))


if __name__ == "__main__":
    run()
