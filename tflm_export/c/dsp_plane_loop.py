# SPDX-License-Identifier: Apache-2.0
"""The loop over the outputs of one plane in assembly of the DSP extension: see c/dsp_planes.py."""

import dataclasses
from collections.abc import Iterable, Iterator

LARGEST_OFFSET = 4095  # of a load, a store or an addition, bytes
TILE = 4  # outputs at a time
RESIDENT = ("r8", "r9", "r10", "r11", "r12", "lr")  # where all weights fit
STREAMED = ("r8", "r9", "r10", "r11")  # a piece of them, else
_SUMS = ("r4", "r5", "r6", "r7")
_LONGEST = 100  # instructions of the taps of a tile that are written out: with another one, less than a cache of 1 KiB
_START, _SHIFT, _MULTIPLIER, _FOLD, _ROWS, _END, _WEIGHTS, _FRAME = range(0, 32, 4)  # offsets on the stack
_FIELDS = {"SUM": 1, "SHIFT": 2, "MULTIPLY": 4, "STOCK": 4}
_REFILL = 2  # cycles of a taken branch, beyond its own

Word = tuple[int, int | None]  # the taps in its lower and its upper half


@dataclasses.dataclass(frozen=True)
class PlaneLoop:
    """What the loop over one plane is made for.

    Attributes:
      end: "SHIFT", "MULTIPLY", "STOCK" or "SUM", as of narrow_tile_kernel.
      rows: of the kernel.
      pieces: the words of weights of each of its rows; those of a piece are in registers at the same time.
      stride, dilation: along a row, in inputs.
      tap_row, stride_row: bytes from tap to tap and from window to window down the plane.
      outputs: in a row.
      output_row, output_column: bytes from output to output.
    """

    end: str
    rows: int
    pieces: tuple[tuple[Word, ...], ...]
    stride: int
    dilation: int
    tap_row: int
    stride_row: int
    outputs: int
    output_row: int
    output_column: int

    @property
    def fields(self) -> int:
        """Words of a record before its weights."""
        return _FIELDS[self.end]

    @property
    def is_resident(self) -> bool:
        """Whether all weights stay in registers."""
        return self.rows * sum(map(len, self.pieces)) <= len(RESIDENT)

    @property
    def row_words(self) -> int:
        """Words of weights from row to row of the kernel: an even number where they are loaded row by row."""
        words = sum(map(len, self.pieces))
        return words if self.is_resident else words + words % 2

    @property
    def bytes_words(self) -> int:
        """Words of a record that have all weights, as bytes."""
        return -(-self.rows * self.row_words // 2)

    @property
    def record(self) -> int:
        """Words of a record."""
        return self.fields + self.bytes_words

    @property
    def fits(self) -> bool:
        """Whether all offsets fit their instructions."""
        outputs = min(self.outputs, TILE)
        inputs = max(word for piece in self.pieces for word in self._meetings(piece, outputs)) * 4
        inputs += self._x_base + (0 if self._is_looped else (self.rows - 1) * self.tap_row)
        return max(inputs, self.tap_row, (outputs - 1) * self.output_column) <= LARGEST_OFFSET

    def assembly(self) -> list[str]:
        """The instructions of the kernel, r0: plane, r1: output, r2: record, r3: rows."""
        lines = ["push {r4-r11, lr}", f"sub sp, sp, #{_FRAME}", f"str r3, [sp, #{_ROWS}]"]
        held = _SUMS[: self.fields]
        lines += [_load_all("r2", held), *(f"str {r}, [sp, #{4 * i}]" for i, r in enumerate(held))]
        weights = RESIDENT[: self.rows * self.row_words]
        lines += _weights("r2", weights) if self.is_resident else [f"str r2, [sp, #{_WEIGHTS}]"]
        row, _ = self._row()
        return [*lines, "1:", *row, f"add sp, sp, #{_FRAME}", "pop {r4-r11, pc}"]

    @property
    def row_cycles(self) -> int:
        """Of a row of outputs, about."""
        return self._row()[1]

    @property
    def _x_base(self) -> int:
        """Bytes of input before the last outputs of a row, where r0 stays at its begin."""
        return 2 * TILE * self.stride if self.outputs // TILE == 1 else 0

    def _row(self) -> tuple[list[str], int]:
        tiles, rest = divmod(self.outputs, TILE)
        step_x, step_y = 2 * TILE * self.stride, TILE * self.output_column
        lines, cycles = [], 0
        moves = tiles > 1 or step_y + (rest - 1) * self.output_column > LARGEST_OFFSET  # r1, behind a tile
        if tiles > 1:
            tile = [*self._tile(TILE, 0, 0), *_add("r0", step_x), *self._ending(TILE, 0), *_add("r1", step_y)]
            tile += [f"ldr r2, [sp, #{_END}]", "cmp r0, r2", "bne 2b"]
            lines += [*_add("r2", tiles * step_x, "r0"), f"str r2, [sp, #{_END}]", "2:", *tile]
            cycles += 3 + tiles * (_cycles(tile) + self._repeated)
        elif tiles:
            tile = [*self._tile(TILE, 0, 0), *self._ending(TILE, 0), *(_add("r1", step_y) if moves else [])]
            lines += tile
            cycles += _cycles(tile) + self._repeated
        at_x, at_y = (0, 0) if tiles > 1 else (tiles * step_x, 0 if moves else tiles * step_y)
        if rest:
            tile = [*self._tile(rest, at_x, 0), *self._ending(rest, at_y)]
            lines += tile
            cycles += _cycles(tile) + self._repeated
        passed_x, passed_y = (tiles if tiles > 1 else 0) * step_x, (tiles if moves else 0) * step_y
        end = [*_add("r0", self.stride_row - passed_x), *_add("r1", self.output_row - passed_y)]
        end += [f"ldr r2, [sp, #{_ROWS}]", "subs r2, r2, #1", f"str r2, [sp, #{_ROWS}]", "bne 1b"]
        return lines + end, cycles + _cycles(end)

    @property
    def _is_looped(self) -> bool:
        """Whether the rows of the kernel are a loop."""
        return not self.is_resident and self.rows > 1 and self.rows * len(self._taps(TILE, 0, 0)) > _LONGEST

    @property
    def _repeated(self) -> int:
        """Cycles of the second row of the kernel and those behind it, of a tile, where they are a loop."""
        return (self.rows - 1) * (_cycles(self._taps(TILE, 0, 0)) + 5) if self._is_looped else 0

    def _tile(self, outputs: int, x_base: int, row: int) -> list[str]:
        """The sums of a few outputs that are next to one another."""
        if self._is_looped:
            sums = _SUMS[:outputs]
            start = [f"ldr {sums[0]}, [sp, #{_START}]", f"ldr r12, [sp, #{_WEIGHTS}]"]
            start += [*(f"mov {sum_}, {sums[0]}" for sum_ in sums[1:]), *_add("lr", 4 * self.bytes_words, "r12"), "3:"]
            body = [*self._taps(outputs, x_base, 0), *_add("r0", self.tap_row), "cmp r12, lr", "bne 3b"]
            return [*start, *body, *_add("r0", -self.rows * self.tap_row)]
        taps = [line for row in range(self.rows) for line in self._taps(outputs, x_base, row)]
        weights = [] if self.is_resident else [f"ldr r12, [sp, #{_WEIGHTS}]"]
        return [*weights, *_started(taps, outputs)]

    def _taps(self, outputs: int, x_base: int, row: int) -> list[str]:
        """What one row of the kernel adds to a few sums."""
        lines: list[str] = []
        for piece in self.pieces:
            held = STREAMED[: len(piece)]
            if self.is_resident:
                held = RESIDENT[row * len(piece) : (row + 1) * len(piece)]
            else:
                lines += _weights("r12", held)
            offset = x_base + row * self.tap_row
            meetings = sorted(self._meetings(piece, outputs).items())
            for first in range(0, len(meetings), 2):
                two = list(zip(("r2", "r3"), meetings[first : first + 2], strict=False))
                lines += [f"ldr {x}, [r0, #{offset + 4 * word}]" for x, (word, _) in two]
                lines += [
                    f"{operation} {_SUMS[i]}, {x}, {held[weight]}, {_SUMS[i]}"
                    for x, (_, found) in two
                    for operation, i, weight in found
                ]
        return lines

    def _meetings(self, piece: tuple[Word, ...], outputs: int) -> dict[int, list[tuple[str, int, int]]]:
        """By word of inputs: (instruction, output, word of weights) of all products with its two inputs."""
        found: dict[int, list[tuple[str, int, int]]] = {}
        places = {tap: (w, half) for w, word in enumerate(piece) for tap, half in zip(word, "bt", strict=True)}
        for i in range(outputs):
            at = {self.stride * i + self.dilation * tap: tap for tap in places if tap is not None}
            for word in sorted({position // 2 for position in at}):
                both = at.get(2 * word), at.get(2 * word + 1)
                products = found.setdefault(word, [])
                if both in piece:
                    products.append(("smlad", i, piece.index(both)))
                    continue
                for tap, half in zip(both, "bt", strict=True):
                    if tap is not None:
                        weight, own = places[tap]
                        products.append((f"smla{half}{own}", i, weight))
        return found

    def _ending(self, outputs: int, y_base: int) -> list[str]:
        """Outputs from their sums, and where they go."""
        sums = _SUMS[:outputs]
        lines = list(_SCALED[self.end](sums))
        if self.end != "SUM":
            lines.append(f"ldr r2, [sp, #{_SHIFT}]")
            lines += [line for s in sums for line in (f"asrs {s}, {s}, r2", f"ssat {s}, #8, {s}")]
        store = "str" if self.end == "SUM" else "strb"
        return lines + [f"{store} {s}, [r1, #{y_base + i * self.output_column}]" for i, s in enumerate(sums)]


def _multiplied(sums: Iterable[str]) -> Iterator[str]:
    yield from (f"ldr r2, [sp, #{_MULTIPLIER}]", f"ldr r3, [sp, #{_FOLD}]")
    yield from (f"mla {s}, {s}, r2, r3" for s in sums)


def _doubled(sums: Iterable[str]) -> Iterator[str]:
    """Twice the sum times the multiplier, its upper word rounded, less 1 if negative, and the fold."""
    yield from (f"ldr r2, [sp, #{_MULTIPLIER}]", f"ldr r3, [sp, #{_FOLD}]")
    for s in sums:
        yield from (f"lsls {s}, {s}, #1", f"smmulr {s}, {s}, r2", f"add {s}, {s}, {s}, asr #31", f"adds {s}, {s}, r3")


_SCALED = {"SUM": lambda sums: (), "SHIFT": lambda sums: (), "MULTIPLY": _multiplied, "STOCK": _doubled}


def _started(taps: list[str], outputs: int) -> list[str]:
    """Instructions whose sums begin with the start value: in the register of the sum that comes last, until then."""
    pending = list(dict.fromkeys(line.split(", ")[-1] for line in taps if line.startswith("smla")))
    last = pending[-1]
    lines = [f"ldr {last}, [sp, #{_START}]"]
    for line in taps:
        sum_ = line.split(", ")[-1]
        if line.startswith("smla") and sum_ in pending:
            pending.remove(sum_)
            line = f"{line[: -len(sum_)]}{last}"
        lines.append(line)
    return lines


def _load_all(base: str, registers: tuple[str, ...]) -> str:
    if len(registers) == 1:
        return f"ldr {registers[0]}, [{base}], #4"
    return f"ldm {base}!, {{{', '.join(registers)}}}"


def _weights(base: str, registers: tuple[str, ...]) -> list[str]:
    """Words of two weights from half as many of bytes: the first one from bytes 0 and 2, the second from 1 and 3."""
    pairs = [registers[i : i + 2] for i in range(0, len(registers), 2)]
    lines = [_load_all(base, tuple(pair[-1] for pair in pairs))]
    for pair in pairs:
        lines.append(f"sxtb16 {pair[0]}, {pair[-1]}")
        lines += [f"sxtb16 {pair[1]}, {pair[1]}, ror #8"] if len(pair) > 1 else []
    return lines


def _add(register: str, value: int, other: str = "") -> list[str]:
    """register = other + value; r2 is lost where the value is large."""
    name, size, other = "add" if value > 0 else "sub", abs(value), other or register
    if size <= LARGEST_OFFSET:
        return [f"{name} {register}, {other}, #{size}"] if size or other != register else []
    upper = [f"movt r2, #{size >> 16}"] if size >> 16 else []
    return [f"movw r2, #{size & 0xFFFF}", *upper, f"{name} {register}, {other}, r2"]


def _cycles(lines: list[str]) -> int:
    """Of instructions one after the other, backward branches taken; a load behind a load takes one cycle less."""
    cycles, loaded = 0, False
    for line in lines:
        name = line.split()[0]
        loads = name == "ldr"
        moved = line.count(",") if name == "ldm" else 0
        cycles += (1 if loaded else 2) if loads else 1 + moved
        cycles += _REFILL if name == "bne" else 0
        cycles -= line.endswith(":")
        loaded = loads
    return cycles
