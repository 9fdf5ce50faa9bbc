# SPDX-License-Identifier: Apache-2.0
"""The architecture: which room may import which, no circles, functions that fit a screen."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("tflm_export", "keras_rat", "benchmarks")
# Rooms from the ground up; each imports only from itself and from those below. The last one that fits counts.
FLOORS = (
    ("tflm_export.errors", "tflm_export.reason", "tflm_export.union", "tflm_export.command_line"),
    ("tflm_export.terminal", "tflm_export.signals", "tflm_export.workers", "tflm_export.cluster", "tflm_export.files"),
    (
        "tflm_export.accumulators",
        "tflm_export.rescale",
        "tflm_export.fixed_point",
        "tflm_export.rounding",
        "tflm_export.cores",
    ),
    (
        "tflm_export.grid",
        "tflm_export.signed_digits",
        "tflm_export.setting",
        "tflm_export.flatbuffer",
        "tflm_export.kernels",
    ),
    ("tflm_export.program", "tflm_export.graph", "tflm_export.held", "tflm_export.solver", "tflm_export.cc_array"),
    ("tflm_export.arithmetic",),
    ("tflm_export.ops",),
    (
        "tflm_export.lowering",
        "tflm_export.integer_part",
        "tflm_export.saturation",
        "tflm_export.fused_activations",
        "tflm_export.sharing",
        "tflm_export.rules",
        "tflm_export.rules_file",
        "tflm_export.factors",
    ),
    (
        "tflm_export.bounds",
        "tflm_export.simulator",
        "tflm_export.c",
        "tflm_export.rtl",
        "tflm_export.runtimes",
        "tflm_export.report",
    ),
    (
        "tflm_export.metadata",
        "tflm_export.explain",
        "tflm_export.calibration",
        "tflm_export.compare",
        "tflm_export.isolated",
        "tflm_export.kept",
    ),
    ("tflm_export.input_means", "tflm_export.synthetic"),
    ("tflm_export.narrow", "tflm_export.verify", "tflm_export.to_int8"),
    ("tflm_export.search", "tflm_export.rtl_folder", "tflm_export.outputs"),
    ("tflm_export.several",),
    ("tflm_export.flags",),
    ("tflm_export.one_model",),
    ("tflm_export.__main__",),
    ("keras_rat.tfmot_internals",),
    ("keras_rat.graph",),
    ("keras_rat",),
    ("benchmarks",),
)
LONGEST = 50  # lines of a function, without its docstring


def modules() -> dict[str, pathlib.Path]:
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


def imported(name: str, at_start: bool = False) -> set[str]:
    """The modules of this project that a module imports, where it is loaded or at all."""
    tree = ast.parse(MODULES[name].read_text())
    nodes = tree.body if at_start else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = set()
    for target in found:
        while target and target not in MODULES:
            target = target.rpartition(".")[0]
        known.add(target)
    return known - {"", name, *PACKAGES}


def floor(name: str) -> int:
    fitting = [
        (len(room), number)
        for number, rooms in enumerate(FLOORS)
        for room in rooms
        if name == room or name.startswith(f"{room}.")
    ]
    assert fitting, f"{name} is in no room: add it to FLOORS"
    return max(fitting)[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name not in PACKAGES])
def test_no_room_imports_from_a_higher_floor(name):
    assert [other for other in imported(name) if floor(other) > floor(name)] == []


def test_no_circles():
    """Depth first; what is on the way back to itself is a circle. A package stands for its __init__."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in imported(name, at_start=True):
                visit(other, (*way, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_functions_fit_a_screen():
    long = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                long += [f"{name}.{node.name}: {lines}"] if lines >= LONGEST else []
    assert long == []
