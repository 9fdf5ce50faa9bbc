# SPDX-License-Identifier: Apache-2.0
"""Tables of records of bits, as hardware reads them."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from tflm_export.rtl.hexadecimal import lines, packed
from tflm_export.rtl.labels import counted, plain


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """A part of all records of a table.

    Attributes:
      name: of the port that it is for.
      bits: its width.
      values: int64 [records]; negative ones in two's complement.
      is_signed: whether there may be negative ones.
    """

    name: str
    bits: int
    values: np.ndarray
    is_signed: bool = False

    @classmethod
    def of(cls, name: str, bits: int, integers: Iterable[int], is_signed: bool = False) -> "Field":
        """A field of any integers."""
        return cls(name, bits, np.array([int(integer) for integer in integers], np.int64), is_signed)

    @property
    def is_constant(self) -> bool:
        """Whether it is the same in all records."""
        return bool((self.values == self.values[0]).all())


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Records of one layer, or of all layers of a kind.

    Attributes:
      path: of its file in the folder.
      head: what it is, in lines.
      fields: of a record, from bit 0 up.
      constants: fields that are the same in all records, and in none of them.
    """

    path: str
    head: tuple[str, ...]
    fields: tuple[Field, ...]
    constants: tuple[Field, ...] = ()

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self.fields[0].values)

    @property
    def bits(self) -> int:
        """Of a record."""
        return sum(field.bits for field in self.fields)

    @property
    def layout(self) -> list[dict]:
        """The fields and where they are, for machines."""
        found, bit = [], 0
        for field in self.fields:
            found.append({"field": field.name, "bit": bit, "bits": field.bits, "signed": field.is_signed})
            bit += field.bits
        return found

    def text(self) -> bytes:
        """The file: a record a line, and what is in it in comments, which `$readmemh` skips."""
        places = [
            f"[{place['bit'] + place['bits'] - 1}:{place['bit']}] {place['field']}{' (signed)' * place['signed']}"
            for place in self.layout
        ]
        same = [f"{field.name} = {field.values[0]}" for field in self.constants]
        head = [
            *self.head,
            f"{counted(self.records, 'record')} of {counted(self.bits, 'bit')}: {', '.join(places)}",
            *([f"in all of them: {', '.join(same)}"] if same else []),
        ]
        body = lines([packed([(field.values, field.bits) for field in self.fields])])
        return "".join(f"// {plain(line)}\n" for line in head).encode() + body
