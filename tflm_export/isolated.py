# SPDX-License-Identifier: Apache-2.0
"""The stock runtimes in processes of their own: one that crashes takes nothing else down, and is named.

Some models corrupt the memory of a runtime, or end its process without a word. What a runtime says of such a model
therefore comes from a child process, `python -m tflm_export.isolated NAME FOLDER`, through files in a folder.
"""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np

from tflm_export import runtimes
from tflm_export.flatbuffer.model import parse

# XNNPACK runs as it is deployed, without keeping tensors: its outputs alone are compared.
RUNTIMES = {
    "LiteRT": lambda data: runtimes.LiteRT(data),
    "LiteRT reference": lambda data: runtimes.LiteRT(data, reference=True, keep_tensors=True),
    "TFLM": lambda data: runtimes.TFLM(data, keep_tensors=True),
}
_INPUTS, _TENSORS, _ERROR = "inputs.npz", "tensors.json", "error.txt"


class RunError(Exception):
    """A runtime could not run a file, or died of it; says which file."""


def tensors_of(name: str, files: dict[str, bytes], indices: list[int], inputs: list[np.ndarray]) -> list[dict]:
    """What tensors held, inference after inference, in each of some files of one structure.

    Args:
      name: of a runtime, one of `RUNTIMES`.
      files: .tflite files, by what messages call them ("stock").
      indices: of tensors of the main subgraph.
      inputs: one array for each input, [inferences * first dimension, ...], in the tensors' types.

    Returns:
      For each file the arrays by tensor index, inferences along the first dimension.

    Raises:
      RunError: the runtime refuses a file, or its process ended.
    """
    with tempfile.TemporaryDirectory(prefix="tflm_export_") as directory:
        folder = pathlib.Path(directory)
        for number, data in enumerate(files.values()):
            (folder / f"{number}.tflite").write_bytes(data)
        (folder / _TENSORS).write_text(json.dumps(indices), encoding="utf-8")
        np.savez(folder / _INPUTS, *inputs)
        line = [sys.executable, "-m", __name__, name, directory]
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
        reached = [(folder / f"{number}.npz").is_file() for number in range(len(files))]
        if done.returncode or not all(reached):
            raise RunError(_failure(folder, list(files)[sum(reached) % len(files)], done))
        return [_loaded(folder / f"{number}.npz") for number in range(len(files))]


def _failure(folder: pathlib.Path, file: str, done: subprocess.CompletedProcess) -> str:
    """Why a process gave less than was asked for."""
    told = folder / _ERROR
    if told.is_file():
        return f"{file} file: {' '.join(told.read_text(encoding='utf-8').split())}"
    code = done.returncode
    how = f"exit code {code}"
    if code < 0 or code > 128:  # as the shell has it
        number = -code if code < 0 else code - 128
        known = number in {*signal.Signals}
        how = f"signal {number}" + (f", {signal.Signals(number).name}" if known else "")
    last = done.stderr.strip().splitlines()[-1:]
    return f"{file} file: its process died ({how})" + (f": {last[0]}" if last else "")


def _loaded(path: pathlib.Path) -> dict[int, np.ndarray]:
    with np.load(path) as arrays:
        return {int(name): arrays[name] for name in arrays.files}


def _run(name: str, folder: pathlib.Path) -> int:
    """The child process."""
    with np.load(folder / _INPUTS) as arrays:
        inputs = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
    indices = json.loads((folder / _TENSORS).read_text(encoding="utf-8"))
    for number in range(len(list(folder.glob("*.tflite")))):
        data = (folder / f"{number}.tflite").read_bytes()
        every = parse(data).subgraphs[0].tensors
        try:
            found = runtimes.all_tensors(RUNTIMES[name](data), [every[i] for i in indices], inputs, data)
        except (RuntimeError, ValueError, ImportError) as error:
            (folder / _ERROR).write_text(str(error), encoding="utf-8")
            return 1
        np.savez(folder / f"{number}.npz", **{str(index): array for index, array in found.items()})
    return 0


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1], pathlib.Path(sys.argv[2])))
