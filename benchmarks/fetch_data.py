# SPDX-License-Identifier: Apache-2.0
"""Fetches the public models and data that tests and benchmarks use, as benchmarks/data_manifest.json lists them.

usage: python -m benchmarks.fetch_data [--output FOLDER] [--only PATTERN] [--overwrite]
       python -m benchmarks.fetch_data --list                  show the files, their licences and where they come from

A file is there whole, with the SHA-256 of the manifest, or not at all; those that are there already are left alone.
Without --output, the folder is the one that KERAS_RAT_DATA names, else build/data.
Which data sets have no file to fetch is in docs/data.md.
"""

import dataclasses
import fnmatch
import hashlib
import http.client
import json
import os
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

from absl import flags

from benchmarks import command
from benchmarks.datasets import DATA_VARIABLE
from tflm_export import UsageError

MANIFEST = pathlib.Path(__file__).with_name("data_manifest.json")
DEFAULT_FOLDER = "build/data"
TIMEOUT = 60.0  # seconds without a byte

_COMMAND = command.Command("fetch_data", __doc__, output=None)
_FLAGS = _COMMAND.flags
_ONLY = flags.DEFINE_string("only", "*", "Pattern of the paths to fetch, such as 'models/tiny__*'.", flag_values=_FLAGS)
_LIST = flags.DEFINE_bool("list", False, "Only show the files.", flag_values=_FLAGS)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files that are not the manifest's.", flag_values=_FLAGS)
_MANIFEST = flags.DEFINE_string(
    "manifest", None, f"JSON file that lists the files; default: {MANIFEST.name}.", flag_values=_FLAGS
)


@dataclasses.dataclass(frozen=True)
class File:
    """A file to fetch.

    Attributes:
      path: where it goes, below the data folder, with forward slashes.
      url: where it is.
      size: bytes.
      sha256: hexadecimal digest of its bytes.
      licence: SPDX identifier.
    """

    path: str
    url: str
    size: int
    sha256: str
    licence: str


class FetchError(Exception):
    """A file could not be had; says which, from where and why."""


def files(manifest: pathlib.Path = MANIFEST) -> list[File]:
    """The files of a manifest; each is one commit's, so that it cannot change."""
    listed = json.loads(manifest.read_text(encoding="utf-8"))
    return [
        File(
            path=entry["file"],
            url="/".join([listed["host"], source["repository"], source["commit"], urllib.parse.quote(entry["path"])]),
            size=entry["size"],
            sha256=entry["sha256"],
            licence=source["licence"],
        )
        for source in listed["sources"]
        for entry in source["files"]
    ]


def fetch(file: File, folder: pathlib.Path, overwrite: bool = False) -> bool:
    """Puts `file` below `folder`; returns whether it had to be fetched.

    Raises:
      FetchError: it cannot be reached or written, or is not what the manifest says; or, without `overwrite`, another
        file stands in its place.
    """
    target = folder / file.path
    try:
        if target.exists():
            if hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256:
                return False
            if not overwrite:
                raise FetchError(f"{target} is there and is not the manifest's file; --overwrite replaces it")
        data = _download(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")  # only what is whole gets the name
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        raise FetchError(f"{file.path}: cannot write {target}: {error}") from error
    return True


def _download(file: File) -> bytes:
    """The bytes of a file; raises FetchError if they do not come or are not the manifest's."""
    try:
        with urllib.request.urlopen(file.url, timeout=TIMEOUT) as response:
            data = response.read(file.size + 1)  # a byte more would show that there are more
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise FetchError(f"{file.path}: cannot fetch {file.url}: {error}") from error
    if len(data) < file.size:
        raise FetchError(f"{file.path}: {file.url} ended after {len(data)} of {file.size} bytes")
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise FetchError(f"{file.path}: {file.url} is another file: its SHA-256 is {digest}, not {file.sha256}")
    return data


def _main() -> int:
    try:
        chosen = [
            file for file in files(pathlib.Path(_MANIFEST.value or MANIFEST)) if fnmatch.fnmatch(file.path, _ONLY.value)
        ]
    except OSError as error:
        raise UsageError(f"cannot read --manifest {_MANIFEST.value}: {error.strerror}") from error
    if not chosen:
        raise UsageError(f"--only: no file of the manifest matches {_ONLY.value!r}; --list shows them all")
    if _LIST.value:
        for file in chosen:
            print(f"{file.path}  {_kilobytes(file)}  {file.licence}  {file.url}")
        return command.EXIT_OK
    output = _COMMAND.output.value or os.environ.get(DATA_VARIABLE) or DEFAULT_FOLDER
    return _fetch_all(chosen, pathlib.Path(output).resolve())


def _fetch_all(chosen: list[File], folder: pathlib.Path) -> int:
    """Fetches what is missing, a line each; a file that fails does not keep the others back."""
    failures = []
    for number, file in enumerate(chosen, 1):
        try:
            done = _kilobytes(file) if fetch(file, folder, _OVERWRITE.value) else "there already"
        except FetchError as error:
            failures.append(error)
            done = "failed"
        print(f"[{number}/{len(chosen)}] {file.path}: {done}", flush=True)
    for error in failures:
        print(f"fetch_data: {error}", file=sys.stderr)
    print(f"{len(chosen) - len(failures)} of {len(chosen)} files are there: export {DATA_VARIABLE}={folder}")
    return command.EXIT_MODEL if failures else command.EXIT_OK


def _kilobytes(file: File) -> str:
    return f"{file.size / 1000:.1f} kB"


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where files could not be had."""
    return _COMMAND.run(argv, _main)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
