# SPDX-License-Identifier: Apache-2.0
"""The flags of the exporter's command line, and which of them make sense together."""

from absl import flags

from tflm_export import accumulators, command_line, cores, metadata, rescale
from tflm_export.c.choice import OPTIMIZE as GOALS
from tflm_export.errors import UsageError
from tflm_export.grid import NAMED, Grid, grid_of
from tflm_export.narrow import METHODS
from tflm_export.narrow import SYNTHETIC as SYNTHETIC_CHOICES
from tflm_export.setting import KEEP
from tflm_export.to_int8 import IO as BORDERS

USED = {  # by the ways to call it that write no model: the other flags
    "check": {"bits", "grid", "report", "overwrite", "quiet", "jobs"},
    "explain": {"grid"},
    "dump": set(),
}
NEEDED = {  # flag: those without any of which it means nothing
    "core": ["c_source"],
    "optimize": ["c_source"],
    "max_drop": ["search"],
    "scheduler": ["search"],
    "model_name": ["c_source", "cc_array", "rtl"],
    "rtl_accumulator_bits": ["rtl"],
    "rtl_shifts": ["rtl"],
    "rtl_folded": ["rtl"],
    "rtl_inferences": ["rtl"],
    "force": ["rtl"],
}
CONVERSION = {"to_int8", "io", "calibration", "synthetic", "output", "output_dir", "overwrite", "quiet", "jobs"}

FLAGS = flags.FlagValues()
BITS = flags.DEFINE_integer(
    "bits", None, f"Width k of the multipliers: 1 (pure shifts) to {rescale.MAX_BITS}.", flag_values=FLAGS
)
GRID = flags.DEFINE_enum(
    "grid",
    None,
    [*NAMED],
    "In place of --bits, factors of another form. csd2: two signed digits, 2^a, 2^a + 2^b and 2^a - 2^b, for hardware "
    "that applies them with two shifts and an addition.",
    flag_values=FLAGS,
)
METHOD = flags.DEFINE_enum(
    "method",
    METHODS[0],
    METHODS,
    "requantize: round factors up and re-round the weights to match. keep: round factors to nearest, weights stay.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File to write, - for standard output. Default: MODEL_kK.tflite, MODEL_csd2.tflite.",
    flag_values=FLAGS,
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Folder for the narrowed models; those of a FOLDER keep their places below it. Made where it is not there.",
    flag_values=FLAGS,
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace regular files that exist.", flag_values=FLAGS)
REPORT = flags.DEFINE_string(
    "report", None, "Write the table as JSON to this file, - for standard output.", flag_values=FLAGS
)
METADATA = flags.DEFINE_bool(
    "metadata", True, f"Add the multipliers as metadata entry {metadata.NAME}.", flag_values=FLAGS
)
CC_ARRAY = flags.DEFINE_string(
    "cc_array",
    None,
    "Folder for the model as C++ array too: NAME_model_data.cc and .h.",
    flag_values=FLAGS,
)
C_SOURCE = flags.DEFINE_string(
    "c_source",
    None,
    "Folder for the model as a C99 program part too, with the kernels it needs: at once a CMake target, an ESP-IDF "
    "component, a Zephyr module and an Arduino library.",
    flag_values=FLAGS,
)
RTL = flags.DEFINE_string(
    "rtl",
    None,
    "Folder for the model's rescales in hardware: blocks in Verilog with parameters proved from the model, tables of "
    "multipliers, shifts and biases, and a testbench with what the simulator computes.",
    flag_values=FLAGS,
)
RTL_ACCUMULATOR_BITS = flags.DEFINE_integer(
    "rtl_accumulator_bits",
    None,
    "For --rtl: width of the accumulators. Default: the narrowest that is right for all inputs, up to "
    f"{accumulators.WIDEST[8]} bits ({accumulators.WIDEST[16]} for int16).",
    lower_bound=accumulators.LEAST,
    upper_bound=accumulators.MOST,
    flag_values=FLAGS,
)
RTL_SHIFTS = flags.DEFINE_string(
    "rtl_shifts",
    None,
    "For --rtl: LOW:HIGH, the smallest and the largest shift that there is a field for. Default: those of the model.",
    flag_values=FLAGS,
)
RTL_FOLDED = flags.DEFINE_bool(
    "rtl_folded",
    False,
    "For --rtl with --bits 1: rounding and zero point are part of the biases, and a rescale is a shift and a clamp.",
    flag_values=FLAGS,
)
RTL_INFERENCES = flags.DEFINE_integer(
    "rtl_inferences",
    1,
    "For --rtl: how many inferences the testbench has, of rows of --calibration that measure, else of random inputs.",
    lower_bound=1,
    flag_values=FLAGS,
)
FORCE = flags.DEFINE_bool(
    "force", False, f"For --rtl: take multipliers wider than {rescale.READABLE_BITS} bits.", flag_values=FLAGS
)
MODEL_NAME = flags.DEFINE_string(
    "model_name",
    None,
    "NAME of the model for --c_source, --cc_array and --rtl, which begins names of files and functions in C. Default: "
    "that of the narrowed file.",
    flag_values=FLAGS,
)
CORE = flags.DEFINE_string(
    "core", "portable", f"Core that --c_source is tuned for: {', '.join(cores.NAMES)}.", flag_values=FLAGS
)
OPTIMIZE = flags.DEFINE_enum(
    "optimize",
    "speed",
    sorted(GOALS, reverse=True),
    "For --c_source: which of several ways to compute a layer is taken, the fastest or the one with the least flash.",
    flag_values=FLAGS,
)
CALIBRATION = flags.DEFINE_string(
    "calibration",
    None,
    "File of real inputs (.npz, .npy): arrays named as the model's inputs, or one array. Three rows of four choose "
    "scales and round weights, the fourth measures the agreement with the stock model.",
    flag_values=FLAGS,
)
BITS_CONFIG = flags.DEFINE_string(
    "bits_config",
    None,
    "YAML or JSON file of bits (or {bits, method}, {grid, method}) by operator index or by regular expression on the "
    "name of its output tensor; --bits or --grid holds for the others.",
    flag_values=FLAGS,
)
ADD_BITS = flags.DEFINE_integer(
    "add_bits",
    None,
    "Width of the multipliers of ADD and SUB that --bits_config does not name; --bits or --grid holds for the others.",
    lower_bound=1,
    upper_bound=rescale.MAX_BITS,
    flag_values=FLAGS,
)
SYNTHETIC = flags.DEFINE_enum(
    "synthetic",
    SYNTHETIC_CHOICES[0],
    SYNTHETIC_CHOICES,
    "Without --calibration, correct biases for what synthetic images make of the rounded weights: auto: where the one "
    "input is a colour image, [1, height, width, 3]; images: always, inputs are images; none: never.",
    flag_values=FLAGS,
)
SEARCH = flags.DEFINE_bool(
    "search", False, "Find the narrowest bits, operator by operator, within --max_drop.", flag_values=FLAGS
)
MAX_DROP = flags.DEFINE_float(
    "max_drop",
    0.01,
    "For --search: tolerated share of rows that change class; for outputs that are no classes, relative change.",
    flag_values=FLAGS,
)
VERIFY = flags.DEFINE_integer(
    "verify",
    None,
    "Run both models on LiteRT and TFLM on this many rows: of those of --calibration that measure, else random.",
    flag_values=FLAGS,
)
TO_INT8 = flags.DEFINE_bool(
    "to_int8",
    False,
    "Convert a per-tensor uint8 model to int8 first, per channel; without --bits or --grid, do nothing else.",
    flag_values=FLAGS,
)
IO = flags.DEFINE_enum(
    "io",
    None,
    BORDERS,
    "For --to_int8: type of the inputs and outputs that are uint8; int8 without it. For --c_source without --to_int8, "
    "int8: leave float32 inputs and outputs to the caller, who gives and gets their integers.",
    flag_values=FLAGS,
)
STRICT = flags.DEFINE_bool("strict", False, "Write nothing if any rescale cannot be narrowed.", flag_values=FLAGS)
CHECK = flags.DEFINE_bool("check", False, "Only check.", flag_values=FLAGS)
EXPLAIN = flags.DEFINE_bool(
    "explain", False, "Only show each rescale; with --grid csd2, as shifts and additions.", flag_values=FLAGS
)
DUMP = flags.DEFINE_bool("dump", False, f"Only print metadata entry {metadata.NAME} as JSON.", flag_values=FLAGS)
JOBS = flags.DEFINE_integer(
    "jobs",
    1,
    "Models that are worked on at once, of several; with --search, settings of a single one.",
    flag_values=FLAGS,
)
SCHEDULER = flags.DEFINE_string(
    "scheduler",
    None,
    "For --search: address of a dask.distributed scheduler, tcp://HOST:8786, whose workers measure in place of --jobs "
    "processes here.",
    flag_values=FLAGS,
)
QUIET = flags.DEFINE_bool("quiet", False, "Print nothing but errors.", flag_values=FLAGS)
VERSION = flags.DEFINE_bool("version", False, "Show the version.", flag_values=FLAGS)
HELP = command_line.define_help(FLAGS)


def parse(argv: list[str]) -> list[str]:
    """Sets the flags; returns what is none."""
    for name in FLAGS:
        FLAGS[name].unparse()
    return FLAGS(argv)[1:]


def _given() -> set[str]:
    """The flags of the command line."""
    return {name for name in FLAGS if FLAGS[name].present and name != "flagfile"}


def grid() -> Grid | None:
    """What --bits or --grid asks for; None without both.

    Raises:
      UsageError: there are both, or bits out of range.
    """
    if GRID.value is not None and BITS.value is not None:
        raise UsageError(f"--bits {BITS.value} and --grid {GRID.value} exclude each other; leave one of them out")
    wanted = BITS.value if GRID.value is None else GRID.value
    return None if wanted is None else grid_of(wanted)


def rtl_shifts() -> tuple[int, int] | None:
    """What --rtl_shifts asks for; None without it.

    Raises:
      UsageError: it is not two integers.
    """
    if RTL_SHIFTS.value is None:
        return None
    try:
        low, high = map(int, RTL_SHIFTS.value.split(":"))
    except ValueError:
        raise UsageError(f"--rtl_shifts takes LOW:HIGH, two integers, got {RTL_SHIFTS.value!r}") from None
    return low, high


def is_conversion() -> bool:
    """Whether nothing but a conversion to int8 is asked for."""
    return TO_INT8.value and _given() <= CONVERSION


def require_meaning() -> None:
    """Raises UsageError where a flag is given that would have no effect beside the others."""
    given = _given()
    modes = [name for name in USED if FLAGS[name].value]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} exclude each other")
    for mode in modes:
        idle = sorted(given - USED[mode] - {mode})
        if idle:
            raise UsageError(f"--{mode} reads the model as it is and writes none; leave out --{', --'.join(idle)}")
    for name, others in NEEDED.items():
        if name in given and not any(FLAGS[other].value for other in others):
            either = " or --".join(others)
            raise UsageError(f"--{name} means nothing without --{either}; add it, or leave out --{name}")
    if "io" in given and not TO_INT8.value and (C_SOURCE.value is None or IO.value != BORDERS[0]):
        raise UsageError("--io means nothing without --to_int8; add it, or leave out --io")


def require_possible() -> None:
    """Raises UsageError where what the flags say cannot be, whatever the model."""
    if SEARCH.value:
        if GRID.value is not None:
            raise UsageError(f"--search tries numbers of bits, and --grid {GRID.value} is none; leave one of them out")
        if any(flag.value is not None for flag in (BITS, BITS_CONFIG, ADD_BITS)):
            raise UsageError("--search chooses the bits; leave out --bits, --bits_config and --add_bits")
    elif grid() is None and not is_conversion():
        others = ", --".join(sorted(_given() - CONVERSION))
        alone = f"--to_int8 without --bits takes no --{others}; add --bits, 31 to narrow nothing"
        raise UsageError(alone if TO_INT8.value else "--bits K or --grid csd2 is required; see --help")
    _require_images_to_matter()
    if JOBS.value < 1:
        raise UsageError(f"--jobs must be at least 1, got {JOBS.value}")
    cores.find(CORE.value)
    _require_narrow_hardware()
    _require_verifiable()


def _require_narrow_hardware() -> None:
    """Raises UsageError where --rtl would have nothing narrow to write, or multipliers that are hardly narrower."""
    if RTL.value is None or BITS.value is None:
        return
    if BITS.value == rescale.MAX_BITS and BITS_CONFIG.value is None and ADD_BITS.value is None:
        raise UsageError(f"--rtl is for narrow multipliers, and --bits {BITS.value} narrows nothing; give --bits less")
    if BITS.value > rescale.READABLE_BITS and not FORCE.value:
        raise UsageError(
            f"--rtl with --bits {BITS.value}: above {rescale.READABLE_BITS} bits a rescaler is hardly smaller than a "
            "stock one; give --bits less, or add --force"
        )


def _require_images_to_matter() -> None:
    """Raises UsageError where synthetic images are asked for that nothing would look at."""
    if SYNTHETIC.value != "images":
        return
    if CALIBRATION.value is not None or SEARCH.value:
        raise UsageError("--synthetic=images is for where there is no --calibration; leave one of them out")
    if METHOD.value == KEEP and BITS_CONFIG.value is None and not TO_INT8.value:
        raise UsageError("--synthetic=images corrects biases, which --method=keep leaves as they are; leave it out")


def _require_verifiable() -> None:
    """Raises UsageError where --verify asks for what cannot be."""
    if VERIFY.value is None:
        return
    if VERIFY.value < 1:
        raise UsageError(f"--verify needs at least one row, got {VERIFY.value}")
    from tflm_export import runtimes

    if not runtimes.installed():
        raise UsageError("--verify needs a runtime, and none is installed; pip install ai-edge-litert tflite-micro")
