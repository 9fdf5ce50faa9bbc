# SPDX-License-Identifier: Apache-2.0
"""The loop over the outputs of one plane in assembly of ARMv6-M: see c/pair_planes.py."""

import dataclasses
import re

TILE = 4  # outputs at a time
_LONGEST = 110  # instructions of the taps of a tile that are written out
_FARTHEST_WORD = 31  # of a load with an offset
_POOL = 1000  # bytes of code before its constants, at most
_NEAR = 110  # instructions that a conditional branch goes back over
_STACK = {"start": 0, "multiplier": 4, "fold": 8, "shift": 12, "rows": 16, "end": 20, "output": 24, "weights": 28}
_STACK |= {"row": 32, "tile": 36}
_FRAME = 40
_FIELDS = {"SUM": ("start",), "SHIFT": ("start", "shift"), "MULTIPLY": ("start", "shift", "multiplier", "fold")}
_FIELDS["STOCK"] = _FIELDS["MULTIPLY"]
_FREE = ("r1", "r2", "r3", "r4", "r6")
_SPLIT = 5  # instructions
_STORE = {"SUM": 3, "SHIFT": 10, "MULTIPLY": 12, "STOCK": 24}  # and cycles, about


@dataclasses.dataclass(frozen=True)
class PairLoop:
    """What the loop over one plane is made for.

    Attributes:
      end: "SHIFT", "MULTIPLY", "STOCK" or "SUM".
      rows, taps: of the kernel, and those of each of its rows.
      block: taps whose products are added before they are split.
      stride, dilation: along a row, in inputs.
      tap_row, stride_row: bytes from tap to tap and from window to window down the plane.
      outputs: in a row.
      output_row, output_column: bytes from output to output.
    """

    end: str
    rows: int
    taps: int
    block: int
    stride: int
    dilation: int
    tap_row: int
    stride_row: int
    outputs: int
    output_row: int
    output_column: int

    @property
    def lane(self) -> int:
        """Inputs from that in the lower half of a word to that in its upper half."""
        return 2 if self.stride == 1 else self.stride

    @property
    def is_packed(self) -> bool:
        """Whether of every four words the fourth, which is never read, is left out."""
        return (self.stride, self.taps, self.dilation) == (2, 3, 1)

    @property
    def second(self) -> int:
        """Words from the inputs of the first pair of outputs to those of the second one."""
        return 1 if self.stride == 1 else 3 if self.is_packed else 2 * self.stride

    @property
    def step(self) -> int:
        """Words from four outputs to the next four."""
        return 2 * self.second if self.stride > 1 else TILE

    @property
    def words(self) -> int:
        """Words of a row that are read."""
        tiles, rest = divmod(self.outputs, TILE)
        last = self.dilation * (self.taps - 1) + 1
        whole = (tiles - 1) * self.step + self.second + last if tiles else 0
        return max(whole, tiles * self.step + (self._pairs(rest) - 1) * self.second + last if rest else 0)

    @property
    def fits(self) -> bool:
        """Whether offsets and the length of the code are within what instructions reach."""
        is_near = self._is_rolling or self.is_packed or self.second + self.dilation * (self.taps - 1) <= _FARTHEST_WORD
        return is_near and 2 * sum(map(_instructions, self.assembly())) <= _POOL

    def assembly(self) -> list[str]:
        """The instructions of the kernel, r0: plane, r1: output, r2: record, r3: rows."""
        fields = _FIELDS[self.end]
        held = [f"r{4 + i}" for i in range(len(fields))]
        lines = ["NARROW_V6M_SAVE", f"sub sp, sp, #{_FRAME}", _stored("r0", "row"), _stored("r1", "output")]
        lines += [_stored("r3", "rows"), f"ldm r2!, {{{', '.join(held)}}}"]
        lines += [_stored(register, field) for register, field in zip(held, fields, strict=True)]
        lines += [_stored("r2", "weights")]
        if self._is_looped:
            lines += [f"ldr r1, ={4 * self.rows * self.taps}", "adds r1, r1, r2", "mov lr, r1"]
        lines += self._skips(self.outputs) if self._has_one_kind else []
        row, _ = self._row()
        return [*lines, "1:", *row, f"add sp, sp, #{_FRAME}", "NARROW_V6M_RETURN", ".ltorg"]

    @property
    def record(self) -> int:
        """Words of a record."""
        return len(_FIELDS[self.end]) + -(-self.rows * self.taps // 4)

    @property
    def row_cycles(self) -> int:
        """Of a row of outputs, about."""
        return self._row()[1]

    @property
    def _is_rolling(self) -> bool:
        """Whether a word that the first pair has met is the next one of the second pair."""
        return self.stride == self.dilation == 1

    @property
    def _is_looped(self) -> bool:
        """Whether the rows of the kernel are a loop."""
        return self.rows > 1 and self.rows * sum(map(_instructions, self._taps(2)[0])) > _LONGEST

    @property
    def _has_one_kind(self) -> bool:
        """Whether all tiles are of the same number of pairs, and so leave r0 at the same distance."""
        return self.outputs < TILE or self._pairs(self.outputs % TILE or TILE) == self._pairs(TILE)

    def _pairs(self, outputs: int) -> int:
        return 1 if outputs == 1 or (outputs == 2 and self.stride > 1) else 2

    def _row(self) -> tuple[list[str], int]:
        tiles, rest = divmod(self.outputs, TILE)
        lines, cycles, step = [], 0, 4 * self.step
        if tiles:
            tile = [*self._tile(TILE), *self._ending(TILE)]
            if tiles > 1:
                tile += [_loaded("r1", "end"), "cmp r0, r1", "beq 5f", "b 2b", "5:"]
                lines += [f"ldr r1, ={tiles * step}", "adds r1, r0, r1", _stored("r1", "end")]
            lines += [*([] if self._has_one_kind else self._skips(TILE)), "2:", *tile]
            cycles += 8 + tiles * (_cycles(tile) + 1 + self._repeated(TILE))
        if rest:
            tile = [*([] if self._has_one_kind else self._skips(rest)), *self._tile(rest), *self._ending(rest)]
            lines += tile
            cycles += _cycles(tile) + self._repeated(rest)
        end = [_loaded("r0", "row"), f"ldr r1, ={self.stride_row}", "adds r0, r0, r1", _stored("r0", "row")]
        behind = self.output_row - self.outputs * self.output_column
        if behind:
            end += [_loaded("r1", "output"), f"ldr r2, ={behind}", "adds r1, r1, r2", _stored("r1", "output")]
        end += [_loaded("r1", "rows"), "subs r1, r1, #1", _stored("r1", "rows"), "beq 6f", "b 1b", "6:"]
        return lines + end, cycles + _cycles(end) + 1

    def _skips(self, outputs: int) -> list[str]:
        """r12: from behind a row of taps to the next one; lr: from behind the last one to the next four outputs."""
        _, passed = self._taps(self._pairs(outputs))
        lines = [f"ldr r1, ={self.tap_row - 4 * passed}", "mov r12, r1"] if self.rows > 1 else []
        if not self._is_looped:
            lines += [f"ldr r1, ={4 * (self.step - passed) - (self.rows - 1) * self.tap_row}", "mov lr, r1"]
        return lines

    def _repeated(self, outputs: int) -> int:
        """Cycles of the second row of the kernel and those behind it where they are a loop."""
        return (self.rows - 1) * (_cycles(self._taps(self._pairs(outputs))[0]) + 4) if self._is_looped else 0

    def _tile(self, outputs: int) -> list[str]:
        """The sums of four outputs or fewer that are next to one another, in r8 to r11."""
        body, _ = self._taps(self._pairs(outputs))
        start = [_loaded("r7", "weights"), _loaded("r1", "start"), *(f"mov r{8 + i}, r1" for i in range(TILE))]
        if not self._is_looped:
            return [*start, *([*body, "add r0, r12"] * (self.rows - 1)), *body, "add r0, lr"]
        is_near = sum(map(_instructions, body)) < _NEAR
        back = ["bne 3b"] if is_near else ["beq 4f", "b 3b", "4:"]
        body = ["3:", *body, "add r0, r12", "cmp r7, lr", *back]
        return [_stored("r0", "tile"), *start, *body, _loaded("r0", "tile"), f"adds r0, r0, #{4 * self.step}"]

    def _taps(self, pairs: int) -> tuple[list[str], int]:
        """What one row of the kernel adds, and how many words r0 moves."""
        if self._is_rolling:
            return self._rolling(pairs)
        return self._packed(pairs) if self.is_packed else (self._single(pairs), 0)

    def _split(self, pair: int, register: str) -> str:
        low, high = ((8, 10), (9, 11))[pair] if self.stride == 1 else ((8, 9), (10, 11))[pair]
        return f'NARROW_V6M_SPLIT("{register}", "r{low}", "r{high}")'

    def _is_last(self, tap: int) -> bool:
        return (tap + 1) % self.block == 0 or tap + 1 == self.taps

    def _rolling(self, pairs: int) -> tuple[list[str], int]:
        """Word k + 1 meets tap k for the second pair, and then tap k + 1 for the first one."""
        lines: list[str] = []
        free, queue, sums = list(_FREE), [], [None, None]
        total, loaded = self.taps + pairs - 1, 0
        for tap in range(self.taps):
            if len(queue) < pairs:
                count = min(len(free) - 1, total - loaded)
                lines.append(f"ldm r0!, {{{', '.join(free[:count])}}}")
                queue, free, loaded = queue + free[:count], free[count:], loaded + count
            lines.append("ldm r7!, {r5}")
            for pair in range(pairs):
                product = queue[0]
                if pair == 0 or tap + 1 == self.taps:
                    queue.pop(0)
                else:
                    lines.append(f"movs {free[0]}, {product}")
                    product = free.pop(0)
                lines.append(f"muls {product}, r5, {product}")
                if sums[pair] is None:
                    sums[pair] = product
                else:
                    lines.append(f"adds {sums[pair]}, {sums[pair]}, {product}")
                    free = sorted([*free, product])
            if self._is_last(tap):
                lines += [self._split(pair, sums[pair]) for pair in range(pairs)]
                free, sums = sorted([*free, *sums[:pairs]]), [None, None]
        return lines, total

    def _packed(self, pairs: int) -> tuple[list[str], int]:
        """Three taps at stride 2: all weights at once, then the words of one pair after the other."""
        lines = ["ldm r7!, {r4-r6}"]
        for low in (8, 10)[:pairs]:
            if self.block == 1:
                for weight in ("r4", "r5", "r6"):
                    lines += ["ldm r0!, {r1}", f"muls r1, {weight}, r1", *_halves("r1", low)]
                continue
            lines += ["ldm r0!, {r1-r3}", "muls r1, r4, r1", "muls r2, r5, r2", "adds r1, r1, r2", "muls r3, r6, r3"]
            lines += ["adds r1, r1, r3"] if self.block > 2 else _halves("r3", low)
            lines += _halves("r1", low)
        return lines, 3 * pairs

    def _single(self, pairs: int) -> list[str]:
        """Any stride and dilation: each word from its place."""
        lines: list[str] = []
        sums = ("r1", "r6")
        for tap in range(self.taps):
            lines.append("ldm r7!, {r5}")
            for pair in range(pairs):
                is_first = tap % self.block == 0
                word = sums[pair] if is_first else "r2"
                lines.append(f"ldr {word}, [r0, #{4 * (self.dilation * tap + pair * self.second)}]")
                lines.append(f"muls {word}, r5, {word}")
                lines += [] if is_first else [f"adds {sums[pair]}, {sums[pair]}, {word}"]
            if self._is_last(tap):
                lines += [self._split(pair, sums[pair]) for pair in range(pairs)]
        return lines

    def _ending(self, outputs: int) -> list[str]:
        """Outputs from their sums, and where they go."""
        stores = [f'NARROW_V6M_STORE({self.end}, "r{8 + i}")' for i in range(outputs)]
        lines = [f'NARROW_V6M_BEFORE_{self.end}("{outputs}")', _loaded("r3", "output")]
        return [*lines, f"ldr r4, ={self.output_column}", *stores, _stored("r3", "output")]


def _halves(pair: str, low: int) -> list[str]:
    """NARROW_V6M_SPLIT with r2 instead of r5."""
    lines = [f"sxth r2, {pair}", f"add r{low}, r2", f"subs {pair}, {pair}, r2", f"asrs {pair}, {pair}, #16"]
    return [*lines, f"add r{low + 1}, {pair}"]


def _stored(register: str, field: str) -> str:
    return f"str {register}, [sp, #{_STACK[field]}]"


def _loaded(register: str, field: str) -> str:
    return f"ldr {register}, [sp, #{_STACK[field]}]"


def _instructions(line: str) -> int:
    """Of a line, with the constant that it needs; of macros, about."""
    if line.startswith("NARROW_V6M_STORE"):
        return next(count for end, count in _STORE.items() if f"({end}," in line)
    if line.startswith("NARROW_"):
        return 10 if "STOCK" in line or "SAVE" in line or "RETURN" in line else _SPLIT
    return 0 if line.endswith(":") or line.startswith(".") else 3 if "=" in line else 1


def _cycles(lines: list[str]) -> int:
    """Of instructions one after the other, about."""
    total = 0
    for line in lines:
        if line.startswith("ldm"):
            first, *last = re.findall(r"r(\d+)", line.split("{")[1])
            total += 1 + (int(last[-1]) - int(first) + 1 if "-" in line else line.split("{")[1].count("r"))
        elif line.startswith(("ldr", "str")):
            total += 2
        else:
            total += _instructions(line) + line.startswith("bne")
    return total
