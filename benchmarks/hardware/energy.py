# SPDX-License-Identifier: Apache-2.0
"""The energy of a rescale in standard cells: every change of a net, glitches among them, charges the pins on it.

A change takes C V^2 / 2 with the capacitance C of the input pins. Wires, the cells' own currents and leakage are not in
it, nor registers and their clock: it is for comparing designs before layout, not for a power budget.
"""

import numpy as np

from benchmarks.hardware import workload
from benchmarks.hardware.gates import Netlist
from benchmarks.hardware.synthesis import Job
from benchmarks.hardware.workload import Rescales, Workload
from tflm_export import ModelError

CORNERS = 1 << 15  # vectors


def picojoules(netlist: Netlist, changes: np.ndarray, volts: float) -> float:
    """The energy of changes of nets, int64 [nets]."""
    return 1e12 * 0.5 * volts**2 * float(netlist.capacitance @ changes)


def measure(job: Job, netlist: Netlist, volts: float, load: Workload) -> dict:
    """Holds the netlist of a rescaler equal to the simulator, and feeds it a workload.

    Args:
      job: that made it.
      netlist: the smallest.
      volts: of its cells.
      load: the workload.

    Returns:
      "picojoules" a rescale by order, "changes" of nets a rescale by order, "rescales" measured, "left_out" of
      the workload, "depth" in gates.

    Raises:
      ModelError: the netlist differs from the simulator.
    """
    corners = workload.corners(job.design, CORNERS)
    _require_equal(job, corners, netlist.outputs(workload.ports(job.design, corners))["y"])
    found = {"picojoules": {}, "changes": {}, "left_out": load.left_out, "depth": netlist.depth}
    for order, rescales in load.orders.items():
        changes, outputs = netlist.toggles(workload.ports(job.design, rescales))
        following = rescales.at(np.arange(1, len(rescales)))
        _require_equal(job, following, outputs["y"])
        found["picojoules"][order] = picojoules(netlist, changes, volts) / len(following)
        found["changes"][order] = int(changes.sum()) / len(following)
        found["rescales"] = len(following)
    return found


def _require_equal(job: Job, rescales: Rescales, outputs: np.ndarray) -> None:
    """Raises ModelError where a netlist's outputs are not the simulator's."""
    wrong = np.flatnonzero(outputs.astype(np.uint8) != rescales.outputs.astype(np.uint8))
    if len(wrong):
        names = ("acc", "multiplier", "shift", "zero_point", "low", "high")
        case = ", ".join(f"{name} {array[wrong[0]]}" for name, array in zip(names, rescales.arrays, strict=True))
        raise ModelError(
            f"{job.label}: the netlist differs from the simulator in {len(wrong)} of {len(rescales)} rescales; "
            f"{case}: {outputs[wrong[0]]} in place of {rescales.outputs[wrong[0]]}"
        )
