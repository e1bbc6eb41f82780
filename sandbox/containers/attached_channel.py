"""A `guest_link.Channel` over a container's attached standard input and output."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from typing import Any

from stepcoder_dist.errors import SandboxFault

_HEADER = struct.Struct(">BxxxI")
_STDERR = 2
_LAST_WORDS = 2000
_SEND_S = 30.0
"""How long a zygote, or an engine in between, may take for what it is sent."""


class AttachedChannel:
    """Bytes over the engine's attach stream, which carries frames of stdout and stderr."""

    def __init__(self, attached: Any) -> None:
        # over a Unix socket or TCP the SDK wraps the socket, over TLS it is the socket itself
        self._wrapper = attached
        self._socket: socket.socket | ssl.SSLSocket = getattr(attached, "_sock", attached)
        self._buffer = bytearray()
        self._frame_left = 0
        self._frame_is_error = False
        self._words = b""

    def send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.settimeout(_SEND_S)
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise self._fault(f"cannot be written to: {error}") from None

    def receive(self, count: int, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        taken = bytearray()
        while len(taken) < count:
            if not self._frame_left:
                kind, self._frame_left = _HEADER.unpack(self._raw(_HEADER.size, deadline))
                self._frame_is_error = kind == _STDERR
                continue
            if self._frame_is_error:
                words = self._raw(self._frame_left, deadline)
                self._words = (self._words + words)[-_LAST_WORDS:]
                self._frame_left = 0
                continue
            part = self._raw(min(self._frame_left, count - len(taken)), deadline)
            self._frame_left -= len(part)
            taken += part
        return bytes(taken)

    def silent(self) -> bool:
        try:
            readable, _, _ = select.select([self._socket], [], [], 0)
        except (OSError, ValueError):
            return False
        return not (readable or self._buffer)

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, ValueError):
            self._wrapper.close()

    def _raw(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._fault("does not answer in time")
            try:
                self._socket.settimeout(left)
                more = self._socket.recv(2**16)
            except TimeoutError:
                continue
            except (OSError, ValueError) as error:
                raise self._fault(f"cannot be read from: {error}") from None
            if not more:
                raise self._fault("has ended")
            self._buffer += more
        part = bytes(self._buffer[:count])
        del self._buffer[:count]
        return part

    def _fault(self, what: str) -> SandboxFault:
        words = self._words.decode("utf-8", "replace").strip()
        return SandboxFault(f"a container {what}{'; its last words: ' + words if words else ''}")
