# SPDX-License-Identifier: Apache-2.0
"""Flash that waits, and unaligned accesses: known programs, an independent model of caches, C against Python."""

import collections
import pathlib
import shutil

import numpy as np
import pytest

from tests.helpers.c_internals import translate
from tests.helpers.tflite_builder import residual_network
from tflm_export import UsageError, narrow

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import cycles, device, device_runs, parts  # noqa: E402
from benchmarks.emulators import execution, firmware, unicorn_engine  # noqa: E402
from benchmarks.emulators.borders import Borders  # noqa: E402
from benchmarks.emulators.flash import NO_WAIT, Flash, Replay, Stalls, unaligned_cycles  # noqa: E402

L4_PLUS = parts.PARTS["stm32l4plus"].flash
NOP, RETURN = "00bf", "7047"
CODE, RAM = 0x100, 0x20000000


def machine(code: str, flash: Flash, native: bool, cpu: str = "cortex-m4") -> unicorn_engine.Machine:
    """A program of hexadecimal Thumb at CODE, whose constants are what stands there, too."""
    symbols = {"firmware_reset": CODE, "firmware_infer": CODE, "firmware_idle": 0x8000, "layer": CODE}
    symbols |= {"firmware_stack": RAM + 0x100000, "firmware_input": RAM, "firmware_output": RAM + 0x100}
    program = bytes.fromhex(code.replace(" ", ""))
    built = firmware.Firmware(pathlib.Path("hand.elf"), cpu, 0, 0, symbols, ((CODE, program),), 0x8000)
    return unicorn_engine.Machine(built, ["layer"], native, flash)


@pytest.fixture(params=[True, False], ids=["C", "Python"])
def stalls(request):
    """Runs a program once and tells what held it up."""

    def run(code: str, flash: Flash = NO_WAIT, cpu: str = "cortex-m4") -> Stalls:
        made = machine(code, flash, request.param, cpu)
        assert made.is_native == request.param
        made.forget()
        made.infer(np.arange(64, dtype=np.int8), 1)
        return made.stalls[1]

    return run


def counted(turns: int, body: str) -> str:
    """movs r0, #turns; body; subs r0, #1; bne to the body; bx lr. The body leaves r0 alone."""
    halfwords = len(body.replace(" ", "")) // 4
    back = (-(halfwords + 3)) & 0xFF
    return f"{turns:02x}20 {body} 0138 {back:02x}d1 {RETURN}"


def test_a_loop_that_fits_misses_once(stalls):
    code = counted(200, 8 * f"{NOP} {NOP} {NOP} {NOP} ")
    lines = -(-len(bytes.fromhex(code.replace(" ", ""))) // 16)
    held = stalls(code, Flash(5, 16, 1024))
    assert held == Stalls(lines, 0, 5 * lines, 0)


def test_a_loop_that_does_not_fit_misses_every_line_in_every_turn(stalls):
    """Least recently used out first: with one line less than the loop needs, none is there when it is wanted."""
    body = 24 * f"{NOP} "  # lines 0 to 3: the loop is in all of them
    assert stalls(counted(100, body), Flash(3, 16, 64)).instruction_misses == 4
    assert stalls(counted(100, body), Flash(3, 16, 48)).instruction_misses == 4 * 100
    held = stalls(counted(100, body), Flash(3, 16))  # no cache: the line that is executed is still there
    assert held == Stalls(4 * 100, 0, 3 * 4 * 100, 0)


@pytest.mark.parametrize(("wait_states", "cycles_a_line"), [(3, 0), (7, 0), (9, 2)])
def test_prefetched_lines_wait_for_what_their_read_takes_longer_than_the_line_before(
    stalls, wait_states, cycles_a_line
):
    """RM0090, figure 5: a read takes the wait states and a cycle; eight instructions of 16 bits take eight."""
    held = stalls(39 * f"{NOP} " + RETURN, Flash(wait_states, 16, 1024, prefetch=True))
    assert held == Stalls(5, 0, wait_states + 4 * cycles_a_line, 0)


def test_prefetch_counts_instructions_of_32_bits(stalls):
    """Four of them fill a line: 3 wait states are hidden, with 5 two cycles are not (RM0090, figure 5)."""
    smlad = "21fb0200"
    code = 12 * f"{smlad} " + RETURN
    assert stalls(code, Flash(3, 16, prefetch=True)).waited == 3
    assert stalls(code, Flash(5, 16, prefetch=True)).waited == 5 + 3 * 2


def test_an_instruction_across_two_lines_needs_both(stalls):
    code = 7 * f"{NOP} " + "21fb0200 " + RETURN
    assert stalls(code, Flash(2, 16)) == Stalls(2, 0, 4, 0)


def test_constants(stalls):
    load = counted(100, "0a68")  # of ldr r2, [r1]
    code = f"00a1 {load}"  # adr r1, 0
    assert stalls(code, Flash(4, 16, 1024)).data_misses == 100
    assert stalls(code, Flash(4, 16, 1024, 256)) == Stalls(1, 1, 8, 0)
    assert stalls(code, Flash(4, 16, 1024, is_shared=True)) == Stalls(1, 0, 4, 0)  # the instructions brought it
    in_ram = f"4ff00051 {load}"  # mov r1, #0x20000000
    assert stalls(in_ram, Flash(4, 16, 1024)).data_misses == 0


WORDS, HALFWORDS, BYTES = (0, 2, 1, 2), (0, 1, 0, 1), (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("access", "size", "costs"),
    [
        pytest.param("0a68", 4, WORDS, id="ldr"),
        pytest.param("0a60", 4, WORDS, id="str"),
        pytest.param("0a88", 2, HALFWORDS, id="ldrh"),
        pytest.param("0a80", 2, HALFWORDS, id="strh"),
        pytest.param("0a78", 1, BYTES, id="ldrb"),
        pytest.param("0a70", 1, BYTES, id="strb"),
    ],
)
def test_unaligned_accesses(stalls, access, size, costs):
    """TRM 3.3.3: a word at an odd address is a byte, a halfword and a byte; at an even one two halfwords."""
    for offset, cost in enumerate(costs):
        code = f"4ff00051 01f1{offset:02x}01 {counted(100, access)}"  # mov r1, #0x20000000; add r1, r1, #offset
        assert stalls(code).unaligned == 100 * cost
        assert unaligned_cycles(RAM + offset, size) == cost


def test_an_unaligned_access_faults_on_an_m0(stalls):
    code = f"0121 4907 0231 {counted(10, '0a68')}"  # movs r1, #1; lsls r1, r1, #29; adds r1, #2
    with pytest.raises(execution.EngineError, match=r"faulted in Unicorn at 0x108: .*must be aligned"):
        stalls(code, cpu="cortex-m0plus")
    with pytest.raises(execution.EngineError, match=r"fault on a cortex-m23: .*, the last one 0x20000002"):
        stalls(code, cpu="cortex-m23")  # the emulator has an M33 in its place, which takes them
    assert stalls(code, cpu="cortex-m3").unaligned == 10


def test_hooks_of_memory_leave_what_follows_an_it_block_alone(stalls):
    """Unicorn goes on under the block's condition otherwise: r4 would stay 0, and its store with it."""
    # mov r1, #0x20000000; cmp r2, r1; itte ne; ldrne r0, [r1]; ldrne r5, [r1, #4]; moveq r6, #1; b; nop
    start = "4ff00051 8a42 1abf 0868 4d68 0126 00e0 00bf"
    # movs r3, #7; adds r4, r3, #1; add r1, #0x100; strb r4, [r1]; bx lr
    made = machine(f"{start} 0723 5c1c 01f58071 0c70 {RETURN}", NO_WAIT, True)
    assert made.infer(np.zeros(8, np.int8), 1).tolist() == [8]


def lru(lines, sets: int, ways: int) -> int:
    """Misses, by the textbook."""
    caches = collections.defaultdict(collections.OrderedDict)
    missed = 0
    for line in lines:
        cache = caches[line % sets]
        if line in cache:
            cache.move_to_end(line)
            continue
        missed += 1
        cache[line] = None
        if len(cache) > ways:
            cache.popitem(last=False)
    return missed


@pytest.mark.parametrize(("sets", "ways"), [(1, 64), (1, 3), (16, 2), (8, 1)])
def test_caches_against_the_textbook(sets, ways):
    rng = np.random.default_rng(sets + ways)
    walk = np.cumsum(rng.integers(-3, 4, 5000)) % 200
    replay = Replay(Flash(1, 8, 0, 8 * sets * ways, ways=0 if sets == 1 else ways), 0, 1 << 20)
    missed = sum(replay.read(8 * line + 4, 4)[0] for line in walk.tolist())
    assert missed == lru(walk.tolist(), sets, ways)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", sorted(parts.PARTS))
def test_c_and_python_agree_on_a_model(name, tmp_path):
    part = parts.PARTS[name]
    model = residual_network(batch=1)
    inputs = device.inputs_for(model, 1, None, 1.0)[0]
    program = translate(narrow(model, 1)[0], "model", 1, core=part.cpu)
    built = firmware.build(program, part.cpu, tmp_path)
    layers = [program.layer(step) for step in program.steps]
    seen = []
    for native in (True, False):
        made = unicorn_engine.Machine(built, layers, native, part.flash)
        made.forget()
        made.infer(inputs, 5)
        seen.append((made.stalls, made.blocks()))
    assert seen[0] == seen[1]
    assert sum(stalled.waited for stalled in seen[0][0]) > 0


@pytest.mark.slow
def test_without_wait_states_only_unaligned_accesses_are_added():
    model = residual_network(batch=1)
    inputs = device.inputs_for(model, 1, None, 1.0)[0]
    zero = device.measure(model, "model", "cortex-m4", 1, inputs)
    slow = device.measure(model, "model", "cortex-m4", 1, inputs, part=parts.PARTS["stm32l4plus"])
    assert zero.equal
    assert slow.equal
    assert zero.total("waited") == zero.total("instruction_misses") == zero.total("data_misses") == 0
    assert slow.total("cycles") == zero.total("cycles") + slow.total("waited")
    assert slow.total("least") == zero.total("least") + slow.total("waited")
    assert slow.total("waited") == 5 * (slow.total("instruction_misses") + slow.total("data_misses"))
    assert slow.total("unaligned") == zero.total("unaligned")
    assert slow.to_dict()["milliseconds"] == pytest.approx(slow.total("cycles") / 120e3)


def test_layers_know_their_multiplications_and_limits():
    model = residual_network(batch=1)
    inputs = device.inputs_for(model, 1, None, 1.0)[0]
    for cpu, limit in (("cortex-m4", 2.0), ("cortex-m0plus", 1.0), ("cortex-m3", 1.0)):
        run = device.measure(model, "model", cpu, 1, inputs)
        assert {layer.limit for layer in run.layers} == {limit}
        assert run.total("multiplications") == device_runs.multiplications(model)
        assert all(0 < layer.speed < limit for layer in run.layers if layer.multiplications)
    assert cycles.most_multiplications("cortex-m0plus", 3) == 2 / (3 + 1)  # two products a MULS, and an addition
    for cpu in ("cortex-m0plus", "cortex-m0-small-multiplier"):  # not 2 / 33: a table of squares takes two loads
        assert cycles.most_multiplications(cpu, 32) == 1 / (2 * 2 + 2 + 2)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"cache_bytes": 1024}, "without --flash_wait_states"),
        ({"wait_states": 5}, "--flash_wait_states needs --flash_line_bytes"),
        ({"wait_states": 5, "line_bytes": 12}, "power of two from 4 on, got 12"),
        (
            {"wait_states": 5, "line_bytes": 16, "cache_bytes": 100},
            "--cache_bytes must be whole lines, of 16 bytes; got 100",
        ),
        ({"wait_states": 1, "line_bytes": 8, "data_cache_bytes": 48, "ways": 2}, "--data_cache_bytes must be"),
        (
            {"wait_states": 1, "line_bytes": 8, "data_cache_bytes": 64, "is_shared": True},
            "add --data_cache_bytes 0",
        ),
    ],
)
def test_memories_that_make_no_sense(given, reason):
    with pytest.raises(UsageError, match=reason):
        Flash(**given)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize(
    "toolchain",
    ["zig", pytest.param("gcc", marks=pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no gcc"))],
)
def test_loops_in_ram_do_not_wait(cpu, toolchain):
    model = residual_network(batch=1)
    inputs = device.inputs_for(model, 1, None, 1.0)[0]
    part = parts.Part(flash=Flash(5, 16))
    flash, ram = (
        device.measure(model, "m", cpu, 1, inputs, toolchain=toolchain, part=part, loops_in_ram=in_ram)
        for in_ram in (False, True)
    )
    assert flash.equal
    assert ram.equal
    assert ram.ram > flash.ram + 2000
    assert ram.total("instruction_misses") < flash.total("instruction_misses") / 20
    # Calls across memories take an instruction or two more; all else is the same.
    difference = ram.total("cycles") - ram.total("waited") - flash.total("cycles") + flash.total("waited")
    assert abs(difference) < 0.02 * (flash.total("cycles") - flash.total("waited"))


def test_a_header_of_the_users_names_the_section(tmp_path):
    """NARROW_CONFIG reaches kernels in C, layers and assembly."""
    model = narrow(residual_network(batch=1), 1)[0]
    program = translate(model, "model", 1, core="cortex-m4")
    borders = Borders.of(program)
    header = b'#define NARROW_HOT_SECTION ".ramfunc"\n'
    files = program.files() | {borders.file: borders.header(), "narrow_config.h": header}
    config = ['-DNARROW_CONFIG="narrow_config.h"']
    built = firmware.link(
        "model", files, borders.function, borders.sizes, "cortex-m4", tmp_path, "zig", header=borders.file, flags=config
    )
    start, end = built.ram_code
    assert start == RAM
    names = [
        "narrow_add",
        *map(program.layer, program.steps),
        *(n for n in built.symbols if n.startswith("narrow_tile")),
    ]
    assert len(names) > 8
    assert all(start <= built.function(name) < end for name in names)
    assert not start <= built.symbols["firmware_infer"] < end
