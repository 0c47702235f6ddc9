"""What a program file is for, read from its header, and running it: natively, or under the emulator of its machine."""

from __future__ import annotations

import platform
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import tools

_ELF = {3: "386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64"}
_PE = {0x14C: "386", 0x8664: "amd64", 0xAA64: "arm64"}
_EMULATORS = {"arm": "qemu-arm-static", "arm64": "qemu-aarch64-static", "ppc64le": "qemu-ppc64le-static", "s390x": "qemu-s390x-static"}


@dataclass(frozen=True, slots=True)
class Machine:
    """File format ("ELF" or "PE"), architecture in Go's words, and 32 or 64."""

    format: str
    arch: str
    bits: int


def machine(program: bytes) -> Machine:
    """Read the header of an executable file. Raises AssertionError for one that is neither ELF nor PE."""
    if program[:4] == b"\x7fELF":
        order = "<" if program[5] == 1 else ">"
        (value,) = struct.unpack_from(f"{order}H", program, 18)
        return Machine("ELF", _ELF[value], {1: 32, 2: 64}[program[4]])
    assert program[:2] == b"MZ", f"neither ELF nor PE: {program[:16]!r}"
    (offset,) = struct.unpack_from("<I", program, 0x3C)
    assert program[offset : offset + 4] == b"PE\0\0"
    (value,) = struct.unpack_from("<H", program, offset + 4)
    (magic,) = struct.unpack_from("<H", program, offset + 24)
    return Machine("PE", _PE[value], {0x10B: 32, 0x20B: 64}[magic])


def run_program(program: bytes, directory: Path, *, cpu: str = "") -> str:
    """Run a Linux program and return what it prints; `cpu` is the model for the emulator, so that newer instructions are refused."""
    path = directory / "program"
    path.write_bytes(program)
    path.chmod(0o755)
    arch = machine(program).arch
    command = [str(path)]
    if arch in _EMULATORS:
        emulator = tools.ensure([_EMULATORS[arch]])[_EMULATORS[arch]]
        command = [str(emulator), *(["-cpu", cpu] if cpu else []), str(path)]
    else:
        assert platform.machine() == "x86_64", f"this test knows no way to run {arch} on {platform.machine()}"
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
