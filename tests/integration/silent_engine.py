"""A Unix socket in front of a Docker engine that turns silent for the processes that are named."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
from pathlib import Path

_PIECE = 2**16


class SilentEngine:
    """Passes connections on to an engine's socket.

    One of a process in `ignored` is accepted and never answered. What was there before goes on.
    """

    def __init__(self, engine: str | None) -> None:
        """`engine`: the path of its socket; None where every process is ignored."""
        # not below pytest's folder: the path of a Unix socket has 107 bytes at most
        self._folder = Path(tempfile.mkdtemp(prefix="silent-"))
        self._path = str(self._folder / "sock")
        self._engine = engine
        self.host = f"unix://{self._path}"
        self.ignored: set[int] = set()
        """Process ids."""
        self.unanswered = 0
        """Connections that were accepted and ignored."""
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen(64)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10)
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid, _, _ = struct.unpack("3i", peer)
            if self._engine is None or pid in self.ignored:
                self.unanswered += 1
                continue
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(self._engine)
            self._open.append(engine)
            for source, to in ((client, engine), (engine, client)):
                threading.Thread(target=_pass_on, args=(source, to), daemon=True).start()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            to.sendall(piece)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)
