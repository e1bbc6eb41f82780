"""Warm places that bubblewrap makes: `ports.Sandbox` without an engine."""

from __future__ import annotations

import base64
import contextlib
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import IO

from sandbox.bubblewrap import control_groups, starter
from sandbox.bubblewrap.command import (
    Start,
    Users,
    command,
    counts_processes,
    is_root,
    machine_python,
    users,
)
from sandbox.confinement import seccomp_filter
from sandbox.confinement.bounds import FOLDERS, LOWEST_PYTHON, OVERHEAD_BYTES, SPARE_PROCESSES
from sandbox.guest.layout import RunOrder, Settings
from sandbox.guest_link import BOOT, SPARE_INPUT_BYTES, GuestLink, RunReport
from sandbox.orders import python_settings
from sandbox.process_pool import PipeChannel
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine, SandboxFault
from stepcoder_dist.records import Limits

_END_TIMEOUT_S = 10.0
_TRY_TIMEOUT_S = 60.0
_LAST_WORDS = 300
_GUESTS_LOWEST_PYTHON = (3, 11)


class BubblewrapPool(WorkerPool):
    """`config.containers` places, each with one program at a time."""

    def __init__(self, config: SandboxConfig, *, alone: bool = False) -> None:
        """`alone`: as without root, one user for all of a place. Raises `MissingEngine`."""
        check(config.root, alone=alone)
        super().__init__(
            partial(
                BubblewrapWorker,
                config.limits,
                root=config.root,
                hash_seed=config.hash_seed,
                int_digits=config.int_digits,
                alone=alone,
            ),
            workers=config.containers,
            limits=config.limits,
            attempts=config.attempts,
        )


class BubblewrapWorker:
    """Implements `seat.Worker`: a zygote in namespaces of its own."""

    def __init__(
        self,
        limits: Limits,
        *,
        root: str | None = None,
        hash_seed: int = 0,
        int_digits: int = 0,
        alone: bool = False,
        grouped: bool = True,
    ) -> None:
        """Start it and wait for its zygote. `grouped`: in control groups, where there can be some.

        Raises `SandboxFault`.
        """
        self._memory_bytes = limits.memory_bytes + limits.output_bytes + OVERHEAD_BYTES
        self._overhead = self._memory_bytes - limits.memory_bytes
        self._closed = False
        processes = limits.processes + SPARE_PROCESSES
        self.groups = control_groups.make(self._memory_bytes, processes) if grouped else None
        """None: the zygote watches the memory."""
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        who = users(alone=alone)
        try:
            self._process = _started(
                who,
                self.groups,
                root=root,
                settings=python_settings(hash_seed, int_digits),
                words=self._words,
            )
        except OSError as error:
            self._release()
            raise SandboxFault(f"bubblewrap cannot be started: {error}") from error
        self._link = GuestLink(PipeChannel(self._process))
        try:
            version = self._link.start(_settings(who, watch_memory=self.groups is None))
        except SandboxFault as fault:
            self.close()
            raise SandboxFault(f"{fault}{self._said}") from fault
        lowest = LOWEST_PYTHON if root is not None else _GUESTS_LOWEST_PYTHON
        if version[:2] < lowest:
            self.close()
            seen, wanted = (".".join(map(str, v)) for v in (version, lowest))
            raise SandboxFault(
                f"{root or machine_python()} has Python {seen}; it needs {wanted} or newer "
                "(sandbox.root: a folder with another)"
            )

    @property
    def pid(self) -> int:
        """The process that waits for the place's end."""
        return self._process.pid

    def run(self, order: RunOrder, blobs: list[bytes]) -> RunReport:
        inputs = max(0, sum(order.sizes) - SPARE_INPUT_BYTES)
        needed = order.memory_bytes + self._overhead + inputs
        if self.groups is not None and needed > self._memory_bytes:
            self.groups.limit_memory(needed)
            self._memory_bytes = needed
        kills = 0 if self.groups is None else self.groups.memory_kills()
        try:
            return self._link.run(order, blobs)
        except SandboxFault:
            if self.groups is not None and self._gone() and self.groups.memory_kills() > kills:
                return RunReport.lost_for_memory(order)  # as in `containers/container.py`
            raise

    def _gone(self) -> bool:
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def alive(self) -> bool:
        return not self._closed and self._link.alive()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._link.close()  # the zygote sees the end of its input, kills what runs, and ends
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # and with it its namespace of processes
            self._process.wait()
        self._release()

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            self._words.seek(0)
            words = self._words.read(_LAST_WORDS).decode("utf-8", "replace").strip()
            self._said = f"; its last words: {words}" if words else ""
        self._words.close()
        if self.groups is not None:
            self.groups.close()

    _said = ""


def check(root: str | None, *, alone: bool = False) -> None:
    """Raise `MissingEngine` where bubblewrap does not work on this machine, or `root` will not do.

    It starts a Python in a place and waits for its end.
    """
    otherwise = 'or set sandbox.backend = "docker" or "process" (no security boundary)'
    if shutil.which("bwrap") is None:
        raise MissingEngine(
            "bubblewrap is not installed: there is no bwrap in PATH; install it (Debian: apt-get "
            f"install bubblewrap), {otherwise}"
        )
    if root is not None and not (Path(root) / "usr").is_dir():
        raise MissingEngine(
            f"sandbox.root = {root!r} is no root file system: there is no folder {root}/usr; make "
            "one as docs/sandbox.md says, or unset it to use this machine's Python"
        )
    if root is None and machine_python() is None:
        raise MissingEngine(
            "no Python of this machine can be read by other users, and bubblewrap runs programs as "
            "one; install Debian's python3, or set sandbox.root"
        )
    with tempfile.TemporaryFile() as words:
        started = _started(users(alone=alone), None, root=root, settings={}, words=words, boot="")
        try:
            status = started.wait(_TRY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            started.kill()
            status = started.wait()
        for pipe in (started.stdin, started.stdout):
            if pipe is not None:
                pipe.close()
        words.seek(0)
        said = words.read(_LAST_WORDS).decode("utf-8", "replace").strip().splitlines()
    if status != 0:
        raise MissingEngine(
            f"bubblewrap cannot make its namespaces here ({said[0] if said else status}); "
            "allow user namespaces (sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns; in a "
            f"container they need CAP_SYS_ADMIN), {otherwise}"
        )


def _started(
    who: Users,
    groups: control_groups.ControlGroups | None,
    *,
    root: str | None,
    settings: dict[str, str],
    words: IO[bytes],
    boot: str = BOOT,
) -> subprocess.Popen[bytes]:
    """Start a Python in a place. Raises `OSError`."""
    folder = next(iter(FOLDERS))
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": folder,
        **settings,
    }
    seen = {} if groups is None else groups.seen_inside
    bwrap = command(
        shutil.which("bwrap") or "bwrap", who, root=root, groups=seen, environment=environment
    )
    python = "python3" if root is not None else machine_python() or "python3"
    start = Start(
        command=[*bwrap, python, "-B", "-u", "-s", "-c", boot],
        groups=[] if groups is None else groups.to_join,
        user=who.user,
        users=who.users,
        call_filter=_base64(seccomp_filter.compiled()),
    )
    return subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-I", "-S", starter.__file__, start.json],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        cwd="/",
    )


def _settings(who: Users, *, watch_memory: bool) -> Settings:
    own = who.programs is None
    narrow = seccomp_filter.compiled(instead=seccomp_filter.ONLY_OF_ITSELF) if own else b""
    return Settings(
        uid=who.programs,
        script_uid=who.scripts,
        folders=list(FOLDERS),
        contained=True,
        own_users=counts_processes(),
        call_filter=_base64(narrow),
        watch_memory=watch_memory,
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def described(root: str | None) -> str:
    """What judges, in words."""
    seen = f"the file system {root}" if root is not None else "this machine's Python"
    programs = "users of their own" if is_root() else "the user who runs this"
    return f"bubblewrap with {seen}; programs run as {programs}"
