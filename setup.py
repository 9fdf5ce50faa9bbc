# SPDX-License-Identifier: Apache-2.0
"""The README as a package index shows it, with absolute links; all other metadata is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

readme, project = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("README.md", "pyproject.toml")
)
(repository,) = re.findall(r'^Repository = "(.+)"', project, re.MULTILINE)

setup(
    long_description=re.sub(r"\]\((?!https?:|#)", f"]({repository}/", readme),
    long_description_content_type="text/markdown",
)
