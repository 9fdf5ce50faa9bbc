"""The versions that a result depends on."""

import importlib.metadata
import platform

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy", "scipy")


def installed() -> dict[str, str]:
    """Versions by package, Python's last."""
    return {package: importlib.metadata.version(package) for package in PACKAGES} | {
        "python": platform.python_version()
    }
