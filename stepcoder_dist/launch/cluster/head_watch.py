"""The watch over the cluster's head: a command does not outlive it, and says so.

Whatever asks Ray for something waits while the head is away, the closing of pools too. Ray's
library ends a process that has not reached the head for `RAY_gcs_rpc_server_reconnect_timeout_s`
(60 s), without a word to its program. This watch is earlier. It ends the command as SIGKILL would:
nothing can be closed any more, the actors end with their nodes, and `--resume` continues.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable

from stepcoder_dist.errors import RunError

_RAYS_LIMIT = "RAY_gcs_rpc_server_reconnect_timeout_s"
_RAYS_LIMIT_S = 60.0
_SHARE = 0.75
"""Of Ray's limit: a head that comes back before it is none that was lost."""
_LOOKS = 20
"""Looks at the head within the limit."""


def limit_s() -> float:
    """Return the seconds for which a head may be away: three quarters of Ray's own limit."""
    return _SHARE * float(os.environ.get(_RAYS_LIMIT) or _RAYS_LIMIT_S)


def end_at_once(message: str) -> None:
    """End this process with one line, from whatever thread."""
    sys.stdout.flush()
    sys.stderr.write(f"stepcoder: {message}\n")
    sys.stderr.flush()
    os._exit(RunError.exit_code)


class HeadWatch:
    """A thread that looks whether the head at an address (`host:port`) takes connections."""

    def __init__(
        self, address: str, limit_s: float, end: Callable[[str], None] = end_at_once
    ) -> None:
        """`end` is called once with a message, when the head was away for `limit_s`."""
        self._address = address
        self._limit_s = limit_s
        self._end = end
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="head-watch", daemon=True).start()

    def stop(self) -> None:
        """End the watch; the command lives on whatever the head does."""
        self._over.set()

    def head_answers(self) -> bool:
        """Return whether the head takes a connection now."""
        host, _, port = self._address.rpartition(":")
        try:
            look_s = self._limit_s / _LOOKS
            socket.create_connection((host.strip("[]"), int(port)), timeout=look_s).close()
        except OSError:
            return False
        return True

    def _watch(self) -> None:
        away_since: float | None = None
        while not self._over.wait(self._limit_s / _LOOKS):
            if self.head_answers():
                away_since = None
                continue
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since >= self._limit_s and not self._over.is_set():
                self._end(
                    f"the head of the Ray cluster at {self._address} has been away for "
                    f"{self._limit_s:g} s, and the command ends with it; start a head, then the "
                    "command again (a run with --resume)"
                )
                return
