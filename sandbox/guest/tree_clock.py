"""The processor time of a run: the program's process and all that come from it.

In a container the kernel's account of the container has all of it, also of processes that have
ended and that nobody waited for; the zygote's and the script's own time is taken off. Elsewhere the
living processes, and the children that they have waited for, are added up.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from functools import cache

from sandbox.guest import sweeping
from sandbox.guest.limits import content

_ACCOUNTS = (  # cgroups v2, v1
    ("/sys/fs/cgroup/cpu.stat", 1e6),
    ("/sys/fs/cgroup/cpuacct/cpuacct.usage", 1e9),
)
_FOREIGN_S = 10.0
"""An account with so much more than this process has used is not of this container alone."""
_TICKS = os.sysconf("SC_CLK_TCK")


class CpuClock:
    """The processor time of another process, all its threads together."""

    def __init__(self, pid: int) -> None:
        self._id = (~pid << 3) | 2  # as in clock_getcpuclockid(3)
        self._last = 0.0

    def seconds(self) -> float:
        # it may have just ended, or the kernel has no such clock: wall time is used then
        with contextlib.suppress(OSError):
            self._last = time.clock_gettime(self._id)
        return self._last


class TreeClock:
    """The processor time of a program's process and of all that come from it."""

    def __init__(self, *, contained: bool) -> None:
        """Begin; before the first process of the run is made."""
        self._contained = contained
        self._account = account() if contained else None
        self._before = self._in_account()
        self._orphans_s = 0.0

    def seconds(self, pid: int, script: int | None, script_s: float) -> float:
        """Return all time so far.

        `script`: the process of an assert script, `script_s`: its time.
        """
        if self._account is not None:
            return self._in_account() - self._before - script_s
        own = os.getpid()
        found: Iterable[int] = sweeping.descendants(own)
        if self._contained:
            found = map(int, filter(str.isdigit, os.listdir("/proc")))  # noqa: PTH208 - as `sweeping`
        living = {*found, pid} - {own, script}
        return self._orphans_s + sum(CpuClock(p).seconds() + _waited_for(p) for p in living)

    def reaped(self, seconds: float) -> None:
        """Count a process of the run that this process has reaped, and its children."""
        self._orphans_s += seconds

    def _in_account(self) -> float:
        """Return what the account has without this process."""
        if self._account is None:
            return 0.0
        return _total(*self._account) - time.process_time()


@cache
def account() -> tuple[str, float] | None:
    """Return the kernel's account of this container's processor time, and its units in a second."""
    for path, units in _ACCOUNTS:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if _total(path, units) < time.process_time() + _FOREIGN_S:
                return path, units
    return None


def _total(path: str, units: float) -> float:
    """Return what an account has, in seconds. Raises `OSError`, `ValueError` and `IndexError`."""
    words = content(path).split()
    return int(words[1] if words[0] == b"usage_usec" else words[0]) / units


def _waited_for(pid: int) -> float:
    """Return what the children of a process used that it has waited for."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return (int(fields[13]) + int(fields[14])) / _TICKS
    return 0.0
