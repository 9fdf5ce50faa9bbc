# SPDX-License-Identifier: Apache-2.0
"""Runs firmware in the Unicorn emulator, in process, and counts every basic block."""

import ctypes
import dataclasses
import functools
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import unicorn
from unicorn import arm_const, riscv_const
from unicorn.unicorn_py3 import unicorn as binding

from benchmarks import riscv_cycles
from benchmarks.emulators.boards import board_of
from benchmarks.emulators.execution import Block, EngineError, Execution
from benchmarks.emulators.firmware import Firmware
from benchmarks.emulators.flash import NO_WAIT, Flash, Replay, Stalls, unaligned_cycles
from benchmarks.emulators.isa import isa_of
from tflm_export import cores

_PAGES = 22  # memory is mapped in pieces of 4 MB
_DEVICE = 4096  # bytes of a device; plain memory here: the console is not busy, and SysTick stands still
_SYSTEM_CONTROL = 0xE000E000
_STACK_CHECKED = 64 << 10
_PAINT = 0xA5


class _Lines(ctypes.Structure):
    """line_cache in block_counter.c."""

    _fields_ = [("sets", ctypes.c_uint64), ("ways", ctypes.c_uint64), ("lines", ctypes.c_void_p)]


_WORDS = (
    "base", "halfwords", "ram_base", "ram_halfwords", "layers", "entries", "continued", "sizes", "layer", "previous",
    "previous_end", "conflicts", "held", "code", "flash", "flash_end", "wait_states", "line_shift", "prefetch",
)  # fmt: skip
_LATER_WORDS = (
    "data", "current", "begun", "aligned_only", "faults", "fault_address", "conditional", "status", "timing",
    "factors", "branches", "predicted", "reg_read", "reg_write",
)  # fmt: skip
_CONSTANTS = {"arm": arm_const, "riscv": riscv_const}


class _Counter(ctypes.Structure):
    """block_counter in block_counter.c."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in _WORDS),
        ("instructions", _Lines),
        ("constants", _Lines),
        *((name, ctypes.c_uint64) for name in _LATER_WORDS),
    ]


class _ZbAccess(ctypes.Structure):
    """zb_access in zb_instructions.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("reg_read", "reg_write", "mem_read", "emu_stop")]
    _fields_ += [(name, ctypes.c_uint64) for name in ("pc", "unknown")]


_NOWHERE = (1 << 64) - 1
_IT_STATE = 3 << 25 | 63 << 10  # of XPSR
_STALLS = tuple(field.name for field in dataclasses.fields(Stalls))  # as in block_counter.c
_ALIGNED_ONLY = {11, 12, 16}  # Tag_CPU_arch of ARMv6-M and ARMv8-M Baseline, where other accesses fault


@functools.cache
def _native_hooks() -> ctypes.CDLL | None:
    """The hooks in C, 100 times faster than those in Python; None where they cannot be built."""
    sources = [str(pathlib.Path(__file__).with_name(name)) for name in ("block_counter.c", "zb_instructions.c")]
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder) / "block_counter.so"
        command = [sys.executable, "-m", "ziglang", "cc", "-O2", "-shared", "-fPIC", "-o", str(library), *sources]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode or not library.exists():
            return None
        return ctypes.CDLL(str(library))


def _unicorn_function(name: str) -> int | None:
    """The address of uc_NAME."""
    return ctypes.cast(getattr(binding.uclib, f"uc_{name}"), ctypes.c_void_p).value


class Machine:
    """A board with firmware.

    Args:
      firmware: what it runs.
      layers: names of functions; what runs from the entry of one to that of the next counts under its number, from 1.
      native: count in C where possible.
      flash: how long code and constants outside of RAM take.
      timing: what of a RISC-V core's cycles depends on more than the basic block, `Timing.history`; native only.
    """

    def __init__(
        self, firmware: Firmware, layers: list[str], native: bool = True, flash: Flash = NO_WAIT, timing: int = 0
    ):  # fmt: skip
        self.firmware, self.flash = firmware, flash
        self._isa, self._core = isa_of(firmware.cpu), cores.find(firmware.cpu)
        self._engine = engine = self._loaded()
        self._stack_top = firmware.symbols["firmware_stack"]
        start, end = firmware.code_start, firmware.code_end
        ram_start, ram_end = firmware.ram_code
        halfwords, ram_halfwords = (end - start + 1) // 2, (ram_end - ram_start + 1) // 2
        self._counter = _Counter(start, halfwords, ram_start, ram_halfwords, previous_end=_NOWHERE)
        length = halfwords + ram_halfwords
        self._marks = np.zeros(length, np.uint8)
        for number, name in enumerate(layers, 1):
            self._marks[self._place(firmware.function(name))] = number
        self._entries = np.zeros((len(layers) + 1, length), np.uint64)
        self._continued = np.zeros_like(self._entries)
        self._sizes = np.zeros(length, np.uint32)
        self._held = np.zeros((len(layers) + 1, len(_STALLS)), np.int64)
        self._factors, self._branches = np.zeros(length, np.uint8), np.zeros(length, np.uint8)
        self._code = np.zeros(length, np.uint16)
        self._code[:halfwords] = np.frombuffer(bytes(engine.mem_read(start, 2 * halfwords)), np.uint16)
        self._aligned_only = set(self._core.architectures) <= _ALIGNED_ONLY  # and RISC-V, as Hazard3 has it
        self._replay = Replay(flash, start, end, self._isa)
        self._counter.timing, self._counter.predicted = timing, _NOWHERE
        self._kept = [np.zeros(flash.sets(size), np.uint32) for size in (flash.cache_bytes, flash.data_cache_bytes)]
        self.is_native = native and _native_hooks() is not None
        self._zb = _ZbAccess()
        self._hooks = self._native() if self.is_native else self._slow()
        self.reset()
        self.forget()

    def _loaded(self) -> unicorn.Uc:
        """An emulator with the program in its memory."""
        firmware = self.firmware
        # UC_MODE_MCLASS alone would silently mean a Cortex-M33; the M0 runs all of ARMv6-M.
        constants = _CONSTANTS[self._core.isa]
        arch, mode, models, registers = self._isa.unicorn
        model = getattr(constants, f"{models}{self._core.unicorn}")
        engine = unicorn.Uc(getattr(unicorn, arch), getattr(unicorn, mode), model)
        names = (self._isa.stack, self._isa.link, self._isa.counter)
        self._sp, self._lr, self._pc = (getattr(constants, registers + name) for name in names)
        stack = firmware.symbols["firmware_stack"]
        areas = [*firmware.memory, (stack - _STACK_CHECKED, stack)]
        areas += [(address, address + len(content)) for address, content in firmware.segments]
        for page in sorted({p for start, end in areas for p in range(start >> _PAGES, ((end - 1) >> _PAGES) + 1)}):
            engine.mem_map(page << _PAGES, 1 << _PAGES)
        devices = (board_of(firmware.cpu).uart, *([_SYSTEM_CONTROL] if self._core.isa == "arm" else []))
        for device in devices:
            engine.mem_map(device, _DEVICE)
        for address, content in firmware.segments:
            engine.mem_write(address, content)
        return engine

    def _place(self, address: int) -> int | None:
        """The number of a halfword of code, None where there is none."""
        counter = self._counter
        if 0 <= address - counter.base < 2 * counter.halfwords:
            return (address - counter.base) // 2
        if 0 <= address - counter.ram_base < 2 * counter.ram_halfwords:
            return counter.halfwords + (address - counter.ram_base) // 2
        return None

    def _address(self, place: int) -> int:
        """Where the halfword of a number stands."""
        counter = self._counter
        in_ram = place - counter.halfwords
        return counter.base + 2 * place if in_ram < 0 else counter.ram_base + 2 * in_ram

    def _native(self) -> list:
        """Hooks of block_counter.c; what they hold on to."""
        counter, flash = self._counter, self.flash
        for name in ("marks", "entries", "continued", "sizes", "held", "code", "factors", "branches"):
            setattr(counter, name.replace("marks", "layers"), getattr(self, f"_{name}").ctypes.data)
        counter.flash, counter.flash_end = self.firmware.code_start, self.firmware.code_end
        counter.wait_states, counter.prefetch = flash.wait_states, flash.prefetch
        counter.line_shift = max(flash.line_bytes, 1).bit_length() - 1
        counter.aligned_only = self._aligned_only
        counter.status = arm_const.UC_ARM_REG_XPSR if self._core.isa == "arm" else 0
        for name in ("reg_read", "reg_write"):
            setattr(counter, name, _unicorn_function(name))
        counter.instructions, counter.constants = (_Lines(*k.shape, k.ctypes.data) for k in self._kept)
        data = _Counter.instructions if flash.is_shared else _Counter.constants
        counter.data = ctypes.addressof(counter) + data.offset
        kinds = {"block": unicorn.UC_HOOK_BLOCK, "read": unicorn.UC_HOOK_MEM_READ, "write": unicorn.UC_HOOK_MEM_WRITE}
        if self._core.extensions & {"zba", "zbb"}:
            functions = ("reg_read", "reg_write", "mem_read", "emu_stop")
            self._zb = _ZbAccess(*map(_unicorn_function, functions), self._pc)
            self._add_native_hook(unicorn.UC_HOOK_INTR, "zb_instruction", self._zb)
        if counter.timing & riscv_cycles.MULTIPLIER:
            kinds["instruction"] = unicorn.UC_HOOK_CODE
        return [self._add_native_hook(kind, f"count_{name}") for name, kind in kinds.items()]

    def _add_native_hook(self, kind: int, name: str, data: ctypes.Structure | None = None) -> ctypes.c_size_t:
        handle = ctypes.c_size_t()
        error = binding.uclib.uc_hook_add(
            self._engine._uch,
            ctypes.byref(handle),
            kind,
            ctypes.cast(getattr(_native_hooks(), name), ctypes.c_void_p),
            ctypes.byref(self._counter if data is None else data),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if error:
            raise unicorn.UcError(error)
        return handle

    def _slow(self) -> list:
        """The same hooks in Python."""
        engine = self._engine
        return [
            engine.hook_add(unicorn.UC_HOOK_BLOCK, self._count),
            engine.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._access),
        ]

    def _count(self, engine, address: int, size: int, data) -> None:
        """What count_block in block_counter.c does."""
        counter, at = self._counter, self._place(address)
        if at is None or self._sizes[at] not in (0, size):
            counter.conflicts += 1
            return
        if address == counter.previous_end:
            self._continued.reshape(-1)[counter.previous] += np.uint64(1)
        counter.layer = int(self._marks[at]) or counter.layer
        self._sizes[at] = size
        counter.previous = counter.layer * len(self._sizes) + at
        counter.previous_end = address + size
        self._entries.reshape(-1)[counter.previous] += np.uint64(1)
        code = self._code[at : at + size // 2].tobytes()
        self._hold("instruction_misses", *self._replay.fetch(address, code))

    def _access(self, engine, access: int, address: int, size: int, value: int, data) -> None:
        """What count_read and count_write in block_counter.c do."""
        status = engine.reg_read(arm_const.UC_ARM_REG_XPSR) if self._core.isa == "arm" else 0
        if status & _IT_STATE:
            engine.reg_write(arm_const.UC_ARM_REG_XPSR, status & ~_IT_STATE)
        cycles = unaligned_cycles(address, size)
        if cycles and self._aligned_only:
            self._counter.faults += 1
            self._counter.fault_address = address
        if access == unicorn.UC_MEM_READ:
            self._hold("data_misses", *self._replay.read(address, size))
        self._held[self._counter.layer, _STALLS.index("unaligned")] += np.int64(cycles)

    def _hold(self, which: str, misses: int, waited: int) -> None:
        held = self._held[self._counter.layer]
        held[_STALLS.index(which)] += np.int64(misses)
        held[_STALLS.index("waited")] += np.int64(waited)

    def _start(self, function: str, until: str = "firmware_idle") -> None:
        symbols, engine, counter = self.firmware.symbols, self._engine, self._counter
        idle = symbols["firmware_idle"]
        counter.layer, counter.previous_end, counter.current, counter.begun = 0, _NOWHERE, 0, 0
        self._replay.forget()
        for lines in self._kept:
            lines[:] = 0
        bit = self._isa.code_bit
        engine.reg_write(self._sp, self._stack_top)
        engine.reg_write(self._lr, idle | bit)
        try:
            engine.emu_start(symbols[function] | bit, symbols[until])
        except unicorn.UcError as error:
            at = engine.reg_read(self._pc)
            may = "; loads and stores must be aligned there" if self._aligned_only else ""
            raise EngineError(f"{self.firmware.path.name} faulted in Unicorn at {at:#x}: {error}{may}") from error
        if self._zb.unknown:
            raise EngineError(
                f"{self.firmware.path.name} faulted in Unicorn at {self._zb.unknown - 1:#x}: no instruction"
            )
        if counter.conflicts:
            raise EngineError(f"{counter.conflicts} basic blocks could not be counted")
        if counter.faults:
            raise EngineError(
                f"{counter.faults} loads and stores of {self.firmware.path.name} fault on a {self.firmware.cpu}: their "
                f"addresses are no multiples of their sizes, the last one {counter.fault_address:#x}"
            )

    def reset(self) -> None:
        """Puts data in place, without an inference where the program can be stopped before."""
        self._start("firmware_reset", "firmware_main" if "firmware_main" in self.firmware.symbols else "firmware_idle")
        counter = self._counter
        loaded = bytes(self._engine.mem_read(counter.ram_base, 2 * counter.ram_halfwords))
        self._code[counter.halfwords :] = np.frombuffer(loaded, np.uint16)

    def forget(self) -> None:
        """Sets all counts to 0 and paints the stack."""
        self._entries[:], self._continued[:], self._held[:] = 0, 0, 0
        self._engine.mem_write(self._stack_top - _STACK_CHECKED, bytes([_PAINT]) * _STACK_CHECKED)

    def infer(self, x: np.ndarray, output_size: int) -> np.ndarray:
        """One inference: int8 input to int8 [output_size]."""
        symbols = self.firmware.symbols
        self._engine.mem_write(symbols["firmware_input"], np.ascontiguousarray(x, np.int8).tobytes())
        self._start("firmware_infer")
        return np.frombuffer(bytes(self._engine.mem_read(symbols["firmware_output"], output_size)), np.int8)

    @property
    def stack(self) -> int:
        """Bytes of stack that were ever written since `forget`."""
        memory = np.frombuffer(bytes(self._engine.mem_read(self._stack_top - _STACK_CHECKED, _STACK_CHECKED)), np.uint8)
        touched = np.flatnonzero(memory != _PAINT)
        return _STACK_CHECKED - int(touched[0]) if touched.size else 0

    def blocks(self) -> list[Block]:
        """All blocks that ran since `forget`."""
        found = []
        for layer, at in np.argwhere(self._entries).tolist():
            address = self._address(at)
            code = bytes(self._engine.mem_read(address, int(self._sizes[at])))
            found.append(Block(layer, address, code, int(self._entries[layer, at]), int(self._continued[layer, at])))
        return found

    @property
    def stalls(self) -> list[Stalls]:
        """What held the core up since `forget`, by layer; those before the first one in front."""
        return [Stalls(*row) for row in self._held.tolist()]


def execute(
    firmware: Firmware, layers: list[str], inputs: np.ndarray, size: int, flash: Flash = NO_WAIT, timing: int = 0
) -> Execution:  # fmt: skip
    """Inferences in process, after one that is not counted, nor seen by a program that keeps state.

    Args:
      firmware: what to run.
      layers: as for `Machine`.
      inputs: int8 [rows, ...].
      size: bytes of an output.
      flash, timing: as for `Machine`.

    Raises:
      EngineError: the program faults, or would on the core, or its basic blocks cannot be counted.
    """
    machine = Machine(firmware, layers, flash=flash, timing=timing)
    machine.infer(inputs[0], size)  # the first may set things up
    if firmware.keeps_state:
        machine.reset()
    machine.forget()
    outputs = np.stack([machine.infer(row, size) for row in inputs])
    return Execution(outputs, blocks=machine.blocks(), stack=machine.stack, stalls=machine.stalls)
