# SPDX-License-Identifier: Apache-2.0
"""The accuracy suite on two nodes of which one dies: the cells of a run without a cluster, each once."""

import collections
import json
import pathlib
import threading
import time

import distributed
import pytest

from benchmarks import accuracy, cells, command, datasets, deliveries
from benchmarks.cells import POST_TRAINING, TRAINED, Settings
from tests.helpers.cluster import started

TASK = "digits_autoencoder"
SUITE = accuracy.Suite([TASK], [0], {POST_TRAINING: [1], TRAINED: [1]})
SETTINGS = Settings(effort=0.02)
JOB = "qat"


def contents(folder: pathlib.Path) -> dict[str, object]:
    """The cells of a folder and their models; all but the time that they took."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.glob("cells/**/*.*")}
    return {
        name: json.loads(path.read_text()) | {"seconds": None} if path.suffix == ".json" else path.read_bytes()
        for name, path in files.items()
    }


def kill_who_makes(job: str, nodes) -> None:
    """Takes the node away that works on a job."""
    client = distributed.default_client()
    while True:
        names = {worker["name"]: address for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
        doing = client.processing()
        for name, address in names.items():
            if any(job in key for key in doing.get(address, ())):
                time.sleep(0.5)
                nodes.kill(name)
                return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_node_that_dies_costs_no_cell(tmp_path, monkeypatch):
    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    made: list[str] = []
    killer = threading.Thread(target=lambda: kill_who_makes(f"{TASK}, seed 0, {JOB}", nodes))

    def keep(files, folder):
        if not made:
            killer.start()
        made.extend(files)
        deliveries_keep(files, folder)

    deliveries_keep = deliveries.keep
    monkeypatch.setattr(deliveries, "keep", keep)
    (tmp_path / "nodes").mkdir()
    with started(tmp_path / "nodes", "one", "two") as nodes:
        with distributed.Client(nodes.address, set_as_default=False) as client:
            client.wait_for_workers(2)
        workers = accuracy.Workers(1, nodes.address)
        assert accuracy.run(SUITE, tmp_path / "cluster", SETTINGS, workers, command.console()) == []
        killer.join()
    cells.make(SUITE.cells(), tmp_path / "here", SETTINGS)
    here = contents(tmp_path / "here")
    assert len([name for name in here if name.endswith(".json")]) == len(SUITE.cells()) == 6
    assert contents(tmp_path / "cluster") == here
    assert collections.Counter(made) == dict.fromkeys(here, 1)
