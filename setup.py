"""Packaging: `pip install .[train,runtimes]`. The benchmarks run from the checkout."""

from pathlib import Path

from setuptools import find_packages, setup

# What the benchmarks need on top.
BENCHMARKS = ["scikit-learn", "scipy", "matplotlib", "pillow", "jinja2", "rich"]
DOCUMENTATION = ["mkdocs-material", "L2M4M"]

setup(
    name="keras-rat",
    version="0.1.0",
    description="Rescale-aware training and export of k-bit rescale multipliers for TensorFlow Lite Micro",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["keras_rat", "keras_rat.*", "tflm_export", "tflm_export.*"]),
    package_data={"tflm_export": ["kernels/*.c", "kernels/*.h", "kernels/tflm/*"]},
    install_requires=["absl-py", "flatbuffers", "numpy"],
    extras_require={
        "train": ["tensorflow>=2.16,<2.20", "tf-keras>=2.16,<2.20", "tensorflow-model-optimization>=0.8"],
        "runtimes": ["ai-edge-litert", "tflite-micro>=0.dev20250101", "tflite-runtime; python_version < '3.12'"],
        "device": ["unicorn", "capstone", "pyelftools", "ziglang"],
        "dev": ["pytest", "hypothesis", "ruff", "netron", "robotframework", "selenium", *BENCHMARKS, *DOCUMENTATION],
    },
    entry_points={"console_scripts": ["tflm_export=tflm_export.__main__:run"]},
)
