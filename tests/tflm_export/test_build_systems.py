# SPDX-License-Identifier: Apache-2.0
"""What build systems read beside C sources, against the specifications of their formats.

tests/recipes/test_c_folder.py builds it.
"""

import re

import pytest
import yaml

from tflm_export.c import build_systems

SOURCES = {"net.c": b"", "net.h": b"", "narrow_add.c": b"", "narrow_kernels.h": b""}
FILES = {path: content.decode() for path, content in build_systems.files("net", SOURCES, "1.2.3").items()}
# Of the specification of Arduino libraries, library.properties; the last four are optional.
ARDUINO = "name version author maintainer sentence paragraph category url architectures".split()
ARDUINO_OPTIONAL = "depends dot_a_linkage includes precompiled ldflags".split()
CATEGORIES = ["Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
              "Data Processing", "Other"]  # fmt: skip
SEMANTIC = re.compile(r"\d+\.\d+\.\d+")
# Of the ESP component manager's manifest, what describes a component.
COMPONENT = {"version", "description", "url", "targets", "dependencies", "license", "maintainers", "tags", "files"}
# Of the schema in Zephyr's scripts/zephyr_module.py, the entry "build", of which these are paths.
ZEPHYR_PATHS = {"cmake", "kconfig"}


def properties(text: str) -> dict[str, str]:
    """A file of Java properties, as Arduino has them."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all("=" in line for line in lines)
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines)
    return found


def test_arduino_library():
    found = properties(FILES["library.properties"])
    assert {*ARDUINO} <= {*found} <= {*ARDUINO, *ARDUINO_OPTIONAL}
    assert all(found.values())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", found["name"])
    assert not found["name"].lower().startswith("arduino")
    assert SEMANTIC.fullmatch(found["version"])
    assert found["category"] in CATEGORIES
    assert re.match(r"https?://", found["url"])
    assert found["architectures"] == "*"
    assert found["includes"] in SOURCES
    assert not any(path.startswith(("src/", "utility/")) for path in FILES)  # else the folder itself is not built
    assert "dot_a_linkage" not in found  # which needs a folder src


def test_arduino_has_no_names_of_more_than_63_characters():
    text = build_systems.files("n" * 80, SOURCES, "1.2.3")["library.properties"].decode()
    assert properties(text)["name"] == "n" * 63
    assert properties(text)["includes"] == "n" * 80 + ".h"


def test_esp_idf_component():
    found = yaml.safe_load(FILES["idf_component.yml"])
    assert {"version", "description"} <= {*found} <= COMPONENT
    assert SEMANTIC.fullmatch(found["version"])
    assert isinstance(found["description"], str)


def test_zephyr_module():
    found = yaml.safe_load(FILES["zephyr/module.yml"])
    assert {*found} == {"name", "build"}
    assert found["name"] == "net"
    assert {*found["build"]} == ZEPHYR_PATHS
    assert f"{found['build']['cmake']}/CMakeLists.txt" in FILES
    assert found["build"]["kconfig"] in FILES
    (symbol,) = re.findall(r"^config (\w+)$", FILES["zephyr/Kconfig"], re.MULTILINE)
    assert f"if(CONFIG_{symbol})" in FILES["zephyr/CMakeLists.txt"]


def test_cmake_builds_what_is_c():
    listed = re.search(r"set\(sources\n(.*?)\)", FILES["CMakeLists.txt"], re.DOTALL).group(1).split()
    assert listed == ["narrow_add.c", "net.c"]


def test_names_of_two_models_differ():
    other = {path: content.decode() for path, content in build_systems.files("web", SOURCES, "1.2.3").items()}
    named = re.compile(r"(?:add_library|project)\((\w+)|^config (\w+)|^name[=:] ?(\w+)", re.MULTILINE)
    names = [{"".join(match) for text in files.values() for match in named.findall(text)} for files in (FILES, other)]
    assert names == [{"net", "MODEL_NET"}, {"web", "MODEL_WEB"}]


@pytest.mark.parametrize("path", build_systems.PATHS)
def test_each_says_of_which_model_it_is(path):
    assert build_systems.model_of(FILES[path].encode()) == "net"


def test_other_files_are_of_no_model():
    assert build_systems.model_of(b"cmake_minimum_required(VERSION 3.20)\nproject(net C)\n") is None
