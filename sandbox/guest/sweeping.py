# ruff: noqa: PTH208 - folders are held by descriptor while they are emptied
"""Removing what a run leaves: processes and files.

In a container the zygote is process 1, so `kill(-1)` reaches all processes of the container and
nothing else. Outside of a container (the `process` backend) the zygote looks for its own
descendants instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MOST_REMOVALS = 200_000
"""Above what the inode caps of the folders allow; more removals mean an error."""


def stay_in_memory() -> None:
    """Lock the pages of this process as they are touched; children are not locked.

    A program can fill its container's memory with what cannot be given back (files in memory,
    socket buffers). The kernel then drops and rereads the pages of the zygote's own code, and the
    zygote would be too late to end the program.
    """
    with contextlib.suppress(ImportError, AttributeError):  # the smallest images have no ctypes
        import ctypes

        lock = ctypes.CDLL(None).mlock2
        for mapping in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            start, end = (int(edge, 16) for edge in mapping.partition(" ")[0].split("-"))
            # MLOCK_ONFAULT; what cannot be locked (the kernel's own pages) stays as it is
            lock(ctypes.c_void_p(start), ctypes.c_size_t(end - start), 1)


def become_subreaper() -> None:
    """Get the orphans of a run. For the `process` backend only: a container has process 1."""
    import ctypes  # the smallest images have none

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def end_with_the_zygote() -> None:
    """Let a child end with the zygote, even after SIGKILL; in a container it does so anyway."""
    import ctypes  # loaded by `become_subreaper`

    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def reaped() -> dict[int, tuple[int, Any]]:
    """Reap ended processes; return exit codes or −signals and usage by process."""
    found: dict[int, tuple[int, Any]] = {}
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        found[pid] = os.waitstatus_to_exitcode(status), usage


def kill_everything(*, contained: bool) -> None:
    """Kill and reap every process but this one; return when there is none left."""
    if contained:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # one pass is enough: a dying process cannot fork
        _reap()
        return
    while found := list(descendants(os.getpid())):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # one of them is our own dying child; others may have forked meanwhile, so look again
        _reap(block_once=True)


def waited_ns(wall_ns: int, *, contained: bool) -> int:
    """Return the ns that others have kept a run from a processor.

    −1 where the kernel does not report it.

    It counts the main threads of the processes that still live: it is a hint, no clock.
    """
    own = os.getpid()
    found = map(int, filter(str.isdigit, os.listdir("/proc"))) if contained else descendants(own)
    times = []
    for pid in found:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if pid != own:
                words = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
                times.append((int(words[0]), int(words[1])))
    return kept_waiting_ns(wall_ns, times) if times else -1


def kept_waiting_ns(wall_ns: int, processes: list[tuple[int, int]]) -> int:
    """Return the ns that others have kept one of these processes waiting, of (ran, waited) in ns.

    What they took from one another does not count: others had what they left of the wall time.
    """
    ran = sum(ran for ran, _ in processes)
    return min(max(waited for _, waited in processes), max(0, wall_ns - ran))


def empty(folders: list[str]) -> bool:
    """Remove everything in the folders; return False when something cannot be removed."""
    for folder in folders:
        try:
            if os.listdir(folder) and not _emptied(folder):
                return False
        except OSError:
            return False
    return True


def sockets() -> bytes:
    """Return the kernel's counts of sockets in this network, and of closed connections that linger.

    A connection can outlive its processes by a minute. A socket that was sent to itself lives until
    the kernel happens to look for such sockets.
    """
    try:
        file = os.open("/proc/net/sockstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = os.read(file, 4096)
    finally:
        os.close(file)
    # its other numbers are those of the entire machine
    return content.partition(b"\n")[0] + content.partition(b" tw ")[2].partition(b" ")[0]


def _reap(*, block_once: bool = False) -> None:
    """Reap until no child is left; `block_once`: wait for one, and reap those that are dead."""
    options = 0
    while True:
        try:
            pid, _ = os.waitpid(-1, options)
        except ChildProcessError:
            return
        if not pid:
            return
        options = os.WNOHANG if block_once else 0


def descendants(ancestor: int) -> Iterator[int]:
    """Yield all descendants; orphans are among them, since this process is a subreaper."""
    waiting = [ancestor]
    while waiting:
        pid = waiting.pop()
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
            for task in tasks:
                text = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
                children = [int(word) for word in text.split()]
                yield from children
                waiting += children
        except OSError:
            continue


def _emptied(folder: str) -> bool:
    """Flatten while removing: a folder in a folder is moved up, so that no path grows long."""
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    budget, moved, secret = _MOST_REMOVALS, 0, os.urandom(16).hex()
    try:
        waiting = os.listdir(top)
        while waiting:
            name = waiting.pop()
            budget -= 1
            if _unlinked(name, top):
                continue
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                for child in os.listdir(inner):
                    budget -= 1
                    if budget < 0:
                        return False
                    if not _unlinked(child, inner):
                        moved += 1
                        # a name that the program cannot have used already
                        risen = f".swept-{moved}-{secret}"
                        os.rename(child, risen, src_dir_fd=inner, dst_dir_fd=top)
                        waiting.append(risen)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
        return not os.listdir(top)
    finally:
        os.close(top)


def _unlinked(name: str, folder: int) -> bool:
    """Remove a file or an empty folder; return False for a folder with something in it."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError:
            return False
    return True
