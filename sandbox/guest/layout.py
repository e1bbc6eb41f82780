"""The byte formats between host, zygote and child.

    host → zygote    u32 length, JSON of numbers (`RunOrder`), then the blobs in the order's sizes:
                     the program (JSON), then one input a test; an assert script is the one
                     input of its order, and its verdict the answer
    zygote → host    REPORT, n × u64 answer sizes, then blobs: status block, lines, structure,
                     answers
    child → zygote   nothing but shared memory (status block, lines) and files in memory
                     (structure, answers): they survive whatever ends the child

The zygote never reads a blob: bytes of one run must not stay in the heap that the next is forked
from. Only the host reads them, and it trusts none.

A script's process and a program's exchange messages over two pipes:

    message   u32 length, typed plain data; length 0 ends the exchange
    request   (operation, target, arguments, keyword arguments); a target is the name of a function
              of the program's, or an object of its
    reply     ("value", value), or ("raised", names of built-in types, arguments, detail)

Two things travel besides plain data: built-in types by name, `["y", "int"]`, and objects that stay
in the program's process, `["h", number, type name]`, which are numbered there.
"""

from __future__ import annotations

import builtins
import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

READY = b"stepcoder-zygote-1\n"
"""The zygote's first bytes when it can take orders; u32 length and its version as JSON follow."""

LENGTH = struct.Struct("<I")
SIZE = struct.Struct("<Q")

REPORT = struct.Struct("<iBBBIiQQqQQQ")
"""The fields of a report: wait status (exit code or −signal), why killed (`Killed`), clean,
structure sealed, memory kills in the container, last test that got time of its own or −1, CPU ns,
wall ns, ns that it waited for a processor before it was killed for wall time (−1: unknown), peak
resident bytes, structure size, scratch output size."""

START = struct.Struct("<QQ")
"""Head of the sealed structure: the time just before the program's first line (CLOCK_MONOTONIC ns,
CPU ns), written before it ran. The program could change the status block, but not this."""

BLOCK_BYTES = 16
"""Head of the status block; two bytes of it are in use."""
PHASE = 0
"""Offset of the child's `Phase`."""
MEDDLED = 1
"""Offset of a byte that is 1 where the tracer was not found as it was left."""

DETAIL_BYTES = 400
RECORD = struct.Struct(f"<QQQBBhi{DETAIL_BYTES}s")
"""The record of one test in the status block: begun (CLOCK_MONOTONIC ns), CPU ns of the process
when it began, CPU ns that the test used, done, `Claim`, bytes of detail, exit code, detail in
UTF-8."""


class Phase(IntEnum):
    """How far a child came."""

    STARTING = 0
    """Not yet unprivileged: an end here is the sandbox's fault."""
    COMPILING = 1
    DESCRIBING = 2
    RUNNING = 3


class Killed(IntEnum):
    """Why the zygote killed a child."""

    NO = 0
    CPU = 1
    WALL = 2


class Claim(IntEnum):
    """The child's claim how a test ended. A lie gains nothing, since values decide."""

    FINE = 0
    FAILED = 1
    """An exception, or a non-zero exit."""
    OUT_OF_MEMORY = 2
    THREADS_LEFT = 3
    UNREADABLE = 4
    """The return value is cyclic or too deep."""
    TOO_LARGE = 5
    """The return value is over the output limit."""


class ScriptEnd(IntEnum):
    """How an assert script ended, as its own process says."""

    PASSED = 0
    WRONG = 1
    """An assert of the script failed."""
    FAILED = 2
    """An exception of the program or of the script."""
    OUT_OF_MEMORY = 3
    INVALID = 4
    """The script itself is at fault: no program can pass it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that the host sends once, at the start."""

    uid: int | None
    """The children's user and group; None where the zygote cannot change it."""
    script_uid: int | None
    """The user and group of assert scripts, which no program has; None as for `uid`."""
    folders: list[str]
    """Writable folders, emptied after each run; the first is home and working directory."""
    contained: bool
    """Whether the zygote is process 1 of its own namespace."""
    own_users: bool = False
    """Whether the kernel counts its users' processes apart from those of the machine's users."""
    call_filter: str = ""
    """A filter on system calls for the children (classic BPF, base64); empty: they have the
    zygote's."""
    watch_memory: bool = False
    """Whether the zygote adds up the memory of a run: no control group limits it."""
    own_network: bool = True
    """Whether nobody else has sockets in its network."""
    again: list[str] | None = None
    """A command that takes its place when the host has left, if nothing of a run is left."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """One run: limits, and sizes of the blobs that follow."""

    sizes: list[int]
    """Sizes of the program, then of one input a test."""
    lines: int
    """Lines of the program that are traced; 0: none."""
    cpu_s: float
    wall_s: float
    memory_bytes: int
    output_bytes: int
    processes: int
    large_stacks: bool
    script: bool = False
    """Whether the one input is an assert script, which gets a process of its own."""

    @property
    def tests(self) -> int:
        return len(self.sizes) - 1


def read_all(descriptor: int) -> bytes:
    """Read a file in memory from its beginning, without using or moving its position."""
    size = os.fstat(descriptor).st_size
    parts, offset = [], 0
    while offset < size:
        parts.append(os.pread(descriptor, size - offset, offset))
        offset += len(parts[-1])
    return b"".join(parts)


def block_bytes(tests: int) -> int:
    """Return the size of the status block, in bytes."""
    return BLOCK_BYTES + tests * RECORD.size


def record_offset(test: int) -> int:
    """Return the offset of a test's record in the status block."""
    return BLOCK_BYTES + test * RECORD.size


def running_test(block: bytes | mmap.mmap, tests: int) -> int:
    """Return the last test that was begun; −1 while the program is compiled."""
    latest = -1
    for test in range(tests):
        if not RECORD.unpack_from(block, record_offset(test))[0]:
            break
        latest = test
    return latest


def stride(lines: int) -> int:
    """Return the bytes of one test in the shared lines: one for a 1-based line, byte 0 unused."""
    return lines + 2


# bound early: the program under test can patch what it finds by name
_read, _write = os.read, os.write
BUILTIN_TYPES = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
_TYPE_NAMES = {id(kind): name for name, kind in BUILTIN_TYPES.items()}


class TooLong(ValueError):
    """A message over the limit; what follows it cannot be read either."""


class Messages:
    """One end of the exchange."""

    def __init__(self, source: int, sink: int, most_bytes: int) -> None:
        self._source, self._sink, self._most = source, sink, most_bytes

    def send(self, data: bytes) -> None:
        """Send a message. Raises `OSError` where nobody reads."""
        view = memoryview(LENGTH.pack(len(data)) + data)
        while view:
            view = view[_write(self._sink, view) :]

    def receive(self) -> bytes | None:
        """Return the next message, None at the end. Raises `TooLong`."""
        head = self._exactly(LENGTH.size)
        length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
        if length > self._most:
            raise TooLong
        data = self._exactly(length)
        return data if length and len(data) == length else None

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            more = _read(self._source, min(size - len(data), 2**20))
            if not more:
                break
            data += more
        return bytes(data)


def packed_type(value: object) -> list[Any] | None:
    """Return a built-in type as its name; None for anything else."""
    name = _TYPE_NAMES.get(id(value))
    return None if name is None else ["y", name]
