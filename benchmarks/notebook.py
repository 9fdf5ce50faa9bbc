# SPDX-License-Identifier: Apache-2.0
"""The tutorial as a notebook: docs/tutorial.ipynb is made from docs/tutorial.md, which is where to change it.

The page's blocks become cells: python as it is, shell commands for the shell, files in other languages are written. A
shell block that runs a python file of the page is left out: the cell that has the file ran it. Cells have no outputs.

usage: python -m benchmarks.notebook [--output=docs]
"""

import dataclasses
import pathlib
import re
import sys
from collections.abc import Iterator

import nbformat
from nbformat import v4

from benchmarks import command
from tflm_export import files

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")
_COMMAND = command.Command("notebook", __doc__, output=str(PAGE.parent.relative_to(ROOT)))
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
PREPARE = """\
# In a checkout that has its packages this only finds them; elsewhere, as in Colab, it fetches both.
import importlib.util
import os
import pathlib
import sys

here = pathlib.Path.cwd()
places = [here, *here.parents, here / "checkout"]
checkout = next((place for place in places if (place / "benchmarks" / "notebook.py").exists()), None)
if checkout is None:
    checkout = here / "checkout"
    !git clone --quiet --depth 1 {repository} checkout
if not all(map(importlib.util.find_spec, ["tf_keras", "tflite_micro", "unicorn", "ziglang", "sklearn"])):
    %pip install --quiet "{{checkout}}[train,runtimes,device,benchmarks]"
sys.path.insert(0, str(checkout))
os.environ["PYTHONPATH"] = str(checkout)
# What `python` is to cells of shell commands.
os.environ["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
if checkout != here / "checkout":
    os.makedirs(checkout / "build" / "tutorial", exist_ok=True)
    os.chdir(checkout / "build" / "tutorial")  # cells write files
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its title or an empty string, and its text."""

    language: str
    title: str
    text: str


def blocks(page: pathlib.Path) -> list[Block]:
    """The fenced blocks of a Markdown page, in order."""
    return [part for part in parts(page.read_text(encoding="utf-8")) if isinstance(part, Block)]


def parts(text: str) -> Iterator[Block | str]:
    """A Markdown text as its blocks and the prose between them, in order."""
    end = 0
    for found in FENCE.finditer(text):
        yield text[end : found.start()]
        yield Block(found[1], found[2] or "", found[3])
        end = found.end()
    yield text[end:]


def notebook(text: str, repository: str) -> str:
    """The notebook, as JSON, of a page.

    Args:
      text: of the page.
      repository: its address, under which are the pages that it links to.
    """
    cells = []
    titles = set()
    for part in parts(text):
        if isinstance(part, str):
            prose = LINK.sub(rf"]({repository}/docs/\1)", part)
            sections = re.split(r"^(?=## )", prose, flags=re.MULTILINE)
            cells += [v4.new_markdown_cell(section.strip()) for section in sections if section.strip()]
            continue
        titles.add(part.title)
        run = part.text.split()
        if not (part.language == "sh" and len(run) == 2 and run[0] == "python" and run[1] in titles):
            cells.append(v4.new_code_cell(_source(part)))
    cells.insert(1, v4.new_code_cell(PREPARE.format(repository=repository).rstrip("\n")))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same in every run
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.validate(made)
    return nbformat.writes(made) + "\n"


def _source(block: Block) -> str:
    """What a cell says for a block."""
    text = block.text.rstrip("\n")
    if block.language == "python":
        return text
    if block.language == "sh":
        return f"%%sh -e\n{text}"  # which fails as a command fails; `!` does not
    return f"%%writefile {block.title}\n{text}"


def repository() -> str:
    """The address of the repository, from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (address,) = re.findall(r'^Repository = "(.+)"', text, re.MULTILINE)
    return address


def _main() -> int:
    path = _COMMAND.folder / NOTEBOOK.name
    files.write({str(path): notebook(PAGE.read_text(encoding="utf-8"), repository()).encode()})
    return command.EXIT_OK


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
