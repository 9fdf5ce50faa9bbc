# SPDX-License-Identifier: Apache-2.0
"""A model in TensorFlow Lite Micro as an application has it: its operators only, an arena no larger than needed.

The application is written here; TFLM is what the user brings (`benchmarks.emulators.tflm`).
"""

import pathlib

import numpy as np

from benchmarks.device_runs import borders_of
from benchmarks.emulators import firmware, unicorn_engine
from benchmarks.emulators.boards import board_of
from benchmarks.emulators.execution import EngineError
from benchmarks.emulators.tflm import Library
from benchmarks.emulators.tflm_project import Project
from tflm_export import ModelError
from tflm_export.flatbuffer.model import Model, Operator, parse

_RESERVED = 256 << 10  # bytes of RAM that no arena gets: the stack, and what an application has besides
_ALIGNMENT = 16
# What an arena may need beyond the bytes that TFLM says it uses: planning takes room of its own for a while.
_SLACKS = (0, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10)
_STAGES = {1: "its resolver is too small", 2: "AllocateTensors fails", 3: "Invoke fails"}
_PROBE = np.dtype([("status", "<u4"), ("arena", "<u4")])

_HEADER = b"""/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
extern const unsigned char tflm_model[];
extern uint8_t tflm_arena[];
extern const size_t tflm_arena_bytes;
void tflm_setup(void);
void tflm_invoke(const int8_t *input, int8_t *output);
/* Writes how far it came (0: one inference ran) and the bytes of the arena in use, 4 bytes each. */
void tflm_probe(const int8_t *input, int8_t *output);
#ifdef __cplusplus
}
#endif
"""
_ARENA = b"""/* SPDX-License-Identifier: Apache-2.0 */
#include "tflm_application.h"

const size_t tflm_arena_bytes = TFLM_ARENA_BYTES;
uint8_t tflm_arena[TFLM_ARENA_BYTES] __attribute__((aligned(16)));
"""
_MODEL = b"""/* SPDX-License-Identifier: Apache-2.0 */
  .section .rodata.tflm_model, "a"
  .balign 16
  .global tflm_model
  .type tflm_model, %object
tflm_model:
  .incbin "MODEL"
  .size tflm_model, . - tflm_model
"""


_APPLICATION = """// SPDX-License-Identifier: Apache-2.0
#include "tflm_application.h"

#include <cstring>

#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {{

using Resolver = tflite::MicroMutableOpResolver<{count}>;

tflite::MicroInterpreter *interpreter;
uint32_t status;

TfLiteStatus AddOperators(Resolver &resolver) {{
{added}  return kTfLiteOk;
}}

}}  // namespace

extern "C" void tflm_setup(void) {{
  static Resolver resolver;
  status = 1;
  if (AddOperators(resolver) != kTfLiteOk) return;
  status = 2;
  tflite::MicroAllocator *allocator = tflite::MicroAllocator::Create(tflm_arena, tflm_arena_bytes);
  if (allocator == nullptr) return;
  static tflite::MicroInterpreter only(tflite::GetModel(tflm_model), resolver, allocator, {resources});
  interpreter = &only;
  if (interpreter->AllocateTensors() != kTfLiteOk) return;
  status = 3;
}}

extern "C" void tflm_invoke(const int8_t *input, int8_t *output) {{
  TfLiteTensor *tensor;
{copies_in}  interpreter->Invoke();
{copies_out}}}

extern "C" void tflm_probe(const int8_t *, int8_t *output) {{
  if (status == 3 && interpreter->Invoke() == kTfLiteOk) status = 0;
  const uint32_t words[2] = {{status, interpreter ? static_cast<uint32_t>(interpreter->arena_used_bytes()) : 0}};
  memcpy(output, words, sizeof words);
}}
"""


def operators(model: Model) -> dict[str, list[Operator]]:
    """The operators of all subgraphs, by name in alphabetical order."""
    kinds: dict[str, list[Operator]] = {}
    for operator in sorted(model.operators, key=lambda operator: operator.name):
        kinds.setdefault(operator.name, []).append(operator)
    return kinds


def additions(model: Model, library: Library) -> list[str]:
    """Calls that add exactly the model's operators to a MicroMutableOpResolver called `resolver`.

    Operators that are int8 throughout are added with the registration for int8 alone, where there is one: it leaves the
    kernels of other types out of the program.

    Raises:
      ModelError: TFLM has no such operator; all of them are in the message.
    """
    kinds = operators(model)
    unknown = [name for name in kinds if name not in library.resolver]
    if unknown:
        raise ModelError(f"TFLM has no {', '.join(unknown)}")
    calls = []
    for name, found in kinds.items():
        own = f"Register_{name}_INT8"
        is_own = own in library.registrations and all(map(_is_int8, found))
        calls.append(f"resolver.{library.resolver[name]}({f'tflite::{own}()' if is_own else ''})")
    return calls


def _is_int8(operator: Operator) -> bool:
    types = {tensor.type for tensor in (*operator.inputs, *operator.outputs) if tensor is not None}
    return types <= {"INT8", "INT32"} and operator.outputs[0].type == "INT8"


def source(data: bytes, library: Library) -> bytes:
    """The application around a .tflite file, C++ for any version of TFLM with its operators.

    Raises:
      ModelError: as for `additions`.
    """
    model = parse(data)
    calls = additions(model, library)
    inputs, outputs = borders_of(data).starts
    copies_in = _copies("input", inputs, "memcpy(tensor->data.raw, input + {at}, tensor->bytes);")
    copies_out = _copies("output", outputs, "memcpy(output + {at}, tensor->data.raw, tensor->bytes);")
    variables = sum(operator.subgraph == 0 for operator in operators(model).get("VAR_HANDLE", ()))
    added = "".join(f"  TF_LITE_ENSURE_STATUS({call});\n" for call in calls)
    resources = f"tflite::MicroResourceVariables::Create(allocator, {variables})" if variables else "nullptr"
    return _APPLICATION.format(
        count=len(calls), added=added, resources=resources, copies_in=copies_in, copies_out=copies_out
    ).encode()


def _copies(role: str, starts: list[int], statement: str) -> str:
    """A copy of each input or output."""
    return "".join(
        f"  tensor = interpreter->{role}({index});\n  {statement.format(at=at)}\n" for index, at in enumerate(starts)
    )


def build(data: bytes, library: Library, folder: pathlib.Path) -> firmware.Firmware:
    """The application around a model, with the smallest arena that is found to do.

    Args:
      data: a .tflite file.
      library: TFLM for a core.
      folder: where sources and ELF files go; `tflm.elf` is the application.

    Raises:
      ModelError: TFLM does not run the model on this core; the message says how far it comes.
      BuildError: the compiler fails.
    """
    content = folder / "model.tflite"
    files = {"tflm_application.h": _HEADER, "arena.c": _ARENA, "application.cc": source(data, library)}
    files |= {content.name: data, "model.S": _MODEL.replace(b"MODEL", str(content).encode())}
    project = Project(library, files, folder)
    sizes = borders_of(data).sizes
    most = board_of(library.cpu).ram_bytes - _RESERVED - sum(sizes)
    status, used = _probe(project, most)
    if status:
        raise ModelError(f"TFLM does not run it with an arena of {most:,} bytes: {status}")
    for slack in _SLACKS:
        arena = -(-used // _ALIGNMENT) * _ALIGNMENT + slack
        if not _probe(project, arena)[0]:
            return project.link("tflm", _macros(arena, "tflm_invoke", sizes))
    raise ModelError(f"TFLM says it uses {used:,} bytes of its arena, and needs more than {arena:,}")


def _probe(project: Project, arena: int) -> tuple[str, int]:
    """Why the application does not run with an arena of so many bytes, empty where it does; the bytes in use."""
    try:
        built = project.link("probe", _macros(arena, "tflm_probe", (1, _PROBE.itemsize)))
        output = unicorn_engine.execute(built, [], np.zeros((1, 1), np.int8), _PROBE.itemsize).outputs[0]
    except EngineError as error:
        return str(error), 0
    found = output.view(_PROBE)[0]
    return _STAGES.get(int(found["status"]), ""), int(found["arena"])


def _macros(arena: int, invoke: str, sizes: tuple[int, int]) -> dict[str, object]:
    """What arena.c and firmware.c read."""
    names = {"FIRMWARE_HEADER": '"tflm_application.h"', "FIRMWARE_SETUP": "tflm_setup", "FIRMWARE_INVOKE": invoke}
    return names | {
        "TFLM_ARENA_BYTES": arena, "FIRMWARE_INPUT_BYTES": sizes[0], "FIRMWARE_OUTPUT_BYTES": sizes[1]
    }  # fmt: skip
