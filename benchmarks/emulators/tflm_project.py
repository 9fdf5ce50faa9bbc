# SPDX-License-Identifier: Apache-2.0
"""Firmware around an application of TensorFlow Lite Micro, linked with the library that the user brings."""

import pathlib
import subprocess

from benchmarks.emulators import firmware
from benchmarks.emulators.boards import board_of
from benchmarks.emulators.tflm import Library

_COMMON = "-mthumb -mfloat-abi=soft -O2 -fomit-frame-pointer -ffunction-sections -fdata-sections".split()
_LINK = (
    "-nostartfiles --specs=nano.specs --specs=nosys.specs -Wl,--gc-sections "
    "-Wl,--defsym=__dso_handle=0,--defsym=end=firmware_bss_end"  # what newlib's own start-up files would define
).split()


class Project:
    """Firmware around an application in a folder, which is compiled once.

    Args:
      library: what it is linked with.
      files: contents by name, written to the folder. C++ and assembly are compiled here, C for each ELF file.
      folder: made where it is not there.

    Raises:
      BuildError: the compiler fails.
    """

    def __init__(self, library: Library, files: dict[str, bytes], folder: pathlib.Path):
        self.library, self.folder = library, folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        self._c = [*(folder / name for name in files if name.endswith(".c")), firmware.SOURCE]
        self._objects = [self._compile(folder / name, {}) for name in files if name.endswith((".cc", ".S"))]

    def link(self, name: str, macros: dict[str, object]) -> firmware.Firmware:
        """An ELF file, NAME.elf.

        Args:
          name: of the file, without its ending.
          macros: what C files read, those of firmware.c (docs/device.md) among them.

        Raises:
          BuildError: the compiler or the linker fails.
        """
        macros = {"FIRMWARE_UART": f"{board_of(self.library.cpu).uart:#x}u"} | macros
        objects = [*self._objects, *(self._compile(file, macros) for file in self._c)]
        elf = self.folder / f"{name}.elf"
        script = firmware.linker_script(self.library.cpu, self.folder)
        options = [f"-mcpu={self.library.cpu}", "-mthumb", "-mfloat-abi=soft", *_LINK, f"-Wl,-T,{script}"]
        _run(["arm-none-eabi-g++", *options, *objects, self.library.archive, "-lm", "-o", elf])
        return firmware.load(elf, self.library.cpu)

    def _compile(self, file: pathlib.Path, macros: dict[str, object]) -> pathlib.Path:
        compilers = {".cc": ["arm-none-eabi-g++", *self.library.options()], ".c": ["arm-none-eabi-gcc", "-std=c99"]}
        compiler = compilers.get(file.suffix, ["arm-none-eabi-gcc"])
        output = self.folder / f"{file.name}.o"
        defines = [f"-D{name}={value}" for name, value in macros.items()]
        options = [f"-mcpu={self.library.cpu}", *_COMMON, f"-I{self.folder}", *defines]
        _run([*compiler, *options, "-c", file, "-o", output])
        return output


def _run(command: list) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise firmware.BuildError(firmware.first_lines(f"{command[0]} failed:", done.stdout + done.stderr))
