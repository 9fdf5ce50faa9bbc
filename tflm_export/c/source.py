# SPDX-License-Identifier: Apache-2.0
"""A model as C99: constants, layers, an inference, and the kernels it calls, in one self-contained folder."""

import dataclasses

from tflm_export import kernels
from tflm_export.c.interface import Interface
from tflm_export.c.literals import GENERATED, array, c_type, comment, identifier, string
from tflm_export.c.placement import Copy, Place, Placement
from tflm_export.c.planner import Arena
from tflm_export.c.step import CStep
from tflm_export.program.value import Value

_SMALL = """#ifndef NARROW_SMALL
#define NARROW_SMALL /* layers share what walks over their tiles and planes */
#endif"""


@dataclasses.dataclass(frozen=True, eq=False)
class CProgram:
    """A program, ready to be written as C.

    Attributes:
      name: prefix of its files and functions, a C identifier.
      inputs, outputs: of an inference.
      steps: in execution order.
      first: which of the steps belong to the first inference only.
      placement: where everything lives.
      is_small: whether layers share more code than is fastest.
      left: operators and subgraphs of the model that are not in the program, for messages.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    steps: tuple[CStep, ...]
    first: frozenset[int]
    placement: Placement
    left: tuple[str, ...] = ()
    is_small: bool = False

    @property
    def input(self) -> Value:
        """The first input."""
        return self.inputs[0]

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def arena(self) -> Arena:
        """Working memory."""
        return self.placement.arena

    @property
    def keeps_state(self) -> bool:
        """Whether an inference depends on those before it."""
        return bool(self.placement.variables or self.first)

    @property
    def constant_bytes(self) -> int:
        """Flash for weights, biases and tables, without code."""
        results = sum(copy.value.data.nbytes for copy in self.placement.results if copy.source.region == "constant")
        return results + sum(step.constant_bytes for step in self.steps)

    @property
    def weighted_channels(self) -> tuple[int, int]:
        """How many output channels of layers with weights are computed, and how many the model has of these layers."""
        outputs = [step.output for step in self.steps if step.multiplications]
        kept = [y.shape[-1] if y.shape else 1 for y in outputs]
        whole = [count if y.selection is None else y.selection.channels for y, count in zip(outputs, kept, strict=True)]
        return sum(kept), sum(whole)

    @property
    def interface(self) -> Interface:
        """What a caller sees."""
        placement = self.placement
        return Interface(
            self.name, self.inputs, self.outputs, max(placement.bytes, placement.alignment), placement.alignment,
            tuple((value, placement.places[value.key].index) for value in placement.variables), len(self.steps),
        )  # fmt: skip

    def layer(self, step: CStep) -> str:
        """The name of a step's function."""
        origin = step.origin
        same = [s for s in self.steps if s.origin == origin]
        part = f"_{same.index(step)}" if len(same) > 1 else ""
        graph = f"{origin.subgraph}_" if origin.subgraph else ""
        return f"{self.name}_{graph}{origin.index}_{identifier(origin.name.lower())}{part}"

    def files(self) -> dict[str, bytes]:
        """The folder's contents by file name."""
        own = {
            f"{self.name}.h": self.interface.header(),
            f"{self.name}.c": self._source(),
            f"{self.name}_layers.c": self._layers(),
        }
        needed = {"narrow_kernels.h", "narrow_memory.h", *(kernel for step in self.steps for kernel in step.kernels)}
        return {file: text.encode() for file, text in own.items()} | kernels.sources(sorted(needed))

    def summary(self) -> str:
        """What it takes, in a line for people."""
        least, size, kept = self.arena.lower_bound, self.arena.size, self.placement.state_bytes
        bound = "the least there can be" if size == least else f"{least} at least in any plan"
        parts = f", {size} to work with ({bound}) and {kept} kept between inferences" if kept else f" ({bound})"
        kept, channels = self.weighted_channels
        dropped = f"; {channels - kept} of {channels} channels of weighted sums are constant or unread, and left out"
        borders = " + ".join(str(value.size * value.dtype.itemsize) for value in (*self.inputs, *self.outputs))
        return (
            f"{self.constant_bytes} bytes of flash for constants, without code; {self.placement.bytes} bytes of RAM "
            f"for the arena{parts}; {borders} for input and output{dropped if kept < channels else ''}"
        )

    def _source(self) -> str:
        headers = sorted({kernel for step in self.steps for kernel in step.kernels if kernel.endswith(".h")})
        includes = "\n".join(f'#include "{header}"' for header in ["narrow_kernels.h", "narrow_memory.h", *headers])
        made = "\n".join(dict.fromkeys(definition for step in self.steps for definition in step.definitions))
        made = f"/* Loops with the sizes of these layers in them. */\n{made}\n\n" if made else ""
        layers = "\n".join(self._layer(step) for step in self.steps)
        small = f"\n{_SMALL}\n" if self.is_small else ""
        return f"""/* SPDX-License-Identifier: Apache-2.0
 * {GENERATED}. */
#include "{self.name}.h"
{small}
/* The macros below are for a header of yours to define, which NARROW_CONFIG names and all of these include. */
{includes}

/* One function for each layer, so that profilers and debuggers see them. */
#if !defined(NARROW_LAYER) && NARROW_GNU && defined(__clang__)
#define NARROW_LAYER static NARROW_HOT __attribute__((noinline))
#elif !defined(NARROW_LAYER) && NARROW_GNU
#define NARROW_LAYER static NARROW_HOT __attribute__((noinline, noclone)) /* a clone would go by another name */
#elif !defined(NARROW_LAYER)
#define NARROW_LAYER static
#endif

#ifndef NARROW_RUN /* around every layer's call */
#define NARROW_RUN(layer, call) call
#endif
#ifndef NARROW_CONSTANT /* before every constant array: the section that it goes to */
#define NARROW_CONSTANT
#endif
#ifndef NARROW_ARENA /* before the static arena, likewise */
#define NARROW_ARENA
#endif

{made}{layers}
{self._inference()}
{self.interface.functions()}"""

    def _layer(self, step: CStep) -> str:
        parameters = [f"const {c_type(x.dtype)} *x{i}" for i, x in enumerate(step.inputs) if not x.is_constant]
        parameters += [f"{c_type(y.dtype)} *{name}" for y, name in zip(step.outputs, _results(step), strict=True)]
        parameters += ["int8_t *scratch"] if step.scratch else []
        constants = [f"  static const NARROW_CONSTANT {array(name, values)}" for name, values in step.arrays.items()]
        statements = [f"  {statement}" for statement in step.statements]
        note = f": {step.note}" if step.note else ""
        head = f"NARROW_LAYER void {self.layer(step)}({', '.join(parameters)}) {{"
        about = comment(f"{step.origin.index} {step.origin.name} {step.output.name}{note}")
        return "\n".join([about, head, *constants, *statements, "}", ""])

    def _inference(self) -> str:
        name = self.name
        calls = [self._call(i, step) for i, step in enumerate(self.steps)]
        body = []
        for i, lines in enumerate(calls):
            starts, ends = i in self.first and i - 1 not in self.first, i in self.first and i + 1 not in self.first
            body += ["if (!context->is_started) {"] if starts else []
            body += [f"  {line}" if i in self.first else line for line in lines]
            body += ["}"] if ends else []
        body += [line for i, copy in enumerate(self.placement.results) for line in self._copied(copy, f"result{i}")]
        body += ["context->is_started = 1;"]
        text = "\n".join(body)
        unused = [f"(void){name};" for name in ("inputs", "outputs") if f"{name}->" not in text]
        before = ["int8_t *const arena = context->arena;"] if "arena" in text else []
        lines = "\n".join(f"  {line}" for line in (*before, *unused, *body))
        parameters = f"{name}_context *context, const {name}_inputs *inputs, const {name}_outputs *outputs"
        return f"void {name}_context_invoke({parameters}) {{\n{lines}\n}}\n"

    def _call(self, index: int, step: CStep) -> list[str]:
        placement = self.placement
        arguments = [self._at(placement.places[x.key], x) for x in step.inputs if not x.is_constant]
        arguments += [self._at(p, y) for p, y in zip(placement.outputs[index], step.outputs, strict=True)]
        if step.scratch:
            arguments.append(_arena(placement.scratch[index], "int8_t"))
        call = f"NARROW_RUN({index}, {self.layer(step)}({', '.join(arguments)}));"
        copies = (self._copied(copy, f"new{index}_{i}") for i, copy in enumerate(placement.copies[index]))
        return [call, *(line for lines in copies for line in lines)]

    def _copied(self, copy: Copy, name: str) -> list[str]:
        """Statements that copy a value; a constant one has a name."""
        target, size = self._at(copy.target, copy.value), copy.value.size * copy.value.dtype.itemsize
        if copy.source.region != "constant":
            return [f"memcpy({target}, {self._at(copy.source, copy.value)}, {size});"]
        return [f"static const NARROW_CONSTANT {array(name, copy.value.data)}", f"memcpy({target}, {name}, {size});"]

    def _at(self, place: Place, value: Value) -> str:
        """The C expression of a value's memory."""
        if place.region == "arena":
            return _arena(place, c_type(value.dtype))
        fields = self.interface.input_fields if place.region == "input" else self.interface.output_fields
        return f"{place.region}s->{fields[place.index]}"

    def _layers(self) -> str:
        rows = [
            f"    {{{string(self.layer(step))}, {string(step.origin.name)}, {step.multiplications}u, "
            f"{step.constant_bytes}u}},"
            for step in self.steps
        ] or ['    {"", "", 0u, 0u},']
        body = "\n".join(rows)
        return f"""/* SPDX-License-Identifier: Apache-2.0
 * {GENERATED}. */
#include "{self.name}.h"

const {self.name}_layer {self.name}_layers[{len(rows)}] = {{
{body}
}};
"""


def _results(step: CStep) -> list[str]:
    """What the outputs are called in statements."""
    return ["y", *(f"y{i}" for i in range(1, len(step.outputs)))]


def _arena(place: Place, kind: str) -> str:
    at = f"arena + {place.index}" if place.index else "arena"
    return at if kind == "int8_t" else f"({kind} *)(void *)({at})"
