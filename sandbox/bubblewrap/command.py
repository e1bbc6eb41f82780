"""bwrap's options: what a place sees, and who its users are.

It sees an image's file system (`sandbox.root`), or of this machine `/usr` and its own Python, and
two folders that it may write to. All of it but those is read-only, and nothing else is there.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.confinement.bounds import CAPABILITIES, FOLDERS
from sandbox.containers.program_users import APART, next_user

_ALL_USERS = "0 0 4294967295"
_PROGRAMS, _SCRIPTS, _ALONE = 1000, 1001, 1000
_FOR_ALL = 0o005
"""Permission for every user to read and enter."""
_FOLDER = ("--perms", "0755", "--dir")
"""bwrap makes what leads to a mount for its owner alone."""
_COUNTED_SINCE = (5, 14)
"""The kernel counts a user's processes by namespace since then."""


@dataclass(frozen=True, slots=True)
class Start:
    """What `starter.py` is told."""

    command: list[str]
    groups: list[str]
    """Control groups to join, as folders."""
    user: int | None
    """The user to become first."""
    users: str
    """Users of the new namespace, as the kernel takes them; empty: bwrap makes one with one."""
    call_filter: str
    """Classic BPF, base64."""

    @property
    def json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Users:
    """Who a place's processes are, to the machine and inside."""

    user: int | None
    """The machine's user that all of it belongs to; None: the one who starts it."""
    users: str
    inside: int
    """The zygote's number inside."""
    programs: int | None
    scripts: int | None
    """None: programs and scripts are the zygote's user."""


def users(*, alone: bool = False) -> Users:
    """Return three users of the machine's that nobody else has, where root can give them.

    Elsewhere, or with `alone`, all of a place is one user.
    """
    if not is_root():
        return Users(None, "", _ALONE, None, None)
    first = next_user()
    if alone:
        return Users(first, "", _ALONE, None, None)
    # as the kernel takes them: number inside, number outside, how many
    lines = (0, first), (_PROGRAMS, first + APART), (_SCRIPTS, first + 2 * APART)
    told = "".join(f"{inside} {outside} 1\n" for inside, outside in lines)
    return Users(first, told, 0, _PROGRAMS, _SCRIPTS)


def is_root() -> bool:
    """Whether this process is the machine's root, and not that of a namespace."""
    if os.geteuid() != 0:
        return False
    listed = Path("/proc/self/uid_map").read_text(encoding="ascii")
    return " ".join(listed.split()) == _ALL_USERS


def counts_processes() -> bool:
    """Whether the kernel counts the processes of a namespace's users apart from others."""
    major, minor, *_ = platform.release().split(".")
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= _COUNTED_SINCE


def machine_python() -> str | None:
    """A Python of this machine whose files an unprivileged user can read; None without one."""
    for python in (sys.executable, "/usr/bin/python3"):
        path = Path(python).resolve()
        if not path.exists():
            continue
        above = (path, *path.parents)
        if not is_root() or all(p.stat().st_mode & _FOR_ALL == _FOR_ALL for p in above):
            return str(path)
    return None


def command(
    bwrap: str, who: Users, *, root: str | None, groups: dict[str, str], environment: dict[str, str]
) -> list[str]:
    """Return bwrap and its options, up to the program.

    `groups`: control groups that are seen, by their place inside.
    """
    options = [bwrap]
    if not who.users:
        options.append("--unshare-user")
    options += [f"--unshare-{name}" for name in ("pid", "net", "ipc", "uts", "cgroup")]
    options += ["--uid", str(who.inside), "--gid", str(who.inside), "--hostname", "sandbox"]
    options += ["--as-pid-1", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]
    for capability in CAPABILITIES:
        options += ["--cap-add", f"CAP_{capability}"]
    options += _image(root) if root is not None else _machine()
    options += ["--proc", "/proc", "--dev", "/dev"]
    for folder, (mib, _) in FOLDERS.items():
        options += ["--size", str(mib * 2**20), "--perms", "1777", "--tmpfs", folder]
    if root is not None:
        options += ["--tmpfs", "/sys"]
    for folder in ("/sys", "/sys/fs", "/sys/fs/cgroup") if groups else ():
        options += [*_FOLDER, folder]
    for inside, outside in groups.items():
        options += ["--ro-bind", outside, inside]
    if root is not None:
        options += ["--remount-ro", "/sys"]
    options += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]  # noqa: S108
    for name, value in environment.items():
        options += ["--setenv", name, value]
    return options


def _image(root: str) -> list[str]:
    return ["--ro-bind", root, "/"]


def _machine() -> list[str]:
    """`/usr`, what leads into it, and a Python that is elsewhere."""
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/lib", "/lib64", "/sbin"):
        path = Path(name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), name]
        elif path.exists():
            options += ["--ro-bind", name, name]
    options += [*_FOLDER, "/etc"]
    for name in ("/etc/ld.so.cache", "/etc/alternatives"):
        options += ["--ro-bind-try", name, name]
    python = machine_python()
    if python is not None and not python.startswith("/usr/"):
        options += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    return options
