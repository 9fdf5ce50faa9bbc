# SPDX-License-Identifier: Apache-2.0
"""What becomes of the networks of tf_keras.applications and keras.applications (Keras 3) in keras_rat.

Each is built for small images with random weights, its batch normalisations at the statistics of crops of two
photographs; then quantised, calibrated, converted and checked, each step timed, in a process of its own. On other crops
the int8 file on LiteRT's reference kernels is compared with XNNPACK, with the fake-quantised model and with the float
network. What is refused is listed with the reason. Networks that were measured already are not measured again.

usage: python -m benchmarks.applications [--only EfficientNet] [--keras 2,3] [--bits 4] [--method keep] [--publish docs]
"""

import json
import pathlib
import re
import signal
import subprocess
import sys

from absl import flags
from rich.progress import track

from benchmarks import command
from benchmarks.application_runs import APPLICATIONS
from tflm_export import METHODS, UsageError, files

_COMMAND = command.Command("applications", __doc__)
_FLAGS = _COMMAND.flags
_ONLY = flags.DEFINE_string("only", "", "Networks whose name this regular expression is found in.", flag_values=_FLAGS)
_KERAS = flags.DEFINE_list("keras", ["2", "3"], "Whose networks: 2 (tf_keras), 3.", flag_values=_FLAGS)
_BITS = flags.DEFINE_integer("bits", 4, "Width of the multipliers.", 1, 31, flag_values=_FLAGS)
_METHOD = flags.DEFINE_enum("method", METHODS[0], METHODS, "As of quantize_model.", flag_values=_FLAGS)
_AGAIN = flags.DEFINE_bool("again", False, "Measures what was measured before, too.", flag_values=_FLAGS)
_SECONDS = flags.DEFINE_integer("seconds", 1800, "Of one network, at most.", 1, flag_values=_FLAGS)
_PUBLISH = flags.DEFINE_string(
    "publish", None, "Folder of the documentation to write the table to.", flag_values=_FLAGS
)

STEPS = ("rebuild", "quantize", "calibrate", "convert", "check")
HEAD = ("network", "Keras", "pixels", "parameters", "result", "XNNPACK", "fake-quantised", "float", *STEPS)
DONE = {"sqnr", "refused", "absent"}  # what a result has that need not be measured again
BEGIN, END = "<!-- applications: made by python -m benchmarks.applications -->", "<!-- end of applications -->"


def selected(only: str, versions: list[str]) -> list[tuple[str, str]]:
    """(version of Keras, network) of what is to be measured.

    Raises:
      UsageError: a version that there is not, or nothing selected.
    """
    if unknown := [version for version in versions if version not in ("2", "3")]:
        raise UsageError(f"--keras takes 2 and 3, got {','.join(unknown)}")
    try:
        found = [(v, name) for v in versions for name in APPLICATIONS if re.search(only, name)]
    except re.error as error:
        raise UsageError(f"--only {only!r} is no regular expression: {error}") from error
    found = [(v, name) for v, name in found if v in APPLICATIONS[name].versions]
    if not found:
        raise UsageError(f"no network matches {only!r}; there are {', '.join(APPLICATIONS)}")
    return found


def in_process(version: str, name: str) -> dict:
    """The result of one network, from a process of its own; what it had found so far where it came to an end."""
    arguments = (version, name, _BITS.value, _METHOD.value)
    line = [sys.executable, "-c", f"from benchmarks import application_runs; application_runs.run{arguments}"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=_SECONDS.value)
        lines, code, said = done.stdout.splitlines(), done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        lines, code, said = (error.stdout or b"").decode().splitlines(), None, ""
    found = [json.loads(line) for line in lines if line.startswith("{")]
    result = found[-1] if found else {"seconds": {}}
    if code is None:
        result["error"] = f"not done after {_SECONDS.value} s"
    elif code:
        last = (said.strip().splitlines() or [""])[-1]
        result["error"] = f"{signal.Signals(-code).name if code < 0 else f'exit code {code}'}: {last}"
    return result


def outcome(result: dict) -> str:
    """One cell: what became of a network."""
    for kind in ("absent", "refused", "error"):
        if kind in result:
            return f"{kind}: {result[kind]}"
    return "narrow" if not result["wide"] else f"wider than wanted: {', '.join(result['wide'])}"


def row(key: str, result: dict) -> tuple[str, ...]:
    """A line of the table."""
    version, name = key.split(" ", 1)
    kernels, close, near = "", "", ""
    if "sqnr" in result:
        kernels = f"{result['kernels']:.1f} dB" if "kernels" in result else ""  # files of earlier versions have none
        close = f"{result['together']:.1f} dB, {result['most']} LSB"
        near = f"{result['sqnr']:.1f} dB, {result['same']:.0%}"
    seconds = (f"{result['seconds'][step]:.1f}" if step in result["seconds"] else "" for step in STEPS)
    parameters = f"{result['parameters']:,}" if "parameters" in result else ""
    return (name, version, str(result.get("pixels", "")), parameters, outcome(result), kernels, close, near, *seconds)


def worst_first(results: dict[str, dict]) -> list[str]:
    """Keys, those without a file first, then by how far the file is from the float network."""
    return sorted(results, key=lambda key: (results[key].get("sqnr", float("-inf")), key))


def markdown(results: dict[str, dict], made_by: str, versions: dict[str, str]) -> str:
    """The table, with how it was made."""
    used = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        tuple(cell.replace("|", "\\|").replace("\n", " ") for cell in row(k, results[k])) for k in worst_first(results)
    ]
    done = sum(outcome(result) == "narrow" for result in results.values())
    text = [
        f"`{made_by}` ({used}): {done} of {len(results)} networks become int8 files whose rescales are all narrow, the "
        "worst first.",
        "",
        f"| {' | '.join(HEAD)} |",
        "|" + "---|" * len(HEAD),
        *(f"| {' | '.join(line)} |" for line in lines),
    ]
    return "\n".join(text) + "\n"


def _main() -> int:
    wanted = selected(_ONLY.value, _KERAS.value)
    folder, console = _COMMAND.folder, command.console()
    path = folder / f"{_name()}.json"
    results = json.loads(path.read_bytes())["results"] if path.exists() else {}
    for version, name in track(wanted, "networks", console=console):
        key = f"{version} {name}"
        if not _AGAIN.value and DONE & results.get(key, {}).keys():
            continue
        results[key] = in_process(version, name)
        report = {"kind": "applications", **_COMMAND.provenance(), "bits": _BITS.value, "method": _METHOD.value}
        files.write({str(path): command.to_json(report | {"results": results})})
        console.print(f"{name} (Keras {version}): {outcome(results[key])}")
    _show(results, folder, console)
    failed = [key for key, result in results.items() if "error" in result]
    if failed:
        print(f"applications: ended in an error: {', '.join(failed)}", file=sys.stderr)
    return command.EXIT_MODEL if failed else command.EXIT_OK


def _name() -> str:
    """Of the files of the results, without an ending."""
    return f"applications_{_METHOD.value}_{_BITS.value}"


def _show(results, folder, console) -> None:
    """Prints the table and writes it."""
    console.print(command.table(HEAD, [row(key, results[key]) for key in worst_first(results)], 7))
    provenance = _COMMAND.provenance()
    text = markdown(
        results,
        f"python -m benchmarks.applications --bits {_BITS.value} --method {_METHOD.value}",
        provenance["versions"],
    )
    name = _name()
    files.write({str(folder / f"{name}.md"): text.encode()})
    if _PUBLISH.value:
        page = pathlib.Path(_PUBLISH.value) / "keras_models.md"
        before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise UsageError(f"{page} has no lines {BEGIN!r} and {END!r} to put the table between")
        made = f"{before}{BEGIN}\n\n{text}\n{END}{after}"
        results_folder = pathlib.Path(_PUBLISH.value) / "results" / "applications"
        command.make_folder(results_folder)
        stored = (folder / f"{name}.json").read_bytes()
        files.write({str(page): made.encode(), str(results_folder / f"{name}.json"): stored})


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where a network ended in an error other than a refusal."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
