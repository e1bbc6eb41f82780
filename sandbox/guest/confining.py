"""What the zygote does by itself where no container engine does it.

A child that stays the zygote's user gives up its capabilities. A filter on system calls is
installed in the child. The memory of a run is added up where no control group limits it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import struct
from functools import cache
from typing import Any

_CAPABILITY_VERSION = 0x20080522
_SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 4, 38, 22, 2
_INSTRUCTION_BYTES = 8
_PAGE = os.sysconf("SC_PAGESIZE")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05
_SLACK_BYTES = 32 * 2**20
"""What the interpreter itself may take beyond what it has at the fork."""


@cache
def prepare() -> Any:
    """Load the C library; in the zygote, so that no child has to."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def hide() -> None:
    """Let no process of the same user read this one's memory or files, nor its children's."""
    import ctypes

    zero = ctypes.c_ulong(0)
    _done(prepare().prctl(_SET_DUMPABLE, zero, zero, zero, zero))


def drop_capabilities() -> None:
    """Give up every capability of this process for good. Raises `OSError`."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION, 0)
    _done(prepare().capset(header, bytes(24)))


def filter_calls(program: str) -> None:
    """Install a filter on system calls (base64) in this process for good. Raises `OSError`."""
    import ctypes

    content = base64.b64decode(program)
    held = ctypes.create_string_buffer(content, len(content))
    count = len(content) // _INSTRUCTION_BYTES
    described = struct.pack("@HP", count, ctypes.addressof(held))
    zero, libc = ctypes.c_ulong(0), prepare()
    _done(libc.prctl(_SET_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero))
    _done(libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), described, zero, zero))


def _done(result: int) -> None:
    if result:
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class MemoryWatch:
    """The private memory of a run's processes together.

    Pages that a child shares with the zygote since the fork are taken off. Files in memory that no
    process has mapped, pipes and sockets are not seen: only a control group counts those.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes + _SLACK_BYTES
        self._own = _private_bytes(os.getpid())
        self.pause_s = _FIRST_PAUSE_S
        """How soon to look again."""

    def over(self) -> bool:
        """Look, and say whether there is more than the run may have."""
        own = os.getpid()
        found = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
        total = sum(max(0, _private_bytes(pid) - self._own) for pid in found if pid != own)
        self.pause_s = min(2 * self.pause_s, _LONGEST_PAUSE_S)
        return total > self._most


def _private_bytes(pid: int) -> int:
    """Return what a process has in memory of its own; 0 for one that has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        file = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(file, 256).split()
        finally:
            os.close(file)
        return (int(fields[1]) - int(fields[2])) * _PAGE
    return 0
