# SPDX-License-Identifier: Apache-2.0
"""Processes that compute items in order, and that may die."""

import multiprocessing
import os
import signal
import sys

import pytest

from tflm_export import workers


def work(item):
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "left":
        os._exit(7)
    if item == "prints":
        print("into standard output")
        sys.stdout.flush()
    if item == "has a child":
        child = multiprocessing.get_context("spawn").Process(target=abs, args=(1,))
        child.start()
        child.join()
        return os.getpid(), child.exitcode
    return os.getpid(), item


def died(item, how):
    return None, f"{item}: {how}"


def run(items, jobs):
    found = list(workers.ordered(work, items, jobs, died))
    return [pid for pid, _ in found if pid], [item for _, item in found]


@pytest.mark.sweep(3)
@pytest.mark.parametrize(("jobs", "processes"), [(1, 1), (2, 2), (9, 5)])
def test_results_come_in_order(jobs, processes):
    pids, items = run(list(range(5)), jobs)
    assert items == list(range(5))
    assert 1 <= len({*pids}) <= processes
    assert os.getpid() not in pids


def test_workers_may_have_processes_of_their_own():
    assert run(["has a child"], 1)[1] == [0]


def test_none():
    assert run([], 2) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_one_that_dies_costs_its_item(jobs):
    _, items = run([1, "killed", 2, "left", 3, "killed"], jobs)
    assert items == [1, "killed: by SIGKILL", 2, "left: with exit code 7", 3, "killed: by SIGKILL"]


def test_standard_output_is_the_first_process_s(capfd):
    _, items = run(["prints"], 1)
    assert items == ["prints"]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "into standard output\n")


def test_no_process_outlives_what_is_not_awaited():
    results = workers.ordered(work, list(range(100)), 2, died)
    pid, _ = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
