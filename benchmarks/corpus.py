# SPDX-License-Identifier: Apache-2.0
"""What narrowing does to a folder of models, file by file, the worst first.

For each file and width: how near the narrowed file stays to the stock one (SQNR of what decides, top-1 agreement) on
rows of the kind it was made for, beside how near two kernel libraries stay on the stock file, and the operators that
cost most. At the narrowest width also: which operators were narrowed, which were not and why, or why the file was
refused; whether LiteRT and TensorFlow Lite Micro run it; and how many integers differ between the runtimes and the
simulator, layer by layer. Every file is tried in a process of its own, because some crash the runtimes.

With --c_source, the C of every file that narrows instead: what it takes, and whether it gives what the simulator does.

usage: python -m benchmarks.corpus [--bits=8,4,2,1] [--rows=4] [--folder=DIR] [--output=DIR] [--publish=docs]
       python -m benchmarks.corpus --c_source [--bits=8,1] [--folder=DIR] [--output=DIR] [--publish=docs]
"""

import collections
import concurrent.futures
import json
import math
import os
import pathlib
import subprocess
import sys

from absl import flags
from rich.progress import track

from benchmarks import c_corpus, command, faithfulness
from benchmarks.datasets import DATA_VARIABLE, data_folder
from benchmarks.natural_inputs import Rows, natural_inputs, random_inputs
from tflm_export import ModelError, UsageError, check_bits, files, narrow, to_int8, verify
from tflm_export.compare import Agreement
from tflm_export.flatbuffer.model import parse

_COMMAND = command.Command("corpus", __doc__)
_FLAGS = _COMMAND.flags
_BITS = flags.DEFINE_list(
    "bits", None, "Widths k of the multipliers; default: 8,4,2,1, with --c_source 8,1.", flag_values=_FLAGS
)
_C_SOURCE = flags.DEFINE_bool("c_source", False, "Write the files as C, build and run them.", flag_values=_FLAGS)
_ROWS = flags.DEFINE_integer(
    "rows",
    4,
    "Random input rows that the runtimes and the simulator are compared on.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_FOLDER = flags.DEFINE_string(
    "folder", None, f"Folder of .tflite files; default: ${DATA_VARIABLE}.", flag_values=_FLAGS
)
_PUBLISH = flags.DEFINE_string("publish", None, "Also write the Markdown here.", flag_values=_FLAGS)
_ONE = flags.DEFINE_string("one", None, "For the program's own use: one file.", flag_values=_FLAGS)

SECONDS = 1200
FAR = {8: 5.0, 1: 10.0}  # dB below the floor, by width, from which on a file needs a cause
HIGHEST_FLOOR = 40.0  # dB; above it a handful of integers differ, which re-rounding any weight does
CAUSES = pathlib.Path(__file__).with_name("corpus_causes.json")
ERROR = "an error"  # of Python's; a runtime that fails ends its process by a signal
NEARNESS = ("file", "rows", "floor")
COSTLIEST = "costs most at k = {}, dB"
COLUMNS = ("file", "narrowed", "not narrowed", "LiteRT", "TFLM", "differences")
# Models this large run few rows: an inference of theirs takes seconds in reference kernels.
LARGE = 1_000_000


def one(path: str, widths: list[int], rows: int):
    """The results of one file, each with more than the one before."""
    data = pathlib.Path(path).read_bytes()
    narrowest = min(widths)
    try:
        narrowed, report = narrow(data, narrowest)
    except ModelError as error:
        yield {"refused": str(error)}
        return
    left = collections.Counter(f"{row.op}: {row.obstacle}" for row in report.offenders)
    result = {"narrowed": _counts(row.op for row in report.rows if row.narrow), "left": dict(left)}
    yield result  # in case a runtime takes the process down
    model = parse(data)
    if any(tensor.type == "STRING" for tensor in model.subgraphs[0].inputs):
        return
    result |= _runtimes(data, narrowed, rows)
    yield result
    name = pathlib.Path(path).stem
    for key, nearness in _nearness(name, data, widths):
        result = result | {key: nearness}
        yield result


def _runtimes(data: bytes, narrowed: bytes, rows: int) -> dict:
    """Which runtimes run a narrowed file, and what they compute otherwise than the simulator."""
    rows = rows if len(data) < LARGE else 1
    found = verify.verify(data, narrowed, verify.random_inputs(parse(data), rows))
    differences = [n for layer in found.layers for n in layer.differences.values() if n is not None]
    return {
        "runs": {name: name in found.outputs for name in verify.RUNTIMES},
        "failures": found.failures,
        "compared": len(differences),
        "differences": sum(differences),
    }


def _nearness(name: str, data: bytes, widths: list[int]):
    """How near narrowed files stay to the stock one, more with every result; of uint8 files also as int8."""
    model = parse(data)
    count = faithfulness.rows_for(model)
    rows = natural_inputs(name, model, count) or random_inputs(model, count)
    try:
        stock = faithfulness.outputs(data, rows)
    except (RuntimeError, ValueError):
        return
    found = {"source": rows.source, "rows": rows.count, "constant": stock.is_constant}
    if stock.is_constant:
        yield "nearness", found
        return
    found |= {"floor": _agreement(faithfulness.floor(data, rows, stock)), "widths": {}}
    for more in _by_width(data, widths, rows, stock, {}):
        yield "nearness", found | more
    try:
        converted = to_int8(data)
    except ModelError:  # int8 as it is
        return
    names = [tensor.name for tensor in model.subgraphs[0].inputs]
    arrays = converted.inputs(dict(zip(names, rows.arrays, strict=True)))
    rows = Rows(rows.source, list(arrays.values()), rows.count)
    for more in _by_width(converted.data, widths, rows, stock, {"references": converted.references}):
        yield "int8", found | more


def _by_width(data: bytes, widths: list[int], rows: Rows, stock: faithfulness.Outputs, options: dict):
    """How near narrowed files stay to the stock file, more with every result."""
    found: dict = {"widths": {}}
    for bits in widths:
        narrowed, report = narrow(data, bits, **options)
        found["widths"][str(bits)] = _agreement(stock.agreement(faithfulness.outputs(narrowed, rows)))
        yield found
    written = collections.Counter(row.activation for row in report.rows if row.activation)
    used = [report.synthetic, *(f"{name} written {count} times" for name, count in written.items())]
    found["rules"] = [rule for rule in used if rule]
    found["costliest"] = faithfulness.costliest(data, min(widths), rows, stock, **options)
    yield found


def _agreement(found: Agreement | None) -> dict | None:
    if found is None:
        return None
    return {"sqnr": None if math.isinf(found.sqnr) else found.sqnr, "top1": found.top1}


def _counts(names) -> dict[str, int]:
    return dict(collections.Counter(names))


def in_process(path: pathlib.Path, arguments: list[str]) -> dict:
    """The results of one file from a process of its own; what it had found so far where something took it down."""
    line = [sys.executable, "-m", "benchmarks.corpus", *arguments, f"--one={path}"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=SECONDS)
        lines, code = done.stdout.splitlines(), done.returncode
    except subprocess.TimeoutExpired as error:
        lines, code = (error.stdout or b"").decode().splitlines(), "time out"
    found = [json.loads(line) for line in lines if line.startswith("{")]
    result = found[-1] if found else {}
    if code != 0:
        result["died"] = ERROR if code in (1, 2) else f"exit code {code}"
    return result


def gaps(nearness: dict) -> dict[int, float]:
    """By how many dB narrowed files are below their floor, by width; of one that nobody knows, below the highest."""
    floor = ((nearness.get("floor") or {}).get("sqnr")) or HIGHEST_FLOOR
    widths = nearness.get("widths", {}).items()
    return {int(bits): min(floor, HIGHEST_FLOOR) - found["sqnr"] for bits, found in widths if found["sqnr"] is not None}


def gap(nearness: dict) -> float:
    """The gap of the narrowest file; of one without outputs to compare, that of no noise."""
    found = gaps(nearness)
    return found[min(found)] if found else -math.inf


def is_far(nearness: dict) -> bool:
    """Whether a file is so far below its floor that its cause is asked for."""
    return any(found > FAR[bits] for bits, found in gaps(nearness).items() if bits in FAR)


def nearness_row(name: str, found: dict, widths: list[int], causes: dict[str, str]) -> tuple[str, ...]:
    """A line of the table of how near narrowed files stay; why some are far below their floor is read, not measured."""
    rows = f"{found['rows']} {found['source']}"
    if found["constant"]:
        return (name, rows, "its outputs are the same for every row", *[""] * (len(widths) + 2))
    costliest = ", ".join(f"{label} {gain:.1f}" for label, gain in found.get("costliest", []))
    cells = (_cell(found["widths"].get(str(bits))) for bits in widths)
    notes = [causes[name]] if is_far(found) and name in causes else []
    return (name, rows, _cell(found["floor"]), *cells, costliest, "; ".join([*notes, *found.get("rules", [])]))


def _cell(found: dict | None) -> str:
    if found is None:
        return ""
    sqnr = "equal" if found["sqnr"] is None else f"{found['sqnr']:.1f}"
    return sqnr if found["top1"] is None else f"{sqnr} / {found['top1']:.1%}"


def row(name: str, result: dict) -> tuple[str, ...]:
    """A line of the table of what was narrowed and what runs."""
    if "refused" in result:
        return (name, "", f"refused: {result['refused']}", "", "", "")
    narrowed = ", ".join(f"{count} {op}" for op, count in result.get("narrowed", {}).items())
    left = "; ".join(f"{count} {reason}" for reason, count in result.get("left", {}).items())
    if "runs" not in result:
        left = "; ".join(filter(None, (left, f"runtimes: {result.get('died', 'not run')}")))
        return (name, narrowed, left, "", "", "")
    runs = result["runs"]
    return (
        name,
        narrowed,
        left,
        "yes" if runs["LiteRT"] and runs["LiteRT reference"] else "no",
        "yes" if runs["TFLM"] else "no",
        f"{result['differences']} ({result['compared']} layers)" if result["compared"] else "",
    )


def markdown(near: list[tuple[str, ...]], lines: list[tuple[str, ...]], widths: list[int], command: str) -> str:
    """Both tables as Markdown, with how they were made."""
    narrowest = min(widths)
    text = [
        "# The corpus",
        "",
        f"Made by `{command}`, without calibration data.",
        "",
        "## How near narrowed files stay to their stock files",
        "",
        "The worst first. Cells are SQNR in dB / top-1 agreement, of what decides (the input of a last SOFTMAX or",
        "ARG_MAX, else the output) of the worst output, as XNNPACK computes it. Floor: the stock file on LiteRT's",
        "reference kernels against XNNPACK, which is what two kernel libraries make of one file. The rows are test",
        "rows or photographs that nothing was chosen on; where they are random, noise goes in, and less agrees than on",
        "real data. What a narrowed file tells apart beyond the ends of the stock file's range is cut. Costs most:",
        f"the gain in dB if this operator alone keeps 31 bits, on {faithfulness.COST_ROWS} rows. Why: what is known of",
        f"files that are more than {FAR[8]:g} dB below their floor at k = 8, or {FAR[1]:g} dB at k = 1; floors above",
        f"{HIGHEST_FLOOR:g} dB, and unknown ones, count as {HIGHEST_FLOOR:g}. Rules: what was done besides rounding.",
        "",
        *_table(_nearness_head(widths), near),
        "",
        f"## What was narrowed at k = {narrowest}, and what runs",
        "",
        "LiteRT, TFLM: whether the runtime (for LiteRT both XNNPACK and the reference kernels) runs the stock and the",
        "narrowed file. Differences: integers of the narrowed model that differ between the simulator and TFLM or",
        f"LiteRT's reference kernels, over all layers, on {_ROWS.value} random input rows. All of this is of the main",
        "subgraph, as runtimes run no other by themselves.",
        "",
        *_table(COLUMNS, lines),
    ]
    return "\n".join(text) + "\n"


def _nearness_head(widths: list[int]) -> tuple[str, ...]:
    return (*NEARNESS, *(f"k = {bits}" for bits in widths), COSTLIEST.format(min(widths)), "why, and rules used")


def _table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows]


def _widths() -> list[int]:
    given = _BITS.value or (("8", "1") if _C_SOURCE.value else ("8", "4", "2", "1"))
    if not all(bits.strip().isdecimal() for bits in given):
        raise UsageError(f"--bits takes widths with commas between them, got {','.join(given)}")
    return sorted({check_bits(int(bits)) for bits in given}, reverse=True)


def _main() -> int:
    widths = _widths()
    if _ONE.value:
        for result in c_corpus.one(_ONE.value, widths) if _C_SOURCE.value else one(_ONE.value, widths, _ROWS.value):
            print(json.dumps(result), flush=True)
        return command.EXIT_OK
    folder = pathlib.Path(_FOLDER.value) if _FOLDER.value else data_folder()
    if folder is None:
        raise UsageError(f"no folder of models; pass --folder or set {DATA_VARIABLE}")
    paths = sorted(folder.rglob("*.tflite"))
    if not paths:
        raise UsageError(f"no .tflite file in {folder}")
    console = command.console()
    arguments = [f"--bits={','.join(map(str, widths))}", f"--rows={_ROWS.value}"]
    arguments += ["--c_source"] if _C_SOURCE.value else []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(in_process, path, arguments) for path in paths]
        results = {
            path.stem: job.result()
            for path, job in track(list(zip(paths, jobs, strict=True)), "files", console=console)
        }
    (_show_c if _C_SOURCE.value else _show)(results, widths, console)
    died = [name for name, result in results.items() if result.get("died") == ERROR]
    if died:
        print(f"corpus: files that ended in an error: {', '.join(died)}", file=sys.stderr)
    return command.EXIT_MODEL if died else command.EXIT_OK


def _show(results: dict[str, dict], widths: list[int], console) -> None:
    """Prints the tables and writes the files."""
    measured = {name: result["nearness"] for name, result in results.items() if "nearness" in result}
    measured |= {f"{name} --to_int8": result["int8"] for name, result in results.items() if "int8" in result}
    order = sorted(measured, key=lambda name: -gap(measured[name]))
    causes = json.loads(CAUSES.read_text(encoding="utf-8"))
    near = [nearness_row(name, measured[name], widths, causes) for name in order]
    unknown = [name for name in order if is_far(measured[name]) and name not in causes]
    if unknown:
        print(f"corpus: far below the floor, and {CAUSES.name} does not say why: {', '.join(unknown)}", file=sys.stderr)
    lines = [row(name, result) for name, result in results.items()]
    console.print(command.table(_nearness_head(widths), near, 2, title=f"{len(results)} files"))
    console.print(command.table(COLUMNS, lines, 6, title=f"at k = {min(widths)}"))
    text = markdown(near, lines, widths, _COMMAND.provenance()["command"]).encode()
    output = _COMMAND.folder
    files.write({str(output / "corpus.md"): text, str(output / "corpus.json"): command.to_json(results)})
    if _PUBLISH.value:
        files.write({str(pathlib.Path(_PUBLISH.value) / "corpus.md"): text})


def _show_c(results: dict[str, dict], widths: list[int], console) -> None:
    """As `_show`, of C."""
    narrowed = {name: result for name, result in results.items() if "refused" not in result}
    lines = [c_corpus.row(name, result, widths) for name, result in sorted(narrowed.items(), key=c_corpus.order)]
    console.print(command.table(c_corpus.COLUMNS, lines, 2, title=f"{len(narrowed)} of {len(results)} files"))
    text = c_corpus.markdown(narrowed, widths, _COMMAND.provenance()["command"], len(results)).encode()
    tables = {"c_corpus.json": command.to_json(narrowed), "c_corpus.csv": c_corpus.to_csv(narrowed).encode()}
    files.write({str(_COMMAND.folder / name): content for name, content in ({"c_corpus.md": text} | tables).items()})
    if _PUBLISH.value:
        folder = pathlib.Path(_PUBLISH.value)
        command.make_folder(folder / "results")
        files.write({str(folder / "c_corpus.md"): text})
        files.write({str(folder / "results" / name): content for name, content in tables.items()})


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where the exporter or the verification raised."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
