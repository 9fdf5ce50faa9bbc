# SPDX-License-Identifier: Apache-2.0
"""Narrows the rescales of an int8 .tflite model to k-bit multipliers.

usage: python -m tflm_export --bits K [flags] MODEL.tflite     write MODEL_kK.tflite
       python -m tflm_export --grid csd2 [flags] MODEL.tflite  factors of two signed digits: write MODEL_csd2.tflite
       python -m tflm_export --check --bits K MODEL.tflite     exit with 0 if every rescale is on the k-bit grid, else 1
       python -m tflm_export --search --max_drop X --calibration FILE.npz MODEL.tflite
                                                               write the narrowest MODEL_searched.tflite within X
       python -m tflm_export --to_int8 [--bits K] MODEL.tflite write a uint8 model in int8: MODEL_int8.tflite, _int8_kK
       python -m tflm_export --bits K --c_source DIR MODEL.tflite
                                                               write it as C, too (--bits 31: as it is): DIR/NAME.h, .c
       python -m tflm_export --bits K --rtl DIR MODEL.tflite   write its rescales for hardware, too: DIR/README.md, ...
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
import os
import sys

from absl.flags import Error as FlagError

import tflm_export
from tflm_export import command_line, files, flags, outputs, several, signals, terminal
from tflm_export.errors import UsageError
from tflm_export.one_model import EXIT_MODEL, EXIT_OK, EXIT_USAGE, OneModel, outputs_of, say
from tflm_export.rules_file import load_rules


def main(argv: list[str]) -> int:
    """Runs the command line `argv` (with the program's name first); returns the exit code."""
    out = terminal.Messages(sys.stdout)
    try:
        arguments = flags.parse(argv)
        if {flags.OUTPUT.value, flags.REPORT.value} & {*files.STANDARD_OUTPUT}:  # which then is a file's content
            out = terminal.Messages(sys.stderr)
        code = _run(argv, arguments, out)
    except (FlagError, UsageError) as error:
        code = _fail(f"{error}{_hint(argv)}", EXIT_USAGE)
    if out.is_lost:
        code = _fail(f"cannot write to standard output: {out.problem.strerror}", EXIT_USAGE)
    return code


def _hint(argv: list[str]) -> str:
    """What to do about a file that was taken for flags."""
    flagged = [text for text in argv[1:] if text.startswith("-") and "=" not in text]
    names = [text for text in flagged if text.endswith(several.ENDING)]
    return f"; write ./{names[0]}, or -- before it, if that is a file" if names and "--" not in argv else ""


def _fail(message, code: int) -> int:
    terminal.complain(message)
    return code


def _run(argv: list[str], arguments: list[str], out: terminal.Messages) -> int:
    if flags.HELP.value:
        out.say(*command_line.help_text(__doc__, flags.FLAGS).split("\n"))
        return EXIT_OK
    if flags.VERSION.value:
        out.say(f"tflm_export {tflm_export.__version__}")
        return EXIT_OK
    if not arguments:
        raise UsageError("give a MODEL.tflite, several, or a folder of them; see --help")
    flags.require_meaning()
    is_several = several.is_asked(arguments, flags.OUTPUT_DIR.value)
    for mode in ("explain", "dump"):
        if flags.FLAGS[mode].value and is_several:
            raise UsageError(f"--{mode} takes one MODEL.tflite")
    if is_several:
        return _run_several(argv, arguments, out)
    outcome = OneModel(several.Source(arguments[0]), out).attempt()
    if not outcome.error:
        return outcome.code
    name = f"{terminal.visible(outcome.path)}: " if outcome.code != EXIT_USAGE else ""
    return _fail(f"{name}{outcome.error}", outcome.code)


def _run_several(argv: list[str], arguments: list[str], out: terminal.Messages) -> int:
    """Narrows or checks several models, each for itself; the worst exit code."""
    flags.require_possible()
    if flags.OUTPUT.value is not None:
        raise UsageError("--output names one file, and there may be several; --output_dir names a folder for them")
    if flags.MODEL_NAME.value is not None:
        raise UsageError("--model_name names one model, and there may be several; each is named after its file")
    if not flags.CHECK.value and flags.OUTPUT_DIR.value is None and any(map(os.path.isdir, arguments)):
        raise UsageError("for the models of a folder, --output_dir names the folder for those that are written")
    for path in (flags.CALIBRATION.value, flags.BITS_CONFIG.value):
        if path is not None and files.is_stream(path):
            raise UsageError(f"{path} can be read only once, and there may be several models; give a file")
    if flags.BITS_CONFIG.value is not None:
        load_rules(flags.BITS_CONFIG.value)  # what is wrong with it is said once
    sources = several.find(arguments, flags.OUTPUT_DIR.value)
    wanted = [] if flags.CHECK.value else [outputs_of(source) for source in sources]
    several.require_distinct(sources, wanted, flags.REPORT.value)
    from tflm_export import workers

    work, outcomes = functools.partial(_one_of_several, argv), []
    with several.folders(wanted):
        outputs.require_writable([flags.REPORT.value], flags.OVERWRITE.value)
        for outcome in workers.ordered(work, sources, flags.JOBS.value, _died):
            if outcome.text:
                say(out, outcome.path, *(f"  {line}" for line in outcome.text.splitlines()))
            if outcome.error:
                _fail(f"{terminal.visible(outcome.path)}: {outcome.error}", outcome.code)
            outcomes.append(outcome)
        files.write(several.report_files(outcomes, flags.REPORT.value), flags.OVERWRITE.value)
    say(out, "", *several.table(outcomes).split("\n"))
    return several.worst(outcomes)


def _one_of_several(argv: list[str], source: several.Source) -> several.Outcome:
    """What becomes of a model, in a process of its own."""
    flags.parse(argv)
    text = io.StringIO()
    outcome = OneModel(source, terminal.Messages(text)).attempt()
    outcome.text = text.getvalue()
    return outcome


def _died(source: several.Source, how: str) -> several.Outcome:
    return several.Outcome(source.path, EXIT_MODEL, f"the process that worked on it was ended {how}")


def run() -> None:
    """The console script."""
    with signals.obeyed():
        terminal.open_standard_streams()
        code = main(sys.argv)
        terminal.let_go()
    sys.exit(code)


if __name__ == "__main__":
    from tflm_export import __main__ as importable  # so that worker processes know its functions by that name

    importable.run()
