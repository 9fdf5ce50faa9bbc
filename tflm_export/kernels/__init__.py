# SPDX-License-Identifier: Apache-2.0
"""The C sources of the kernels."""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent
_INCLUDE = re.compile(rb'^#include "(.+)"$', re.MULTILINE)


def sources(names) -> dict[str, bytes]:
    """The files of some kernels with the headers they include, by name, in alphabetical order."""
    files, todo = {}, list(names)
    while todo:
        name = todo.pop()
        if name not in files:
            files[name] = (FOLDER / name).read_bytes()
            todo += [include.decode() for include in _INCLUDE.findall(files[name])]
    return dict(sorted(files.items()))
