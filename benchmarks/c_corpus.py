# SPDX-License-Identifier: Apache-2.0
"""C of a folder of models: for each file that narrows, whether there is C, what it takes, and whether it is right.

Called by `python -m benchmarks.corpus --c_source`. The C of every width runs on this machine, built by gcc with the
address and undefined-behaviour sanitizers and by zig, and where it is small enough for a microcontroller also on an
emulated M0+, M4 and RV32IMC with their kernels; what comes out is held against the simulator, bit for bit.
"""

import collections
import csv
import io
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np

from benchmarks.emulators import firmware, host, unicorn_engine
from benchmarks.emulators.borders import Borders
from benchmarks.emulators.execution import EngineError
from benchmarks.natural_inputs import RANDOM, natural_inputs, random_inputs
from tflm_export import ModelError, c, cores, lowering, narrow
from tflm_export.arithmetic import Narrow
from tflm_export.flatbuffer.model import Model, parse
from tflm_export.grid import Grid
from tflm_export.integer_part import integer_part
from tflm_export.program.passes import integer_borders
from tflm_export.program.value import Value, dtype_of
from tflm_export.simulator import simulate

ROWS = 20  # random ones, and as many real ones
FEWEST_ROWS = 2
FRAMES = 200  # of a model that keeps state
EMULATED_ROWS = 2  # random ones, and as many real ones; of a model that keeps state, the first `EMULATED_FRAMES`
EMULATED_FRAMES = 20
MULTIPLICATIONS = 4_000_000_000  # of all rows together
MOST_FLASH, MOST_RAM = 1 << 20, 512 << 10
SECONDS = 300  # for a compiler, and for all rows
CPUS = ("cortex-m0plus", "cortex-m4", "rv32imc")
PLACES = (*host.COMPILERS, *(cores.find(cpu).title for cpu in CPUS))
SIZED = "cortex-m4"  # whose flash and RAM the table has
COLUMNS = ("file", "C", "flash, kB", "arena, bytes", "kept, bytes", "rows", "equal to the simulator")


def one(path: str, widths: list[int]) -> Iterator[dict]:
    """The results of one file, each with more than the one before."""
    data = pathlib.Path(path).read_bytes()
    result: dict = {"widths": {}}
    yield result  # in case the process ends
    for bits in widths:
        try:
            narrowed, _ = narrow(data, bits)
        except ModelError as error:
            yield {"refused": str(error)} | result
            return
        for found in _width(pathlib.Path(path).stem, narrowed, bits):
            result["widths"][str(bits)] = found
            yield result


def _width(name: str, data: bytes, bits: int) -> Iterator[dict]:
    """One narrowed file, likewise."""
    arithmetic = Narrow(Grid(bits))
    try:
        program, found = c.translate(data, name, arithmetic), {}
    except ModelError as error:
        try:
            program, found = c.translate(data, name, arithmetic, has_integer_borders=True), {"why": str(error)}
        except ModelError:
            yield {"reason": reasons(error)}
            return
    found |= {"left": list(program.left)} if found else {}
    found |= {"constants": program.constant_bytes, "arena": program.arena.size, "kept": program.placement.state_bytes}
    found["ran"] = {}
    yield found
    rows = _rows(name, parse(data), program)
    found["rows"] = {source: count for source, count, _ in rows}
    arrays = [np.concatenate(each) for each in zip(*(arrays for _, _, arrays in rows), strict=True)]
    try:
        expected = _expected(data, arrays, sum(count for _, count, _ in rows), arithmetic, "why" in found)
    except ModelError as error:
        yield found | {"problem": f"the simulator: {error}"}
        return
    with tempfile.TemporaryDirectory() as folder:
        for place in host.COMPILERS:
            found["ran"][place] = _on_host(program, arrays, expected, place, pathlib.Path(folder, place))
            yield found
        for cpu in CPUS:
            made = c.translate(data, name, arithmetic, cpu, "why" in found)
            found |= _emulate(made, cpu, arrays, expected, found, pathlib.Path(folder))
            yield found


def _expected(
    data: bytes, arrays: list[np.ndarray], rows: int, arithmetic: Narrow, has_integer_borders: bool
) -> list[np.ndarray]:
    """The simulator's outputs [rows, elements]; of a model without its ends, those of its program."""
    model = parse(data)
    if not has_integer_borders:
        return [array.reshape(rows, -1) for array in simulate(model, arrays, arithmetic).outputs]
    program = integer_borders(lowering.lower(integer_part(model)[0], arithmetic))
    shaped = zip(arrays, program.main.inputs, strict=True)
    values = program.run([array.reshape(rows, *value.shape) for array, value in shaped])
    return [values[value.key].reshape(rows, -1) for value in program.main.outputs]


def _rows(name: str, model: Model, program: c.CProgram) -> list[tuple[str, int, list[np.ndarray]]]:
    """What goes in: sources, how many rows, and an array for each input of the program."""
    most = MULTIPLICATIONS // max(1, sum(step.multiplications for step in program.steps))
    if program.keeps_state:
        count = int(np.clip(most, FEWEST_ROWS, FRAMES))
        return [(f"{RANDOM} frames", count, random_inputs(model, count).arrays)]
    count = int(np.clip(most // 2, FEWEST_ROWS, ROWS))
    own = [(tensor.key, dtype_of(tensor)) for tensor in model.subgraphs[0].inputs]
    if [(value.key, value.dtype) for value in program.inputs] != own:
        return [(RANDOM, count, [_uniform(value, count) for value in program.inputs])]
    found = [random_inputs(model, count), natural_inputs(name, model, count)]
    return [(rows.source, rows.count, rows.arrays) for rows in found if rows is not None]


def _uniform(value: Value, rows: int) -> np.ndarray:
    """Random rows for an input that no file has."""
    shape = (rows * (value.shape or (1,))[0], *value.shape[1:])
    if value.dtype == np.float32:
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return np.random.default_rng(0).integers(*value.limits, shape, endpoint=True).astype(value.dtype)


def _on_host(program: c.CProgram, arrays: list, expected: list, place: str, folder: pathlib.Path) -> dict:
    try:
        outputs = host.run(program, arrays, len(expected[0]), place, folder, SECONDS)
    except (firmware.BuildError, EngineError) as error:
        return {"problem": str(error)}
    return _compared(outputs, expected)


def _compared(outputs: list[np.ndarray], expected: list[np.ndarray]) -> dict:
    """How many elements differ, bit for bit."""
    pairs = [(a.view(f"V{a.itemsize}"), b.view(f"V{b.itemsize}")) for a, b in zip(outputs, expected, strict=True)]
    return {"differences": int(sum((a != b).sum() for a, b in pairs)), "elements": sum(a.size for a, _ in pairs)}


def _emulate(program: c.CProgram, cpu: str, arrays: list, expected: list, found: dict, folder: pathlib.Path) -> dict:
    """What was found before, and what the model takes and gives on a core."""
    place = cores.find(cpu).title
    try:
        built = firmware.build(program, cpu, folder / cpu, optimize="-Os")
    except firmware.BuildError as error:
        if program.constant_bytes > MOST_FLASH or program.placement.bytes > MOST_RAM:
            return found  # more than the boards have
        return found | {"ran": found["ran"] | {place: {"problem": str(error)}}}
    if cpu == SIZED:
        found |= {"flash": built.flash, "ram": built.ram}
    if built.flash > MOST_FLASH or built.ram > MOST_RAM:
        return found
    total, counts = len(expected[0]), list(found["rows"].values())
    starts = np.cumsum([0, *counts[:-1]])
    if program.keeps_state:
        chosen = np.arange(min(EMULATED_FRAMES, total))
    else:
        few = (np.arange(start, start + min(EMULATED_ROWS, count)) for start, count in zip(starts, counts, strict=True))
        chosen = np.concatenate(list(few))
    borders = Borders.of(program)
    packed = borders.pack(arrays, total)[chosen]
    try:
        execution = unicorn_engine.execute(built, ["firmware_infer"], packed, borders.sizes[1])
    except EngineError as error:
        ran = {"problem": str(error)}
    else:
        ran = _compared(borders.unpack(execution.outputs), [array[chosen] for array in expected])
        ran |= {"rows": len(chosen), "stack": execution.stack}
    return found | {"ran": found["ran"] | {place: ran}}


def reasons(error: ModelError) -> str:
    """Why there is no C, operators of one kind and one reason together."""
    if not isinstance(error, c.UnwritableError):
        return str(error)
    counts = collections.Counter((problem.op, problem.reason) for problem in error.problems)
    return "; ".join(f"{count} {op}: {reason}" for (op, reason), count in counts.items())


def problems(result: dict) -> list[str]:
    """What is wrong with a file that has C: of every width, where it differs, or was not built or run."""
    found = [f"it ended {result['died']}"] if "died" in result else []
    for bits, width in result["widths"].items():
        found += [f"k = {bits}: {width['problem']}"] if "problem" in width else []
        for place, ran in width.get("ran", {}).items():
            if "problem" in ran:
                found.append(f"k = {bits}, {place}: {' '.join(ran['problem'].split())}")
            elif ran["differences"]:
                found.append(f"k = {bits}, {place}: {ran['differences']} of {ran['elements']} elements differ")
    return found


def has_c(result: dict) -> bool:
    """Whether there is C at every width."""
    return not any("reason" in width for width in result["widths"].values()) and bool(result["widths"])


def row(name: str, result: dict, widths: list[int]) -> tuple[str, ...]:
    """A line of the table; sizes are the largest of all widths."""
    found = [result["widths"][str(bits)] for bits in widths if str(bits) in result["widths"]]
    if not found:
        return (name, f"it ended {result.get('died', 'early')}", "", "", "", "", "")
    if not has_c(result):
        why = dict.fromkeys(width["reason"] for width in found if "reason" in width)
        return (name, f"no: {'; '.join(why)}", "", "", "", "", "")
    wrong = problems(result)
    rows = ", ".join(f"{count} {source}" for source, count in found[0].get("rows", {}).items())
    everywhere = [place for place in PLACES if all(place in width["ran"] for width in found)]
    return (
        name,
        _left(found[0]),
        _flash(found),
        str(max(width["arena"] for width in found)),
        str(max(width["kept"] for width in found)),
        rows,
        f"no: {'; '.join(wrong)}" if wrong else f"yes: {', '.join(everywhere)}",
    )


def _left(width: dict) -> str:
    """How there is C: of all of it, or of what lies between its ends."""
    if "why" not in width:
        return "yes"
    left = ", ".join(label.removeprefix("operator ").split(" (")[0] for label in width["left"])
    return f"with --io int8, {f'without {left}' if left else 'between float32 borders'}"


def _flash(found: list[dict]) -> str:
    if all("flash" in width for width in found):
        return f"{max(width['flash'] for width in found) / 1000:.1f}"
    return f"{max(width['constants'] for width in found) / 1000:.1f} without code"


def order(item: tuple[str, dict]) -> tuple:
    """Files without C first, then those with differences, then the others, the largest first."""
    name, result = item
    size = max((width.get("constants", 0) for width in result["widths"].values()), default=0)
    return has_c(result), not problems(result), -size, name


def markdown(results: dict[str, dict], widths: list[int], command: str, files: int) -> str:
    """The page."""
    lines = [row(name, result, widths) for name, result in sorted(results.items(), key=order)]
    with_c = sum(map(has_c, results.values()))
    partly = sum(any("why" in width for width in result["widths"].values()) for result in results.values())
    equal = sum(has_c(result) and not problems(result) for result in results.values())
    share = f" ({with_c / len(results):.0%})" if results else ""
    most = MULTIPLICATIONS // (2 * ROWS) // 1_000_000
    text = f"""# C of the corpus

Made by `{command}`, without calibration data. {len(results)} of {files} files narrow; {with_c} of these{share} have C,
{partly} among them with `--io int8`, which leaves to the caller what has no integer form at the ends of a model.
{equal} of them give what the simulator gives, bit for bit, at k = {" and ".join(map(str, widths))}.

Those without C come first, then those with differences. Flash: code and constants of a program for an
M4 (zig, -Os) around the model, which has 0.7 kB itself; `without code` where it does not fit
4 MB. Arena: RAM for values, and kept: for what goes from one inference to the next. Where two widths differ, the
larger one. Rows: uniformly random ones ({ROWS}, fewer of models of more than {most} million multiplications)
and, where it is known what a model was made for, real ones; models that keep state run {FRAMES} frames one after the
other. gcc: portable kernels on the host with the address and undefined-behaviour sanitizers; zig: the
same with optimisation; M0+, M4, RV32IMC: these cores' kernels in an emulator, on {EMULATED_ROWS} rows of each kind or
{EMULATED_FRAMES} frames, where flash is at most {MOST_FLASH >> 20} MB and RAM at most {MOST_RAM >> 10} KB.

"""
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (COLUMNS, *lines)]
    table.insert(1, "|" + "---|" * len(COLUMNS))
    return text + "\n".join(table) + "\n"


def to_csv(results: dict[str, dict]) -> str:
    """A line for each file, width and place it ran at."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "k", "reason", "constants", "flash", "ram", "arena", "kept", "place", "differences", "of"))
    for name, result in results.items():
        for bits, width in result["widths"].items():
            sizes = [width.get(key, "") for key in ("constants", "flash", "ram", "arena", "kept")]
            ran = width.get("ran") or {"": {}}
            for place, one in ran.items():
                reason = width.get("reason") or width.get("problem") or one.get("problem", "")
                writer.writerow(
                    (name, bits, reason, *sizes, place, one.get("differences", ""), one.get("elements", ""))
                )
    return text.getvalue()
