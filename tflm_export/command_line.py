# SPDX-License-Identifier: Apache-2.0
"""What the command lines of the exporter and the benchmarks have in common."""

import re

from absl import flags

_MODULES = re.compile(r"^\n?\S.*:\n", re.MULTILINE)  # above the flags that each has defined


def define_help(values: flags.FlagValues) -> flags.FlagHolder[bool]:
    """The flag --help, -h; `FlagValues` of one's own come without it."""
    return flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)


def help_text(description: str, values: flags.FlagValues) -> str:
    """A module's docstring and its flags, without the modules' paths and absl's own flags."""
    return f"{description}\n{_MODULES.sub('', values.get_help(include_special_flags=False))}"
