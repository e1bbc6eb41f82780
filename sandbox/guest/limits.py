"""The limits of a child: those of the kernel, and the counters that are read.

All of it happens once for each run, so files are read and written without `pathlib` and `io`. A
page that a forked process writes to, even if only a reference count, is copied first.
"""

from __future__ import annotations

import contextlib
import os
import resource
from functools import cache

from sandbox.guest.confining import drop_capabilities, filter_calls
from sandbox.guest.layout import RunOrder, Settings

_MEMORY_SLACK_BYTES = 32 * 2**20
"""Memory that the interpreter itself may take beyond what it has at the fork."""
_STACK_SLACK_BYTES = 576 * 2**20
"""Address space for programs that ask for a large stack, which they hardly ever touch."""
_STACK_BYTES = 64 * 2**20
_OPEN_FILES = 512
_OOM_COUNTERS = (  # cgroups v2, v1
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
)
_MOST_BYTES = 2**14
"""Most bytes that are read of one of the kernel's files."""


def _limit_resources(
    cpu_s: float, memory_bytes: int, *, files: int, processes: int | None, large_stacks: bool
) -> None:
    """Limit this process and all that it starts; `files` are open already.

    The limit on processor seconds is a backstop: the zygote's own clock is exact and comes first.
    Memory is counted as private writable memory, beyond what the interpreter has at the fork.
    `processes` is None where the user is not the child's own, since the kernel counts by user.
    """
    baseline = data_bytes() + _MEMORY_SLACK_BYTES
    stacks = _STACK_SLACK_BYTES if large_stacks else 0
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(cpu_s) + 2,
        resource.RLIMIT_DATA: memory_bytes + baseline + stacks,
        resource.RLIMIT_NOFILE: _OPEN_FILES + files,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if processes is not None:
        limits[resource.RLIMIT_NPROC] = processes
    for which, limit in limits.items():
        _, hard = resource.getrlimit(which)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (most, most))


def _limit_stack(*, large_stacks: bool) -> None:
    """Limit the main thread's stack, which no limit on data counts.

    Contest programs raise it before a deep recursion. Those that name it may do so: the memory that
    they touch counts in their peak, and the container's limit ends them.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    most = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (most, hard if large_stacks else most))


def give_up_rights(uid: int | None, order: RunOrder, settings: Settings) -> None:
    """Become this user for good, in a session of its own, under the order's limits.

    Where it is no other user (`uid` is None), it gives up the zygote's capabilities, if it has any.
    """
    counted = uid is not None or settings.own_users
    os.setsid()
    with contextlib.nullcontext() if uid is not None else contextlib.suppress(PermissionError):
        # a child that is hidden from its own user (`confining.hide`) may not
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, b"1000")
        os.close(score)
    _limit_resources(
        order.cpu_s * order.tests,
        order.memory_bytes,
        files=2 * order.tests,
        # the zygote and a script's process are the same user's
        processes=order.processes + 2 * (uid is None) if counted else None,
        large_stacks=order.large_stacks,
    )
    _limit_stack(large_stacks=order.large_stacks)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if settings.contained and (uid is None or settings.own_users):
        drop_capabilities()
    os.umask(0o022)
    if settings.call_filter:
        filter_calls(settings.call_filter)


def memory_kills() -> int:
    """Return the number of processes in this container that the kernel has killed for memory."""
    counter = _oom_counter()
    words = content(counter).split() if counter else []
    return int(words[words.index(b"oom_kill") + 1]) if b"oom_kill" in words else 0


@cache
def _oom_counter() -> str | None:
    """Return the file that counts memory kills, if the kernel has one."""
    for path in _OOM_COUNTERS:
        with contextlib.suppress(OSError):
            if b"oom_kill" in content(path).split():
                return path
    return None


@cache
def data_bytes() -> int:
    """Return this process's private writable memory at the first call, as RLIMIT_DATA counts it.

    The zygote calls it before it has children, and they inherit the result.
    """
    for line in content("/proc/self/status").splitlines():
        if line.startswith(b"VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def content(path: str) -> bytes:
    """Read one of the kernel's short files. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _MOST_BYTES)
    finally:
        os.close(file)
