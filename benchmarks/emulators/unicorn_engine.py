# SPDX-License-Identifier: Apache-2.0
"""Runs firmware in the Unicorn emulator, in process, and counts every basic block."""

import ctypes
import functools
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import unicorn
from unicorn import arm_const
from unicorn.unicorn_py3 import unicorn as binding

from benchmarks.emulators.boards import board_of
from benchmarks.emulators.execution import Block, EngineError, Execution
from benchmarks.emulators.firmware import Firmware
from tflm_export import cores

_PAGES = 22  # memory is mapped in pieces of 4 MB
_DEVICE = 4096  # bytes of a device; plain memory here: the console is not busy, and SysTick stands still
_SYSTEM_CONTROL = 0xE000E000
_STACK_CHECKED = 64 << 10
_PAINT = 0xA5


class _Counter(ctypes.Structure):
    """block_counter in block_counter.c."""

    _fields_ = [
        ("base", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("layers", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("continued", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        ("layer", ctypes.c_uint64),
        ("previous", ctypes.c_uint64),
        ("previous_end", ctypes.c_uint64),
        ("conflicts", ctypes.c_uint64),
    ]


_NOWHERE = (1 << 64) - 1


@functools.cache
def _native_hook():
    """The hook in C, 100 times faster than one in Python; None where it cannot be built."""
    source = pathlib.Path(__file__).with_name("block_counter.c")
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder) / "block_counter.so"
        command = [sys.executable, "-m", "ziglang", "cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode or not library.exists():
            return None
        return ctypes.CDLL(str(library)).count_block


class Machine:
    """A board with firmware.

    Args:
      firmware: what it runs.
      layers: names of functions; what runs from the entry of one to that of the next counts under its number, from 1.
      native: count in C where possible.
    """

    def __init__(self, firmware: Firmware, layers: list[str], native: bool = True):
        self.firmware = firmware
        # UC_MODE_MCLASS alone would silently mean a Cortex-M33; the M0 runs all of ARMv6-M.
        model = getattr(arm_const, f"UC_CPU_ARM_{cores.find(firmware.cpu).unicorn}")
        self._engine = engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB, model)
        self._stack_top = stack = firmware.symbols["firmware_stack"]
        areas = [*firmware.memory, (stack - _STACK_CHECKED, stack)]
        areas += [(address, address + len(content)) for address, content in firmware.segments]
        for page in sorted({p for start, end in areas for p in range(start >> _PAGES, ((end - 1) >> _PAGES) + 1)}):
            engine.mem_map(page << _PAGES, 1 << _PAGES)
        for device in (board_of(firmware.cpu).uart, _SYSTEM_CONTROL):
            engine.mem_map(device, _DEVICE)
        for address, content in firmware.segments:
            engine.mem_write(address, content)
        self._base = firmware.code_start
        length = (firmware.code_end - self._base + 1) // 2
        self._marks = np.zeros(length, np.uint8)
        for number, name in enumerate(layers, 1):
            self._marks[(firmware.function(name) - self._base) // 2] = number
        self._entries = np.zeros((len(layers) + 1, length), np.uint64)
        self._continued = np.zeros_like(self._entries)
        self._sizes = np.zeros(length, np.uint32)
        self._counter = _Counter(
            self._base,
            length,
            *(a.ctypes.data for a in (self._marks, self._entries, self._continued, self._sizes)),
            previous_end=_NOWHERE,
        )
        self.is_native = native and _native_hook() is not None
        self._hook = self._add_native_hook() if self.is_native else engine.hook_add(unicorn.UC_HOOK_BLOCK, self._count)
        self.reset()
        self.forget()

    def _add_native_hook(self):
        handle = ctypes.c_size_t()
        error = binding.uclib.uc_hook_add(
            self._engine._uch,
            ctypes.byref(handle),
            unicorn.UC_HOOK_BLOCK,
            ctypes.cast(_native_hook(), ctypes.c_void_p),
            ctypes.byref(self._counter),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if error:
            raise unicorn.UcError(error)
        return handle

    def _count(self, engine, address: int, size: int, data) -> None:
        """What count_block in block_counter.c does."""
        counter, at = self._counter, (address - self._base) // 2
        if not 0 <= at < counter.length or self._sizes[at] not in (0, size):
            counter.conflicts += 1
            return
        if address == counter.previous_end:
            self._continued.reshape(-1)[counter.previous] += np.uint64(1)
        counter.layer = int(self._marks[at]) or counter.layer
        self._sizes[at] = size
        counter.previous = counter.layer * counter.length + at
        counter.previous_end = address + size
        self._entries.reshape(-1)[counter.previous] += np.uint64(1)

    def _start(self, function: str, until: str = "firmware_idle") -> None:
        symbols, engine = self.firmware.symbols, self._engine
        idle = symbols["firmware_idle"]
        self._counter.layer, self._counter.previous_end = 0, _NOWHERE
        engine.reg_write(arm_const.UC_ARM_REG_SP, self._stack_top)
        engine.reg_write(arm_const.UC_ARM_REG_LR, idle | 1)
        engine.emu_start(symbols[function] | 1, symbols[until])
        if self._counter.conflicts:
            raise EngineError(f"{self._counter.conflicts} basic blocks could not be counted")

    def reset(self) -> None:
        """Puts data in place, without an inference where the program can be stopped before."""
        self._start("firmware_reset", "firmware_main" if "firmware_main" in self.firmware.symbols else "firmware_idle")

    def forget(self) -> None:
        """Sets all counts to 0 and paints the stack."""
        self._entries[:], self._continued[:] = 0, 0
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
            address = self._base + 2 * at
            code = bytes(self._engine.mem_read(address, int(self._sizes[at])))
            found.append(Block(layer, address, code, int(self._entries[layer, at]), int(self._continued[layer, at])))
        return found


def execute(firmware: Firmware, layers: list[str], inputs: np.ndarray, size: int) -> Execution:
    """Inferences in process, after one that is not counted, nor seen by a program that keeps state.

    Args:
      firmware: what to run.
      layers: as for `Machine`.
      inputs: int8 [rows, ...].
      size: bytes of an output.

    Raises:
      EngineError: the program faults, or its basic blocks cannot be counted.
    """
    try:
        machine = Machine(firmware, layers)
        machine.infer(inputs[0], size)  # the first may set things up
        if firmware.keeps_state:
            machine.reset()
        machine.forget()
        outputs = np.stack([machine.infer(row, size) for row in inputs])
    except unicorn.UcError as error:
        raise EngineError(f"{firmware.path.name} faulted in Unicorn: {error}") from error
    return Execution(outputs, blocks=machine.blocks(), stack=machine.stack)
