# SPDX-License-Identifier: Apache-2.0
"""Jobs on workers: in order of urgency and need, in processes that are replaced, and that may die."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.pool import Job, results
from tests.helpers.cluster import process
from tests.helpers.command import environment, heed
from tflm_export import cluster


@pytest.fixture(scope="module")
def client():
    with cluster.connected(2) as client:
        yield client


def done(client, jobs, jobs_of_a_process=None, seconds=0.0):
    return list(results(client, jobs, process, lambda job: (job.name, seconds), jobs_of_a_process))


def test_a_job_waits_for_what_it_needs_and_is_not_tried_without(client):
    jobs = [
        Job("last", None, frozenset(["first", "made long ago"])),
        Job("grandchild", None, frozenset(["child"])),
        Job("child", None, frozenset(["fails"])),
        Job("fails", None),
        Job("first", None),
    ]
    found = {job.name: result for job, result in done(client, jobs)}
    assert found.keys() == {"fails", "first", "last"}
    assert list(found).index("first") < list(found).index("last")
    assert repr(found["fails"]) == cluster.failure(found["fails"]) == "ValueError('broken')"


def test_a_job_that_ends_every_process_is_a_failure_and_costs_no_other(client):
    found = {job.name: result for job, result in done(client, [Job(name, None) for name in ("dies", "a", "b", "c")])}
    assert cluster.failure(found.pop("dies")) == "every process that began it died, 3 of them"
    assert found.keys() == {"a", "b", "c"}
    assert all(isinstance(pid, int) for pid in found.values())


@pytest.mark.slow
def test_the_urgent_are_first_and_processes_are_replaced_between_jobs():
    with cluster.connected(1) as client:
        names = list("abc")
        found = done(client, [Job(name, None) for name in names], jobs_of_a_process=2)
    pids = [pid for _, pid in found]
    assert [job.name for job, _ in found] == names
    assert pids[0] == pids[1] != pids[2]
    assert os.getpid() not in pids


@pytest.mark.slow
def test_ctrl_c_ends_all_processes(tmp_path):
    """As a terminal does it: the signal reaches the program and its workers."""
    script = tmp_path / "script.py"
    script.write_text(
        "from benchmarks.pool import Job, results\n"
        "from tests.helpers.cluster import process\n"
        "from tflm_export import cluster\n"
        "if __name__ == '__main__':\n"
        "    with cluster.connected(2) as client:\n"
        "        jobs = [Job(str(seconds), seconds) for seconds in (0, 60, 60.5)]\n"
        "        for _, pid in results(client, jobs, process, lambda job: (job.name, job.what)):\n"
        "            print(pid, flush=True)\n"
    )
    running = subprocess.Popen(
        [sys.executable, script], env=environment(TMPDIR=str(tmp_path)), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed,
    )  # fmt: skip
    worker = int(running.stdout.readline())
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    with contextlib.suppress(ProcessLookupError):
        while True:  # what multiprocessing tracks resources with ends by itself
            os.killpg(running.pid, 0)
            time.sleep(0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]
