# SPDX-License-Identifier: Apache-2.0
"""Whether LiteRT takes a narrowed file where it took the original; in a process of its own, which may die.

usage: python -m tests.fuzz.acceptance FOLDER     reads N.before and N.after, prints "N before after" for each N
"""

import pathlib
import subprocess
import sys


def loads(data: bytes) -> bool:
    """Whether LiteRT reads a model and plans its memory."""
    from tflm_export.runtimes import litert_module

    try:
        litert_module().Interpreter(model_content=data, num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError):
        return False
    return True


def refused(folder: pathlib.Path) -> list[str]:
    """The numbers of the pairs in a folder of which LiteRT takes the original and not the narrowed file.

    A pair whose original kills the process is passed over; one whose narrowed file does counts as refused.
    """
    numbers = sorted(path.stem for path in folder.glob("*.before"))
    bad = []
    while numbers:
        command = [sys.executable, "-m", "tests.fuzz.acceptance", str(folder), *numbers]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("pair ")]
        bad += [line[1] for line in lines if line[2:] == ["True", "False"]]
        finished = [line[1] for line in lines if len(line) == 4]
        if len(finished) == len(numbers):
            break
        victim = numbers[len(finished)]  # the process died on it
        if any(line[1] == victim and line[2:] == ["True"] for line in lines):
            bad.append(victim)
        numbers = numbers[len(finished) + 1 :]
    return bad


def main(folder: str, *numbers: str) -> None:
    for number in numbers:
        before = loads(pathlib.Path(folder, f"{number}.before").read_bytes())
        print("pair", number, before, flush=True)
        print("pair", number, before, loads(pathlib.Path(folder, f"{number}.after").read_bytes()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
