# SPDX-License-Identifier: Apache-2.0
"""Training on several devices: the same losses and weights as on one. Processes of their own run distributed.py."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import distributed

pytestmark = pytest.mark.slow

SCRIPT = pathlib.Path(distributed.__file__)
ROOT = SCRIPT.parents[2]
MINUTES = 8


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """{kind: results} of two logical devices and of both workers of a cluster of two."""
    folder = tmp_path_factory.mktemp("distributed")
    workers = [f"localhost:{port}" for port in free_ports(2)]
    with contextlib.ExitStack() as stack:

        def start(name, kind, **environment):
            path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            log = stack.enter_context((folder / f"{name}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, SCRIPT, kind, folder / f"{name}.json"],
                env=os.environ | {"PYTHONPATH": path} | environment,
                stdout=log,
                stderr=log,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        processes = {"mirrored": start("mirrored", "mirrored")}
        for index in range(2):
            cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            processes[f"worker{index}"] = start(f"worker{index}", "worker", TF_CONFIG=json.dumps(cluster))
        for name, process in processes.items():
            code = process.wait(60 * MINUTES)
            assert code == 0, f"{name}: {(folder / f'{name}.log').read_text()[-3000:]}"
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in processes}


@pytest.fixture(scope="module")
def one():
    """The results of this process, without a strategy, in the form of `several`."""
    return {str(calibrated): distributed.train(contextlib.nullcontext(), calibrated) for calibrated in (True, False)}


RUNS = [("mirrored", "True"), ("mirrored", "False"), ("worker0", "False"), ("worker1", "False")]


@pytest.mark.parametrize(("kind", "calibrated"), RUNS)
def test_several_devices_train_as_one_does(several, one, kind, calibrated):
    assert several[kind]["replicas"] == 2
    expected, found = one[calibrated], several[kind][calibrated]
    assert expected["losses"][1] < expected["losses"][0]
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=2e-3)
    ranges = {name.rpartition("/")[2]: value for name, value in expected["weights"].items() if "_max:0" in name}
    measured = {name.rpartition("/")[2]: value for name, value in found["weights"].items() if "_max:0" in name}
    inputs = [value for name, value in ranges.items() if name.startswith("quantize_layer")]
    # All replicas' rows count for a range: the brightest is always among the last replica's.
    np.testing.assert_allclose([v for n, v in measured.items() if n.startswith("quantize_layer")], inputs, rtol=1e-6)
    np.testing.assert_allclose(measured["output_max:0"], ranges["output_max:0"], rtol=0.02)


def test_workers_hold_the_same_weights(several):
    assert several["worker0"]["False"]["weights"] == several["worker1"]["False"]["weights"]


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_strategy_of_one_device_changes_nothing(one, calibrated):
    found = distributed.train(tf.distribute.MirroredStrategy(["CPU:0"]).scope(), calibrated)
    np.testing.assert_allclose(found["losses"], one[str(calibrated)]["losses"], rtol=1e-5)
    for value, expected in zip(found["weights"].values(), one[str(calibrated)]["weights"].values(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
