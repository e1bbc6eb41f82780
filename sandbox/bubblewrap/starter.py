"""A process that becomes bwrap: it takes what only it can take for itself, then executes bwrap.

It is run as a file, with one argument (JSON of `command.Start`), and imports the standard library
only. It is a process of its own because it forks and changes its user, which one of many threads
cannot do for itself.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import resource
import sys
from pathlib import Path

_NEW_USERS = 0x10000000
_REFUSED = 125


def main() -> None:
    start = json.loads(sys.argv[1])
    command: list[str] = start["command"]
    for folder in start["groups"]:
        Path(folder, "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # the zygote's own pages (`stay_in_memory`)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    user, users = start["user"], start["users"]
    given = ["--seccomp", _filter(start["call_filter"])]
    if users:
        given += ["--userns", _namespace(user, users)]
    if user is not None:
        _become(user)
    os.execv(command[0], [command[0], *given, *command[1:]])  # noqa: S606 - a shell has no part in it


def _filter(program: str) -> str:
    file = os.memfd_create("filter", 0)
    os.write(file, base64.b64decode(program))
    os.lseek(file, 0, os.SEEK_SET)
    return str(file)


def _namespace(user: int, users: str) -> str:
    """Make a namespace of users that `user` owns, with these in it, and return its descriptor.

    A child makes it, as `user`; this process, which may, says who its users are.
    """
    made, maker = os.pipe()
    leave, leaver = os.pipe()
    child = os.fork()
    if child == 0:
        _become(user)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.unshare(_NEW_USERS)
        os.write(maker, str(ctypes.get_errno() if failed else 0).encode())
        os.read(leave, 1)
        os._exit(0)
    number = int(os.read(made, 16))
    if not number:
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{kind}").write_text(users, encoding="ascii")
        namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
        os.set_inheritable(namespace, True)
    os.write(leaver, b".")
    os.waitpid(child, 0)
    for descriptor in (made, maker, leave, leaver):
        os.close(descriptor)
    if number:
        raise OSError(number, f"no new namespace of users: {os.strerror(number)}")
    return str(namespace)


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        sys.exit(_REFUSED)
