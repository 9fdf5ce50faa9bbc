# SPDX-License-Identifier: Apache-2.0
"""Data come whole and as the manifest says, or not at all; tried on a server of this machine's own."""

import hashlib
import http.server
import json
import pathlib
import re
import threading
import urllib.parse

import pytest

from benchmarks import fetch_data

GOOD = bytes(range(256)) * 1000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves files that are as they should be, end too early, hold something else, are too long, or are not there."""

    def do_GET(self):
        kind = urllib.parse.unquote(self.path).rsplit("/", 1)[1].split(".")[0]
        body = {"wrong": bytes(len(GOOD)), "long": GOOD + b"more"}.get(kind, GOOD)
        self.send_response(404 if kind == "missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if kind == "truncated" else body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def host():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def run(host, tmp_path, capsys):
    """Runs the command on a manifest of files of these names; returns the exit code, its output and its errors."""

    def run(names, *arguments):
        files = [
            {"file": f"models/{name}", "path": f"a folder/{name}", "size": len(GOOD),
             "sha256": hashlib.sha256(GOOD).hexdigest()}
            for name in names
        ]  # fmt: skip
        source = {"repository": "owner/name", "commit": COMMIT, "licence": "MIT", "files": files}
        manifest = tmp_path / "manifest.json"
        manifest.write_text(json.dumps({"host": host, "sources": [source]}))
        flags = ["--manifest", str(manifest), "--output", str(tmp_path / "data")]
        code = fetch_data.main(["fetch_data", *flags, *arguments])
        return code, *capsys.readouterr()

    return run


def present(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_files_come_and_are_left_alone_afterwards(run, tmp_path):
    code, out, _ = run(["good.tflite", "good.h5"])
    assert code == 0
    assert "[2/2] models/good.h5: 256.0 kB" in out
    assert f"KERAS_RAT_DATA={tmp_path / 'data'}" in out
    assert present(tmp_path / "data") == ["models/good.h5", "models/good.tflite"]
    assert (tmp_path / "data/models/good.h5").read_bytes() == GOOD
    code, out, _ = run(["good.tflite", "good.h5"])
    assert code == 0
    assert out.count("there already") == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated.tflite", "ended after 1000 of 256000 bytes"),
        ("wrong.tflite", "is another file: its SHA-256 is"),
        ("long.tflite", "is another file: its SHA-256 is"),
        ("missing.tflite", "HTTP Error 404"),
    ],
)
def test_what_is_not_as_listed_gets_no_name(run, host, tmp_path, name, reason):
    code, out, err = run([name, "good.tflite"])
    assert code == 1
    assert "1 of 2 files are there" in out
    assert f"{host}/owner/name/{COMMIT}/a%20folder/{name}" in err
    assert reason in err
    assert present(tmp_path / "data") == ["models/good.tflite"]  # the others are not kept back


def test_no_server_is_a_message(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", lambda handler: handler.connection.close())
    code, _, err = run(["good.tflite"])
    assert code == 1
    assert "models/good.tflite: cannot fetch http://127.0.0.1" in err


def test_a_file_of_the_users_is_replaced_only_if_told(run, tmp_path):
    mine = tmp_path / "data" / "models" / "good.tflite"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    code, _, err = run(["good.tflite"])
    assert code == 1
    assert "--overwrite replaces it" in err
    assert mine.read_bytes() == b"mine"
    assert run(["good.tflite"], "--overwrite")[0] == 0
    assert mine.read_bytes() == GOOD


def test_only_and_list(run, tmp_path):
    code, out, _ = run(["good.tflite", "good.h5"], "--list", "--only", "models/*.h5")
    assert code == 0
    assert re.fullmatch(rf"models/good\.h5  256\.0 kB  MIT  http://\S*/{COMMIT}/a%20folder/good\.h5\n", out)
    assert not (tmp_path / "data").exists()
    run(["good.tflite", "good.h5"], "--only", "*.h5")
    assert present(tmp_path / "data") == ["models/good.h5"]


@pytest.mark.parametrize("argument", ["--only=nothing", "surplus", "--size=3", "--manifest=none.json"])
def test_a_wrong_command_line_is_refused(run, tmp_path, argument):
    code, _, err = run(["good.tflite"], argument)
    assert code == 2
    assert err.startswith("fetch_data: ")
    assert not (tmp_path / "data").exists()


def test_every_flag_is_in_help_and_documentation(capsys):
    assert fetch_data.main(["fetch_data", "--help"]) == 0
    text = capsys.readouterr().out
    known = set(re.findall(r"^\s*--(?:\[no\])?(\w+):", text, re.MULTILINE))
    page = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    assert known == set(re.findall(r"^\| `--(\w+)", page, re.MULTILINE))


def test_the_manifest_pins_what_it_lists():
    files = fetch_data.files()
    assert len({file.path for file in files}) == len(files) > 100
    for file in files:
        assert re.fullmatch(r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/[\w./-]+", file.url)
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert re.fullmatch(r"(models|keras|golden_int16x8)/[\w.-]+", file.path)
        assert file.licence in ("Apache-2.0", "MIT", "Zlib")
