"""How a result came about: the command, and the versions it depends on."""

import importlib.metadata
import platform

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy", "scipy")


def command(module: str, argv: list[str]) -> str:
    """The line that runs a module of the benchmarks with the arguments of argv, whose first entry is the program."""
    return " ".join([f"python -m benchmarks.{module}", *argv[1:]])


def versions() -> dict[str, str]:
    """Versions by package, Python's last."""
    found = {package: importlib.metadata.version(package) for package in PACKAGES}
    return found | {"python": platform.python_version()}
