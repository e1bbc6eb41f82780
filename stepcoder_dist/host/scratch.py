"""Temporary folders that are removed also when their process was killed.

A folder's name says which process owns it. `sweep` removes those of dead owners: every process
that makes a folder sweeps first, and a command sweeps at its end what its killed processes left.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import zlib
from pathlib import Path

from stepcoder_dist.host.process_identity import started

# short, because Unix sockets inside must stay below 108 characters
_NAME = re.compile(r"stepcoder-[a-z]+-([0-9a-f]{8})-(\d+)-(\d+)-\w+")


def make(kind: str) -> Path:
    """Make a folder of this process that only its user can read. `kind`: small letters."""
    sweep()
    prefix = f"stepcoder-{kind}-{_host()}-{os.getpid()}-{started(os.getpid())}-"
    return Path(tempfile.mkdtemp(prefix=prefix))


def sweep() -> int:
    """Remove the folders of processes of this machine that are gone; return how many."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob("stepcoder-*"):
        named = _NAME.fullmatch(folder.name)
        if named is None or named[1] != _host() or started(int(named[2])) == named[3]:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed += not folder.exists()
    return removed


def _host() -> str:
    """Process ids mean something on their own host only, and /tmp may be shared."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"
