"""What the command lines of the exporter and the benchmarks have in common."""

from absl import flags

_END_OF_PATH = ":\n"


def define_help(values: flags.FlagValues) -> flags.FlagHolder[bool]:
    """The flag --help, -h; `FlagValues` of one's own come without it."""
    return flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)


def help_text(description: str, values: flags.FlagValues) -> str:
    """A module's docstring and its flags, without the module's path and absl's own flags."""
    listed = values.get_help(include_special_flags=False)
    return f"{description}\n{listed.split(_END_OF_PATH, 1)[1]}"
