"""Control groups of one place: its memory, processes and processor time, counted by the kernel.

Version 2 needs a folder that this process may divide: as root, or one that systemd has delegated
(`systemd-run --user --scope -p Delegate=yes`, a user's session). Version 1 needs root. Where
neither is to be had, there are none, and the zygote adds the memory up itself.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from stepcoder_dist.errors import SandboxFault

_PROCESSORS = 1
_PERIOD_US = 100_000
_VERSION_1 = {"memory": "memory.limit_in_bytes", "pids": "pids.max", "cpuacct": "", "cpu": ""}
"""Controllers, and the file of the limit."""


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where this process is in the kernel's trees of control groups, as folders."""

    unified: list[Path]
    """Version 2: its own folder, then those above."""
    controllers: dict[str, Path]
    """Version 1: its own folder by controller."""


def hierarchies(mounts: str, membership: str) -> Hierarchies:
    """Read them from the text of `/proc/self/mountinfo` and `/proc/self/cgroup`."""
    unified: list[Path] = []
    controllers: dict[str, Path] = {}
    places = [line.split(":", 2) for line in membership.splitlines()]
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind not in {"cgroup", "cgroup2"}:
            continue
        for _, names, path in places:
            mounted = not names if kind == "cgroup2" else bool(names)
            if not mounted:
                continue
            inner = path[len(root) :] if root != "/" and path.startswith(root) else path
            own = Path(point, inner.strip("/")) if root == "/" or inner != path else Path(point)
            if kind == "cgroup2":
                steps = len(own.relative_to(point).parts)
                unified += [own, *own.parents[:steps]]
            else:
                shared = set(names.split(",")) & set(options.split(","))
                controllers |= dict.fromkeys(shared & _VERSION_1.keys(), own)
    return Hierarchies(unified, controllers)


class ControlGroups:
    """Those of one place. `close` when its processes are gone."""

    def __init__(self, folders: dict[str, Path], memory_file: str) -> None:
        self._folders = folders
        self._memory_file = memory_file

    @property
    def to_join(self) -> list[str]:
        return sorted({str(folder) for folder in self._folders.values()})

    @property
    def seen_inside(self) -> dict[str, str]:
        """Folders by the place where the zygote looks for them."""
        if "" in self._folders:
            return {"/sys/fs/cgroup": str(self._folders[""])}
        return {f"/sys/fs/cgroup/{name}": str(path) for name, path in self._folders.items()}

    def limit_memory(self, most_bytes: int) -> None:
        """Raises `SandboxFault`."""
        folder = self._folders.get("") or self._folders["memory"]
        both = folder / "memory.memsw.limit_in_bytes"  # version 1 with an account of swap
        try:
            if both.exists() and most_bytes > int(both.read_text(encoding="ascii")):
                both.write_text(str(most_bytes), encoding="ascii")
            (folder / self._memory_file).write_text(str(most_bytes), encoding="ascii")
            if both.exists():
                both.write_text(str(most_bytes), encoding="ascii")
        except OSError as error:
            raise SandboxFault(f"a control group's memory cannot be set: {error}") from error

    def memory_kills(self) -> int:
        """How many processes of it the kernel has ended for memory."""
        folder = self._folders.get("") or self._folders["memory"]
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                lines = (folder / name).read_text(encoding="ascii").splitlines()
                counts = dict(line.split() for line in lines)
                return int(counts.get("oom_kill", 0))
        return 0

    def close(self) -> None:
        for folder in {*self._folders.values()}:
            with contextlib.suppress(OSError):
                folder.rmdir()


def make(memory_bytes: int, processes: int) -> ControlGroups | None:
    """Make groups with these limits; None where this process may not."""
    try:
        found = hierarchies(
            Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
            Path("/proc/self/cgroup").read_text(encoding="utf-8"),
        )
    except OSError:
        return None
    name = f"stepcoder-sandbox-{uuid.uuid4().hex[:12]}"
    for above in found.unified:
        limits = {
            "memory.max": str(memory_bytes),
            "pids.max": str(processes),
            "cpu.max": f"{_PROCESSORS * _PERIOD_US} {_PERIOD_US}",
        }
        if _made(above / name, limits, needed=("memory.max", "pids.max")):
            with contextlib.suppress(OSError):
                (above / name / "memory.swap.max").write_text("0", encoding="ascii")
            return ControlGroups({"": above / name}, "memory.max")
    return _version_1(found.controllers, name, memory_bytes, processes)


def _version_1(
    controllers: dict[str, Path], name: str, memory_bytes: int, processes: int
) -> ControlGroups | None:
    if not {"memory", "pids"} <= controllers.keys():
        return None
    values = {"memory.limit_in_bytes": str(memory_bytes), "pids.max": str(processes)}
    values |= {"cpu.cfs_quota_us": str(_PROCESSORS * _PERIOD_US)}
    made: dict[str, Path] = {}
    for controller, own in controllers.items():
        wanted = {file: value for file, value in values.items() if file.startswith(controller)}
        if not _made(own / name, wanted, needed=tuple(wanted)):
            ControlGroups(made, "").close()
            return None
        made[controller] = own / name
    groups = ControlGroups(made, "memory.limit_in_bytes")
    with contextlib.suppress(SandboxFault):
        groups.limit_memory(memory_bytes)  # swap too, where it is counted
    return groups


def _made(folder: Path, limits: dict[str, str], needed: tuple[str, ...]) -> bool:
    """Whether the group exists now, with these limits."""
    if not os.access(folder.parent, os.W_OK):
        return False
    try:
        folder.mkdir(exist_ok=True)  # two controllers may share a tree
    except OSError:
        return False
    for file, value in limits.items():
        try:
            # a file that is not there would be one of our own making
            with (folder / file).open("r+", encoding="ascii") as limit:
                limit.write(value)
        except OSError:
            if file in needed:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                return False
    return True
