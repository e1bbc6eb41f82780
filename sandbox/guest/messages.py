"""The messages between a script's process and a program's, over two pipes.

    message   u32 length, typed plain data; length 0 ends the exchange
    request   (operation, target, arguments, keyword arguments); a target is the name of a function
              of the program's, or an object of its
    reply     ("value", value), or ("raised", names of built-in types, arguments, detail)

Two things travel besides plain data: built-in types by name, `["y", "int"]`, and objects that stay
in the program's process, `["h", number, type name]`, which are numbered there.
"""

from __future__ import annotations

import builtins
import os
from typing import Any

from sandbox.guest.layout import LENGTH

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
    """A built-in type as its name; None for anything else."""
    name = _TYPE_NAMES.get(id(value))
    return None if name is None else ["y", name]
