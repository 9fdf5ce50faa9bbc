# SPDX-License-Identifier: Apache-2.0
"""What others measured on silicon for the networks of MLPerf Tiny: to be read beside modelled cycles, not as the same.

The numbers are the submitters' own: the median of inferences a second in closed/SUBMITTER/results/BOARD/NETWORK/
performance/results.txt of the repositories github.com/mlcommons/tiny_results_vX, closed division, the source of the
tables at mlcommons.org. Milliseconds and cycles follow from them and from the clock in the system's description.
"""

import dataclasses

from benchmarks import command
from tflm_export.flatbuffer.model import parse

NETWORKS = ("AD", "KWS", "ResNet8", "VWW")
# (input, output, operators) of the reference models; weights are not looked at.
_SHAPES = {
    ((1, 640), (1, 640), 10): "AD",
    ((1, 49, 10, 1), (1, 12), 13): "KWS",
    ((1, 32, 32, 3), (1, 10), 16): "ResNet8",
    ((1, 96, 96, 3), (1, 2), 31): "VWW",
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What a submitter measured.

    Attributes:
      submitter, software, version: who, with what, in which version of MLPerf Tiny.
      folder: of the results in the version's repository.
      board, cpu, mhz: on what.
      rates: inferences a second of each of NETWORKS.
    """

    submitter: str
    software: str
    version: str
    folder: str
    board: str
    cpu: str
    mhz: int
    rates: tuple[float, float, float, float]

    def milliseconds(self, network: str) -> float:
        """Of an inference."""
        return 1e3 / self.rates[NETWORKS.index(network)]

    def cycles(self, network: str) -> float:
        """Of an inference."""
        return 1e3 * self.mhz * self.milliseconds(network)


_L4R5 = ("NUCLEO-L4R5ZI", "cortex-m4", 120)
RESULTS = (
    Result(
        "reference", "TFLM 2.3.1", "v0.5", "closed/reference/results/Nucleo-L4R5ZI", *_L4R5,
        (99.487, 5.497, 1.420, 1.665),
    ),
    Result(
        "OctoML", "microTVM, CMSIS-NN", "v1.0", "closed/OctoML/results/microtvm_cmsis_nn/NUCLEO_L4R5ZI", *_L4R5,
        (116.212, 10.019, 2.567, 3.320),
    ),
    Result(
        "STMicroelectronics", "X-CUBE-AI", "v1.0", "closed/STMicroelectronics/results/NUCLEO_L4R5ZI", *_L4R5,
        (131.950, 13.323, 4.407, 4.339),
    ),
    Result(
        "Plumerai", "Inference Engine 2023.05", "v1.1", "closed/plumerai/results/NUCLEO-L4R5ZI", *_L4R5,
        (246.814, 20.929, 5.961, 10.126),
    ),
    Result(
        "STMicroelectronics", "X-CUBE-AI 9.0", "v1.2", "closed/STMicroelectronics/results/NUCLEO_L4R5ZI", *_L4R5,
        (190.086, 23.155, 6.056, 11.245),
    ),
    Result(
        "Bosch", "HALE 1.0.175", "v1.2", "closed/bosch/results/NUCLEO_L4R5ZI_int8", *_L4R5,
        (171.375, 16.623, 5.539, 5.540),
    ),
    Result(
        "Bosch", "HALE 1.0.175", "v1.2", "closed/bosch/results/NUCLEO_G0B1RE_int8", "NUCLEO-G0B1RE", "cortex-m0plus",
        64, (24.454, 2.107, 0.657, 0.707),
    ),
)  # fmt: skip


def network(data: bytes) -> str:
    """Which network of MLPerf Tiny a .tflite file looks like, by its shapes and how many operators it has; or ""."""
    graph = parse(data).subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return ""
    return _SHAPES.get((tuple(graph.inputs[0].shape), tuple(graph.outputs[0].shape), len(graph.operators)), "")


def table(name: str, cpu: str):
    """Results for a network on boards with a core; None where there are none."""
    found = [result for result in RESULTS if result.cpu == cpu and name in NETWORKS]
    rows = [
        (
            r.submitter, r.software, f"MLPerf Tiny {r.version}", f"{r.board}, {r.mhz} MHz",
            f"{r.milliseconds(name):.2f}", f"{r.cycles(name):,.0f}",
        )
        for r in sorted(found, key=lambda result: result.cycles(name))
    ]  # fmt: skip
    head = ("measured on silicon", "with", "submitted to", "on", "ms", "cycles")
    return command.table(head, rows, 4, box=None, pad_edge=False) if rows else None
