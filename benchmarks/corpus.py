# SPDX-License-Identifier: Apache-2.0
"""What narrowing does to a folder of models, file by file.

For each file: which operators were narrowed, which were not and why, or why the file was refused; whether LiteRT and
TensorFlow Lite Micro run the narrowed file; how many integers differ between the runtimes and the simulator, layer by
layer; and the agreement with the stock model on random inputs. Every file is tried in a process of its own, because
some crash the runtimes.

usage: python -m benchmarks.corpus [--bits=1] [--rows=4] [--folder=DIR] [--output=DIR] [--publish=docs]
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

from absl import flags
from rich.progress import track

from benchmarks import command
from benchmarks.datasets import DATA_VARIABLE, data_folder
from tflm_export import ModelError, UsageError, check_bits, files, narrow
from tflm_export.flatbuffer.model import parse

_COMMAND = command.Command("corpus", __doc__)
_FLAGS = _COMMAND.flags
_BITS = flags.DEFINE_integer("bits", 1, "Width k of the multipliers.", flag_values=_FLAGS)
_ROWS = flags.DEFINE_integer(
    "rows", 4, "Random input rows for runtimes and agreement.", lower_bound=1, flag_values=_FLAGS
)
_FOLDER = flags.DEFINE_string(
    "folder", None, f"Folder of .tflite files; default: ${DATA_VARIABLE}.", flag_values=_FLAGS
)
_PUBLISH = flags.DEFINE_string("publish", None, "Also write the Markdown here.", flag_values=_FLAGS)
_ONE = flags.DEFINE_string("one", None, "For the program's own use: one file.", flag_values=_FLAGS)

SECONDS = 300
ERROR = "an error"  # of Python's; a runtime that fails ends its process by a signal
COLUMNS = ("file", "narrowed", "not narrowed", "LiteRT", "TFLM", "differences", "relative change", "top-1")
# Models this large run few rows: an inference of theirs takes seconds in reference kernels.
LARGE = 1_000_000


def one(path: str, bits: int, rows: int) -> dict:
    """The result of one file."""
    data = pathlib.Path(path).read_bytes()
    try:
        narrowed, report = narrow(data, bits)
    except ModelError as error:
        return {"refused": str(error)}
    left = collections.Counter(f"{row.op}: {row.obstacle}" for row in report.offenders)
    result = {"narrowed": _counts(row.op for row in report.rows if row.narrow), "left": dict(left)}
    print(json.dumps(result), flush=True)  # in case a runtime takes the process down
    from tflm_export import verify

    rows = rows if len(data) < LARGE else 1
    model = parse(data)
    if any(tensor.type == "STRING" for tensor in model.subgraphs[0].inputs):
        return result
    found = verify.verify(data, narrowed, verify.random_inputs(model, rows))
    differences = [n for layer in found.layers for n in layer.differences.values() if n is not None]
    outputs = found.outputs.get("TFLM") or found.outputs.get("LiteRT reference") or found.outputs.get("LiteRT")
    return result | {
        "runs": {name: name in found.outputs for name in verify.RUNTIMES},
        "failures": found.failures,
        "compared": len(differences),
        "differences": sum(differences),
        "relative_change": outputs.relative_change if outputs else None,
        "top1": outputs.top1 if outputs else None,
    }


def _counts(names) -> dict[str, int]:
    return dict(collections.Counter(names))


def in_process(path: pathlib.Path, bits: int, rows: int) -> dict:
    """`one` in a process of its own; what it had found so far where a runtime took it down."""
    command = [sys.executable, "-m", "benchmarks.corpus", f"--bits={bits}", f"--rows={rows}", f"--one={path}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        lines, code = done.stdout.splitlines(), done.returncode
    except subprocess.TimeoutExpired as error:
        lines, code = (error.stdout or b"").decode().splitlines(), "time out"
    found = [json.loads(line) for line in lines if line.startswith("{")]
    result = found[-1] if found else {}
    if code != 0:
        result["died"] = ERROR if code in (1, 2) else f"exit code {code}"
    return result


def row(name: str, result: dict) -> tuple[str, ...]:
    """A line of the table."""
    if "refused" in result:
        return (name, "", f"refused: {result['refused']}", "", "", "", "", "")
    narrowed = ", ".join(f"{count} {op}" for op, count in result.get("narrowed", {}).items())
    left = "; ".join(f"{count} {reason}" for reason, count in result.get("left", {}).items())
    if "runs" not in result:
        left = "; ".join(filter(None, (left, f"runtimes: {result.get('died', 'not run')}")))
        return (name, narrowed, left, "", "", "", "", "")
    runs = result["runs"]
    change, top1 = result["relative_change"], result["top1"]
    return (
        name,
        narrowed,
        left,
        "yes" if runs["LiteRT"] and runs["LiteRT reference"] else "no",
        "yes" if runs["TFLM"] else "no",
        f"{result['differences']} ({result['compared']} layers)" if result["compared"] else "",
        "" if change is None else f"{change:.1%}",
        "" if top1 is None else f"{top1:.0%}",
    )


def markdown(lines: list[tuple[str, ...]], command: str) -> str:
    """The table as Markdown, with how it was made."""
    text = [
        f"# The corpus narrowed to {_BITS.value} bit{'s' if _BITS.value > 1 else ''}",
        "",
        f"Made by `{command}`, without calibration data. LiteRT, TFLM: whether the runtime (for LiteRT both XNNPACK",
        "and the reference kernels) runs the stock and the narrowed file. Differences: integers of the narrowed model",
        "that differ between the simulator and TFLM or LiteRT's reference kernels, over all layers. Relative change",
        f"and top-1: of the outputs against the stock model's, on {_ROWS.value} random input rows: noise goes in, so",
        "less agrees than on real data.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    text += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join(text) + "\n"


def _main() -> int:
    check_bits(_BITS.value)
    if _ONE.value:
        print(json.dumps(one(_ONE.value, _BITS.value, _ROWS.value)))
        return command.EXIT_OK
    folder = pathlib.Path(_FOLDER.value) if _FOLDER.value else data_folder()
    if folder is None:
        raise UsageError(f"no folder of models; pass --folder or set {DATA_VARIABLE}")
    paths = sorted(folder.rglob("*.tflite"))
    if not paths:
        raise UsageError(f"no .tflite file in {folder}")
    output, console = _COMMAND.folder, command.console()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(in_process, path, _BITS.value, _ROWS.value) for path in paths]
        results = {
            path.stem: job.result()
            for path, job in track(list(zip(paths, jobs, strict=True)), "files", console=console)
        }
    lines = [row(name, result) for name, result in results.items()]
    console.print(command.table(COLUMNS, lines, 8, title=f"{len(paths)} files, {_BITS.value}-bit multipliers"))
    name = f"corpus_k{_BITS.value}"
    text = markdown(lines, _COMMAND.provenance()["command"]).encode()
    files.write({str(output / f"{name}.md"): text, str(output / f"{name}.json"): command.to_json(results)})
    if _PUBLISH.value:
        files.write({str(pathlib.Path(_PUBLISH.value) / f"{name}.md"): text})
    died = [name for name, result in results.items() if result.get("died") == ERROR]
    if died:
        print(f"corpus: files that ended in an error: {', '.join(died)}", file=sys.stderr)
    return command.EXIT_MODEL if died else command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where the exporter or the verification raised."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
