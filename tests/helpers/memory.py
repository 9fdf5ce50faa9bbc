# SPDX-License-Identifier: Apache-2.0
"""Memory beside pages that nobody may touch, and calls of C that end in a failure instead of the process."""

import ctypes
import functools
import mmap
import pathlib
import signal
import subprocess
import tempfile

import numpy as np

ARGUMENTS = 16
_PAGE = mmap.PAGESIZE
# A sanitizer's trap is SIGILL or SIGTRAP. Integers and pointers have the same place in a call whatever their width.
_SOURCE = f"""
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

static sigjmp_buf before;
static void *volatile address;

static void caught(int number, siginfo_t *info, void *context) {{
  (void)context;
  address = info->si_addr;
  siglongjmp(before, number);
}}

int guarded_call(void (*function)({", ".join(["int64_t"] * ARGUMENTS)}), const int64_t *a, void **where) {{
  static const int signals[] = {{SIGSEGV, SIGBUS, SIGILL, SIGTRAP}};
  struct sigaction others[4], ours = {{.sa_sigaction = caught, .sa_flags = SA_SIGINFO}};
  for (int i = 0; i < 4; ++i) sigaction(signals[i], &ours, &others[i]);
  const int number = sigsetjmp(before, 1);
  if (number == 0) function({", ".join(f"a[{i}]" for i in range(ARGUMENTS))});
  for (int i = 0; i < 4; ++i) sigaction(signals[i], &others[i], 0);
  *where = address;
  return number;
}}
"""


class Memory:
    """`size` bytes that touch an inaccessible page; what else there is on their own pages must survive a call.

    Attributes:
      data: uint8 [size], at first all `filling`.
      address: where it begins.
    """

    def __init__(self, size: int, behind: bool, filling: int, alignment: int = 1):
        """behind: whether the page is behind the bytes (up to `alignment` - 1 further on), else before them."""
        inner = -(-max(size, 1) // _PAGE) * _PAGE
        self._map = mmap.mmap(-1, inner + 2 * _PAGE)
        pages = np.frombuffer(self._map, np.uint8)
        self._base, self._inner, self._filling = pages.ctypes.data + _PAGE, pages[_PAGE:-_PAGE], filling
        self._inner[:] = filling
        start = (inner - size) // alignment * alignment if behind else 0
        self.address, self.data = self._base + start, self._inner[start : start + size]
        self._around = self._inner[:start], self._inner[start + size :]
        _protect(self._base - _PAGE, _PAGE, 0)
        _protect(self._base + inner, _PAGE, 0)

    @classmethod
    def of(cls, content: np.ndarray, behind: bool, filling: int) -> "Memory":
        """A copy of an array that cannot be written."""
        memory = cls(content.nbytes, behind, filling, content.itemsize)
        memory.data[:] = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
        _protect(memory._base, memory._inner.size, mmap.PROT_READ)
        return memory

    def distance(self, address: int) -> int | None:
        """Of an address on its pages or the inaccessible ones from its first byte, else None."""
        beyond = not self._base - _PAGE <= address < self._base + self._inner.size + _PAGE
        return None if beyond else address - self.address

    def check(self, name: str) -> None:
        before, after = ((part != self._filling).any() for part in self._around)
        assert not before, f"{name}: written before its start"
        assert not after, f"{name}: written behind its end"


def call(function, arguments: list[int], memories: dict[str, Memory]) -> None:
    """Calls a C function of integers and pointers that returns nothing.

    Raises:
      AssertionError: it has undefined behaviour that a sanitizer traps, or it touched what is not in the memories.
    """
    assert len(arguments) <= ARGUMENTS
    values = (ctypes.c_int64 * ARGUMENTS)(*arguments)
    where = ctypes.c_void_p()
    number = _library().guarded_call(function, values, ctypes.byref(where))
    if number in (signal.SIGILL, signal.SIGTRAP):
        raise AssertionError(f"{function.__name__}: undefined behaviour, trapped by the sanitizer")
    if number:
        places = {name: memory.distance(where.value or 0) for name, memory in memories.items()}
        found = [
            f"byte {at} of {name}, which has {memories[name].data.size}"
            for name, at in places.items()
            if at is not None
        ]
        raise AssertionError(f"{function.__name__}: touches {' '.join(found) or hex(where.value or 0)}")
    for name, memory in memories.items():
        memory.check(name)


def _protect(address: int, size: int, access: int) -> None:
    failed = ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), access)
    assert not failed, "mprotect failed"


@functools.cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        source, library = pathlib.Path(folder, "guard.c"), pathlib.Path(folder, "guard.so")
        source.write_text(_SOURCE)
        subprocess.run(["gcc", "-std=c99", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        return ctypes.CDLL(str(library))
