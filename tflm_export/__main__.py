"""Narrows the rescales of an int8 .tflite model to k-bit multipliers.

usage: python -m tflm_export --bits K [flags] MODEL.tflite     write MODEL_kK.tflite
       python -m tflm_export --check --bits K MODEL.tflite     exit with 0 if every rescale is on the k-bit grid, else 1
       python -m tflm_export --explain MODEL.tflite            show each rescale
       python -m tflm_export --dump MODEL.tflite               print the multipliers of a narrowed model as JSON
"""

import json
import os
import sys

from absl import flags

from tflm_export import cc_array, files, metadata, rescale
from tflm_export.errors import ModelError, UsageError
from tflm_export.explain import explain
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
_METADATA = flags.DEFINE_bool(
    "metadata", True, f"Add the multipliers as metadata entry {metadata.NAME}.", flag_values=_FLAGS
)
_CC_ARRAY = flags.DEFINE_string(
    "cc_array",
    None,
    "Folder for the model as C++ array too: NAME_model_data.cc and .h.",
    flag_values=_FLAGS,
)
_STRICT = flags.DEFINE_bool("strict", False, "Write nothing if any rescale cannot be narrowed.", flag_values=_FLAGS)
_CHECK = flags.DEFINE_bool("check", False, "Only check.", flag_values=_FLAGS)
_EXPLAIN = flags.DEFINE_bool("explain", False, "Only show each rescale.", flag_values=_FLAGS)
_DUMP = flags.DEFINE_bool("dump", False, f"Only print metadata entry {metadata.NAME} as JSON.", flag_values=_FLAGS)
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
    modes = [name for name in ("check", "explain", "dump") if _FLAGS[name].value]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} exclude each other")
    writing = [name for name in ("output", "cc_array") if _FLAGS[name].value is not None]
    if modes and writing:
        raise UsageError(f"--{modes[0]} writes no model; leave out --{writing[0]}")
    if _EXPLAIN.value:
        print(explain(files.read(path)))
        return EXIT_OK
    if _DUMP.value:
        print(json.dumps(metadata.dump(files.read(path))))
        return EXIT_OK
    if _BITS.value is None:
        raise UsageError("--bits is required; see --help")
    bits = rescale.check_bits(_BITS.value)
    return _check(path, bits) if _CHECK.value else _narrow(path, bits)


def _check(path: str, bits: int) -> int:
    _require_writable([])
    report = check(files.read(path), bits)
    files.write(_report_file(report))
    for row in report.offenders:
        width = f"{row.bits_after} bits" if row.bits_after is not None else row.reason
        print(f"{row.label}: {width}")
    print(f"{path}: {_summary(report)}")
    return EXIT_MODEL if report.offenders else EXIT_OK


def _narrow(path: str, bits: int) -> int:
    output = _OUTPUT.value
    if output is None:
        root, extension = os.path.splitext(path)
        output = f"{root}_k{bits}{extension or '.tflite'}"
    if output == "-":
        raise UsageError("--output - (standard output) is not supported; name a file")
    folder = _CC_ARRAY.value
    array_paths = [] if folder is None else [os.path.join(folder, name) for name in cc_array.sources(b"", output)]
    _require_writable([output, *array_paths])
    data, report = narrow(files.read(path), bits, _METHOD.value)
    if _STRICT.value and report.offenders:
        first = report.offenders[0]
        raise ModelError(f"{len(report.offenders)} rescales cannot be narrowed: {first.label}: {first.reason}")
    if _METADATA.value:
        data = metadata.attach(data, report)
    arrays = zip(array_paths, cc_array.sources(data, output).values(), strict=False)
    files.write({output: data} | dict(arrays) | _report_file(report))
    print(report.table())
    print(f"{output}: {_summary(report)}; {len(data)} bytes of flash")
    for array_path in array_paths:
        print(array_path)
    return EXIT_OK


def _require_writable(outputs: list[str]) -> None:
    """Refuses what could not be written, the report included, before any work is done."""
    outputs = [*outputs, *([_REPORT.value] if _REPORT.value is not None else [])]
    for output in outputs:
        files.require_writable(output, _OVERWRITE.value)
    files.require_distinct(outputs)


def _report_file(report: Report) -> dict[str, bytes]:
    if _REPORT.value is None:
        return {}
    return {_REPORT.value: (json.dumps(report.to_dict(), indent=1) + "\n").encode()}


def _summary(report: Report) -> str:
    narrowed = len(report.rows) - len(report.offenders)
    width = "1 bit" if report.bits == 1 else f"{report.bits} bits"
    text = f"{narrowed} of {len(report.rows)} operators with a rescale are at most {width} wide"
    return text + (f"; {len(report.offenders)} not" if report.offenders else "")


def run() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):  # a model's names may hold what the terminal cannot show
        stream.reconfigure(errors="backslashreplace")
    try:
        code = main(sys.argv)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    sys.exit(code)


if __name__ == "__main__":
    run()
