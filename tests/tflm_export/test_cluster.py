# SPDX-License-Identifier: Apache-2.0
"""Workers here and of a scheduler that users start: what is wrong with them is said in a sentence."""

import importlib
import socket
import sys

import pytest

from tests.helpers.cluster import process, started, strange
from tflm_export import UsageError, cluster


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with started(tmp_path_factory.mktemp("cluster"), "one") as nodes:
        yield nodes


def refused(scheduler, **more) -> str:
    with pytest.raises(UsageError) as caught, cluster.connected(1, scheduler, **more):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "missing port number"),
        ("http://127.0.0.1:80", "unknown address scheme 'http'"),
        ("tcp://127.0.0.1", "missing port number"),
    ],
)
def test_no_address(address, words):
    message = refused(address)
    assert message.startswith(f"no scheduler at {address}: ")
    assert words in message
    assert message.endswith("it is like tcp://host:8786, as `dask scheduler` shows it")


def test_nobody_answers(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    message = refused(address)
    # Of two limits of the same length, asyncio's may come first, without a word of its own.
    assert message.startswith((f"no scheduler at {address}: Timed out", f"no scheduler at {address}: no answer"))


@pytest.mark.slow
def test_workers_that_differ_are_refused(nodes):
    with cluster.connected(1, nodes.address) as client:
        (worker,) = cluster.workers(client)
        assert client.submit(process, "job").result() > 0
    assert refused(worker) == f"{worker} is the address of a worker; give that of the scheduler"
    message = refused(nodes.address, identity=strange)
    assert message.startswith(f"worker {worker} has process ")
    assert message.endswith("; install the same there and here")


@pytest.mark.slow
def test_workers_without_what_is_needed(nodes, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def identity():\n    return {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = refused(nodes.address, identity=importlib.import_module("only_here").identity)
    assert message.startswith(f"workers of {nodes.address} lack what is here: ModuleNotFoundError")
    assert "No module named 'only_here'" in message


@pytest.mark.slow
def test_workers_of_several_threads_are_refused(nodes):
    nodes.start_node("two", "--nthreads=2")
    with cluster._engine().Client(nodes.address) as client:
        client.wait_for_workers(2)
    try:
        message = refused(nodes.address)
    finally:
        nodes.kill("two")
    assert "runs 2 jobs at once in a process, and must run one" in message
    assert f"dask worker {nodes.address} --nthreads 1" in message


@pytest.mark.slow
def test_without_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE_WITH_WORKERS", 0.1)
    with started(tmp_path) as nodes:
        assert refused(nodes.address).startswith(f"the scheduler at {nodes.address} has no workers; start some: dask")


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert refused(None) == (
        'several processes need dask.distributed, which is not installed: pip install "keras-rat[cluster]"'
    )


def test_a_fingerprint_is_of_names_and_contents(tmp_path, monkeypatch):
    def fingerprint() -> str:
        cluster.fingerprint.cache_clear()
        return cluster.fingerprint("some_package")

    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "some_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("1")
    first = fingerprint()
    (folder / "a.py").write_text("2")
    second = fingerprint()
    (folder / "a.py").rename(folder / "b.py")
    assert len({first, second, fingerprint()}) == 3
    (folder / "b.py").rename(folder / "a.py")
    (folder / "a.py").write_text("1")
    assert fingerprint() == first


def test_processes_that_end_late_take_no_result_with_them(monkeypatch):
    """As on a machine with much else to do: dask gives up waiting for the end of what it started."""
    import distributed

    ended = []

    def too_late(self, *arguments, **more):
        ended.append(type(self))
        close(self, *arguments, **more)
        raise TimeoutError

    close = distributed.LocalCluster.close
    monkeypatch.setattr(distributed.LocalCluster, "close", too_late)
    with cluster.connected(1) as client:
        assert client.submit(process, "job").result() > 0
    assert distributed.LocalCluster in ended
