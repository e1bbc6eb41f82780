"""The zygote's two pipes to the host, through memory that no child inherits.

Blobs never become Python objects: what passed through here must not be found in the heap of a later
child.
"""

from __future__ import annotations

import json
import mmap
import os
from typing import Any

from sandbox.guest.layout import LENGTH

_STAGING_BYTES = 2**20


class Gone(Exception):
    """The host has closed our standard input."""


class Staging:
    """A buffer that no child inherits, and the two pipes to the host."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self._memory = mmap.mmap(-1, _STAGING_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.madvise(mmap.MADV_DONTFORK)
        self._view = memoryview(self._memory)
        self._used = 0

    def numbers(self) -> Any:
        """Read length and JSON of an order."""
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        return json.loads(self._exactly(length))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = os.read(self.source, size - len(data))
            if not more:
                raise Gone
            data += more
        return data

    def receive(self, file: int, size: int) -> None:
        """Move `size` bytes from the host into a file."""
        while size:
            count = os.readv(self.source, [self._view[: min(size, _STAGING_BYTES)]])
            if not count:
                raise Gone
            size -= count
            part = self._view[:count]
            while part:
                part = part[os.write(file, part) :]
        os.lseek(file, 0, os.SEEK_SET)

    def send(self, data: memoryview | bytes) -> None:
        part = memoryview(data)
        while part:
            count = min(len(part), _STAGING_BYTES - self._used)
            self._view[self._used : self._used + count] = part[:count]
            self._used += count
            part = part[count:]
            if self._used == _STAGING_BYTES:
                self.flush()

    def send_file(self, file: int, size: int) -> None:
        offset = 0
        while offset < size:
            if self._used == _STAGING_BYTES:
                self.flush()
            room = self._view[self._used : min(_STAGING_BYTES, self._used + size - offset)]
            count = os.preadv(file, [room], offset)
            if not count:  # it shrank meanwhile: send the size that was announced
                room[:] = bytes(len(room))
                count = len(room)
            offset += count
            self._used += count

    def flush(self) -> None:
        part = self._view[: self._used]
        while part:
            part = part[os.write(self.sink, part) :]
        self._used = 0


def file_in_memory() -> int:
    """Make a file in memory for one blob of a run, which a child can seal."""
    return os.memfd_create("run", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def drain(descriptor: int) -> None:
    """Read what is there, and drop it."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        return
