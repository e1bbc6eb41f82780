"""Locks that end with their process: one writer or many readers of what a file stands next to."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def hold(path: Path, *, shared: bool = False) -> int:
    """Lock a file, made if need be; return the descriptor that holds the lock until it is closed.

    Raises `BlockingIOError` while another process holds it, another `OSError` where no file can be.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
