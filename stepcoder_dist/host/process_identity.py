"""A process as text, so that others can see whether it is still alive."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def started(pid: int) -> str:
    """Return a process's start time in clock ticks, as text; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended


def owner() -> str:
    """This process: `host:pid:start time`."""
    return f"{socket.gethostname()}:{os.getpid()}:{started(os.getpid())}"
