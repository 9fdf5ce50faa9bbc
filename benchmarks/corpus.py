"""What narrowing does to a folder of models, file by file.

For each file: which operators were narrowed, which were not and why, or why the file was refused; whether LiteRT and
TensorFlow Lite Micro run the narrowed file; how many integers differ between the runtimes and the simulator, layer by
layer; and the agreement with the stock model on random inputs. Every file is tried in a process of its own, because
some crash the runtimes.

usage: python -m benchmarks.corpus [--bits=1] [--rows=4] [--folder=DIR] [--output=docs/corpus_k1.md] [--json=OUT.json]
"""

import collections
import concurrent.futures
import json
import multiprocessing
import pathlib
import subprocess
import sys

from absl import app, flags
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.datasets import DATA_VARIABLE, data_folder

_BITS = flags.DEFINE_integer("bits", 1, "Width k of the multipliers.")
_ROWS = flags.DEFINE_integer("rows", 4, "Random input rows for runtimes and agreement.")
_FOLDER = flags.DEFINE_string(
    "folder", None, f"Folder of .tflite files; default: ${DATA_VARIABLE}, else ../shared/data."
)
_OUTPUT = flags.DEFINE_string("output", None, "Write the table as Markdown to this file.")
_JSON = flags.DEFINE_string("json", None, "Write the results as JSON to this file.")

SECONDS = 300
COLUMNS = ("file", "narrowed", "not narrowed", "LiteRT", "TFLM", "differences", "relative change", "top-1")
# Models this large run few rows: an inference of theirs takes seconds in reference kernels.
LARGE = 1_000_000


def one(path: str, bits: int, rows: int) -> dict:
    """The result of one file."""
    from tflm_export import ModelError, narrow
    from tflm_export.flatbuffer.model import parse

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
    command = [sys.executable, "-m", "benchmarks.corpus", f"--bits={bits}", f"--rows={rows}", "--", "one", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        lines, code = done.stdout.splitlines(), done.returncode
        trace = done.stderr
    except subprocess.TimeoutExpired as error:
        lines, code, trace = (error.stdout or b"").decode().splitlines(), "time out", ""
    found = [json.loads(line) for line in lines if line.startswith("{")]
    result = found[-1] if found else {}
    if code != 0:
        result["died"] = "traceback" if "Traceback" in trace else f"exit code {code}"
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


def main(argv):
    if argv[1:2] == ["one"]:
        print(json.dumps(one(argv[2], _BITS.value, _ROWS.value)))
        return 0
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]}")
    folder = pathlib.Path(_FOLDER.value) if _FOLDER.value else data_folder()
    if folder is None:
        raise app.UsageError(f"no folder of models: pass --folder or set {DATA_VARIABLE}")
    paths = sorted(folder.rglob("*.tflite"))
    with concurrent.futures.ThreadPoolExecutor(multiprocessing.cpu_count()) as pool:
        jobs = [pool.submit(in_process, path, _BITS.value, _ROWS.value) for path in paths]
        results = [job.result() for job in track(jobs, "files")]
    lines = [row(path.stem, result) for path, result in zip(paths, results, strict=True)]
    table = Table(*COLUMNS, title=f"{len(paths)} files, {_BITS.value}-bit multipliers")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    if _OUTPUT.value:
        output = pathlib.Path(_OUTPUT.value)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(markdown(lines, f"python -m benchmarks.corpus --bits {_BITS.value} --rows {_ROWS.value}"))
    if _JSON.value:
        named = {path.stem: result for path, result in zip(paths, results, strict=True)}
        pathlib.Path(_JSON.value).write_text(json.dumps(named, indent=1) + "\n")
    died = [path.stem for path, result in zip(paths, results, strict=True) if result.get("died") == "traceback"]
    if died:
        print(f"files that ended in a traceback: {', '.join(died)}", file=sys.stderr)
    return 1 if died else 0


if __name__ == "__main__":
    app.run(main)
