# SPDX-License-Identifier: Apache-2.0
"""The repositories of WORKSPACE: of what this machine has, nothing from a network."""

# Where Debian's bazel-rules-java installs itself.
_DEBIAN_RULES_JAVA = "/usr/share/bazel/rules/java"

_PUBLIC = "package(default_visibility = [\"//visibility:public\"])\n"

# What Bazel 4's own C++ toolchain loads from rules_cc: since the rules are built in, only their names.
_RULES_CC_DEFS = "".join(["%s = native.%s\n" % (rule, rule) for rule in [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_proto_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
    "objc_import",
    "objc_library",
]])

# What every test depends on, and only `bazel coverage` runs.
_COVERAGE_TOOLS = _PUBLIC + """
[filegroup(name = name) for name in ["coverage_report_generator", "lcov_merger"]]
"""

def _written_repository(repository_ctx):
    for path, content in repository_ctx.attr.files.items():
        repository_ctx.file(path, content, executable = False)

written_repository = repository_rule(
    implementation = _written_repository,
    attrs = {"files": attr.string_dict(mandatory = True, doc = "The content of each file, by its path.")},
    doc = "A repository whose files are given here.",
)

def debian_repositories():
    """Defines what Debian's Bazel does not bring and would fetch: rules_java, rules_cc and remote_coverage_tools.

    Debian's is the one without a version. Upstream's releases fetch their own, which these would not fit.
    """
    if native.bazel_version:
        return
    native.local_repository(name = "rules_java", path = _DEBIAN_RULES_JAVA)
    written_repository(
        name = "rules_cc",
        files = {"BUILD": "", "cc/BUILD": "", "cc/defs.bzl": _RULES_CC_DEFS},
    )
    written_repository(
        name = "remote_coverage_tools",
        files = {"BUILD": _COVERAGE_TOOLS, "tools/BUILD": ""},
    )

# Headers are found from these folders. The first define is TFLM's own; a library may have been built with or without its
# messages, and code without them links with either.
_TFLM_BUILD = _PUBLIC + """
cc_library(
    name = "tflm",
    srcs = ["lib/host/libtensorflow-microlite.a"],
    hdrs = glob(["**/*.h"]),
    defines = ["TF_LITE_STATIC_MEMORY", "TF_LITE_STRIP_ERROR_STRINGS"],
    includes = [".", "third_party/flatbuffers/include", "third_party/gemmlowp", "third_party/ruy"],
)
"""

_NO_TFLM_BUILD = """
fail("there is no TensorFlow Lite Micro: set TFLM_DIR to a folder with tensorflow/ and third_party/ as TFLM's " +
     "create_tflm_tree.py writes them, and lib/host/libtensorflow-microlite.a")
"""

def _tflm_repository(repository_ctx):
    folder = repository_ctx.os.environ.get("TFLM_DIR")
    if not folder:
        repository_ctx.file("BUILD", _NO_TFLM_BUILD, executable = False)
        return

    # Files one by one: in the folders are TFLM's own BUILD files, which would make packages of them.
    headers = ["tensorflow", "third_party/flatbuffers", "third_party/gemmlowp", "third_party/ruy"]
    command = ["find", "-L"] + headers + ["lib/host/libtensorflow-microlite.a", "-name", "*.[ah]"]
    found = repository_ctx.execute(command, working_directory = folder)
    if found.return_code:
        fail("TFLM_DIR=%s: %s" % (folder, found.stderr))
    for name in found.stdout.splitlines():
        repository_ctx.symlink(folder + "/" + name, name)
    repository_ctx.file("BUILD", _TFLM_BUILD, executable = False)

tflm_repository = repository_rule(
    implementation = _tflm_repository,
    environ = ["TFLM_DIR"],
    local = True,
    doc = "The user's build of TensorFlow Lite Micro, which TFLM_DIR points to. Without it, what needs it cannot be built.",
)

_PYTHON_BUILD = _PUBLIC + "exports_files([\"python\"])\n"

_NO_PYTHON_BUILD = """
fail("%s cannot import absl, flatbuffers and numpy: set NARROW_PYTHON to a Python that can, which narrow_tflite needs")
"""

def _python_repository(repository_ctx):
    python = repository_ctx.os.environ.get("NARROW_PYTHON")
    if not python:
        own = repository_ctx.path(Label("//:WORKSPACE")).dirname.get_child(".venv").get_child("bin").get_child("python")
        python = str(own) if own.exists else str(repository_ctx.which("python3"))
    if repository_ctx.execute([python, "-c", "import absl.flags, flatbuffers, numpy"]).return_code:
        repository_ctx.file("BUILD", _NO_PYTHON_BUILD % python, executable = False)
        return
    repository_ctx.file("python", "#!/bin/sh\nexec '%s' \"$@\"\n" % python)
    repository_ctx.file("BUILD", _PYTHON_BUILD, executable = False)

python_repository = repository_rule(
    implementation = _python_repository,
    environ = ["NARROW_PYTHON"],
    local = True,
    doc = "The Python that has what the exporter imports: NARROW_PYTHON, else the checkout's .venv, else python3.",
)
