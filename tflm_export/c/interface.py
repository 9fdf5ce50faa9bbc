# SPDX-License-Identifier: Apache-2.0
"""What a program calls: the header of a model, and the functions around an inference."""

import dataclasses
import functools

import numpy as np

from tflm_export.c.literals import GENERATED, array, c_type, comment, field_names
from tflm_export.program.value import Value

_READY = " = {(int8_t *)memory, 0}"


@dataclasses.dataclass(frozen=True, eq=False)
class Interface:
    """A model as its caller sees it.

    Attributes:
      name: prefix of all names.
      inputs, outputs: of an inference.
      arena_bytes, alignment: of the memory that a context needs; some, as C has no empty arrays.
      variables: what is kept from one inference to the next, with its offset in that memory.
      layers: how many there are.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    arena_bytes: int
    alignment: int
    variables: tuple[tuple[Value, int], ...]
    layers: int

    @property
    def is_simple(self) -> bool:
        """Whether there is one input and one output."""
        return len(self.inputs) == len(self.outputs) == 1

    @functools.cached_property
    def input_fields(self) -> list[str]:
        """Names of the inputs."""
        return field_names(self.inputs)

    @functools.cached_property
    def output_fields(self) -> list[str]:
        """Names of the outputs."""
        return field_names(self.outputs)

    @property
    def _parameters(self) -> str:
        if self.is_simple:
            (x,), (y,) = self.inputs, self.outputs
            return f"const {c_type(x.dtype)} *input, {c_type(y.dtype)} *output"
        return f"const {self.name}_inputs *inputs, const {self.name}_outputs *outputs"

    def header(self) -> str:
        """NAME.h."""
        guard = f"{self.name.upper()}_H"
        return f"""/* SPDX-License-Identifier: Apache-2.0
 * {GENERATED}. */
#ifndef {guard}
#define {guard}

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{self._borders()}
{self._calls()}
{self._table()}
#ifdef __cplusplus
}}
#endif

#endif
"""

    def _borders(self) -> str:
        return f"""\
/* What goes in, until an inference is done; none of it overlaps with what comes out. Arrays of int8 and
 * uint8 may begin anywhere, all others where their type does. */
{self._struct("inputs", self.inputs, self.input_fields, "const ")}
/* What comes out. An inference computes in there, too. */
{self._struct("outputs", self.outputs, self.output_fields, "")}
{self._sizes("INPUT", self.inputs, self.input_fields)}
{self._sizes("OUTPUT", self.outputs, self.output_fields)}
"""

    def _calls(self) -> str:
        name, upper = self.name, self.name.upper()
        return f"""\
/* Memory of a context: what is kept from one inference to the next, and what an inference works with. */
#define {upper}_ARENA_BYTES {self.arena_bytes}
#define {upper}_ARENA_ALIGN {self.alignment}

/* The model in memory of the caller's. Contexts are independent of one another: two of them may run at once. */
typedef struct {name}_context {{
  int8_t *arena;
  int32_t is_started;
}} {name}_context;

/* Makes a context ready, at its start. Returns 0; -1 where the memory is too small or not aligned. */
int {name}_context_init({name}_context *context, void *arena, size_t bytes);

/* One inference. */
void {name}_context_invoke({name}_context *context, const {name}_inputs *inputs, const {name}_outputs *outputs);

/* Back to the start: the next inference is the first one{"" if self.variables else "; this model keeps nothing"}. */
void {name}_context_reset({name}_context *context);

#ifndef NARROW_NO_STATIC_ARENA
/* The same in a static arena: one at a time, ready without a call of {name}_init. */
void {name}_init(void);
void {name}_invoke({self._parameters});
void {name}_reset(void);
#endif
"""

    def _table(self) -> str:
        name, upper = self.name, self.name.upper()
        return f"""\
/* The functions that an inference calls, in their order, for profilers; in {name}_layers.c. With
 * NARROW_RUN(layer, call) defined, each call goes through it, with its index here. */
#define {upper}_LAYERS {self.layers}
typedef struct {name}_layer {{
  const char *function;
  const char *op;
  uint32_t multiplications; /* of inputs and weights */
  uint32_t constant_bytes;
}} {name}_layer;
extern const {name}_layer {name}_layers[{max(1, self.layers)}];
"""

    def _struct(self, kind: str, values: tuple[Value, ...], fields: list[str], qualifier: str) -> str:
        lines = [
            f"  {qualifier}{c_type(value.dtype)} *{field}; {_border_comment(value)}"
            for value, field in zip(values, fields, strict=True)
        ] or ["  int8_t nothing;"]
        return "\n".join([f"typedef struct {self.name}_{kind} {{", *lines, f"}} {self.name}_{kind};", ""])

    def _sizes(self, role: str, values: tuple[Value, ...], fields: list[str]) -> str:
        lines = []
        for value, field in zip(values, fields, strict=True):
            name = f"{self.name.upper()}_{role}" + (f"_{field.upper()}" if len(values) > 1 else "")
            lines.append(f"#define {name}_BYTES {value.size * value.dtype.itemsize}")
            lines.append(f"#define {name}_ELEMENTS {value.size}")
            if value.scale is not None and value.dtype != np.float32:
                lines.append(f"#define {name}_SCALE {float(np.float32(value.scale))!r}f")
                lines.append(f"#define {name}_ZERO_POINT {f'({z})' if (z := value.zero_point) < 0 else z}")
        return "\n".join(lines)

    def functions(self) -> str:
        """All but the inference itself."""
        name, upper = self.name, self.name.upper()
        if self.is_simple:
            given = f"  const {name}_inputs inputs = {{input}};\n  const {name}_outputs outputs = {{output}};\n"
            passed = "&inputs, &outputs"
        else:
            given, passed = "", "inputs, outputs"
        # What keeps nothing needs no start.
        own, ready = ("", f"  if (own.arena == NULL) {name}_init();\n") if self.variables else (_READY, "")
        return f"""int {name}_context_init({name}_context *context, void *arena, size_t bytes) {{
  if (arena == NULL || bytes < {upper}_ARENA_BYTES || (uintptr_t)arena % {upper}_ARENA_ALIGN != 0) return -1;
  context->arena = (int8_t *)arena;
  {name}_context_reset(context);
  return 0;
}}

void {name}_context_reset({name}_context *context) {{
{self._start()}  context->is_started = 0;
}}

#ifndef NARROW_NO_STATIC_ARENA
static NARROW_ARENA int64_t memory[{-(-self.arena_bytes // 8)}];
static {name}_context own{own};

void {name}_init(void) {{ (void){name}_context_init(&own, memory, sizeof memory); }}

void {name}_reset(void) {{ {name}_init(); }}

void {name}_invoke({self._parameters}) {{
{given}{ready}  {name}_context_invoke(&own, {passed});
}}
#endif
"""

    def _start(self) -> str:
        """Statements that give variables their first elements."""
        text = []
        for i, (value, offset) in enumerate(self.variables):
            content = np.ascontiguousarray(value.data).reshape(-1)
            every = content.view(np.uint8)
            target = f"context->arena + {offset}"
            if every.size and (every == every[0]).all():
                text.append(f"  memset({target}, {every[0]}, {every.size});\n")
            elif every.size:
                text.append(f"  static const NARROW_CONSTANT {array(f'start{i}', content)}\n")
                text.append(f"  memcpy({target}, start{i}, sizeof start{i});\n")
        return "".join(text)


def _border_comment(value: Value) -> str:
    shape = ", ".join(map(str, value.shape))
    real = f", real = {value.scale!r} * (integer - {value.zero_point})".replace("- -", "+ ")
    return comment(f"[{shape}]{real if value.scale is not None and value.dtype != np.float32 else ''}")
