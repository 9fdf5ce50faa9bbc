# SPDX-License-Identifier: Apache-2.0
"""The C sources of the kernels."""

import hashlib
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


def digest() -> str:
    """16 hexadecimal digits that tell versions of the kernels apart."""
    found = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.[ch]")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]
