"""The same guest as plain child processes: NOT a security boundary.

It exists so that a machine without a container engine and without bubblewrap can try the demo.
Resource limits and clean-up are the guest's own; a hostile program can read whatever its user can,
and the network.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

from sandbox.containers.program_users import APART, next_user
from sandbox.guest.layout import RunOrder, Settings
from sandbox.guest_link import BOOT, GuestLink, RunReport
from sandbox.orders import python_settings
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.host import scratch

_END_TIMEOUT_S = 10.0

WARNING = (
    "the sandbox runs as plain processes: this is NO security boundary. Model-written code can "
    "read your files and use your network. Install Docker or bubblewrap for anything but a first "
    "try."
)


class ProcessPool(WorkerPool):
    """`config.containers` zygotes, each with one program at a time."""

    def __init__(self, config: SandboxConfig) -> None:
        if not _warned:
            _warned.append(True)
            warnings.warn(WARNING, stacklevel=2)
        super().__init__(
            partial(ProcessWorker, hash_seed=config.hash_seed, int_digits=config.int_digits),
            workers=config.containers,
            limits=config.limits,
            attempts=config.attempts,
        )


_warned: list[bool] = []


class ProcessWorker:
    """Implements `worker_pool.Worker`: a zygote without a container around it."""

    def __init__(self, *, hash_seed: int = 0, int_digits: int = 0) -> None:
        """Start it. Raises `SandboxFault`."""
        self._folder = str(scratch.make("sandbox"))
        python, uid = _interpreter()
        if uid is not None:
            os.chown(self._folder, uid, uid)
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "HOME": self._folder,
            "TMPDIR": self._folder,
            **python_settings(hash_seed, int_digits),
        }
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [python, "-B", "-u", "-s", "-c", BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SandboxFault(f"a sandbox process cannot be started: {error}") from error
        self._link = GuestLink(PipeChannel(self._process))
        try:
            self._link.start(
                Settings(
                    uid=uid,
                    script_uid=None if uid is None else uid + APART,
                    folders=[self._folder],
                    contained=False,
                )
            )
        except SandboxFault:
            self.close()
            raise

    def run(self, order: RunOrder, blobs: list[bytes]) -> RunReport:
        return self._link.run(order, blobs)

    def alive(self) -> bool:
        return self._link.alive()

    def close(self) -> None:
        self._link.close()  # the zygote sees the end of its input, kills what runs, and ends
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class PipeChannel:
    """Bytes over a child process's pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - we asked for pipes
        assert process.stdout is not None  # noqa: S101
        self._sink, self._source = process.stdin, process.stdout

    def send(self, data: bytes | memoryview) -> None:
        part = memoryview(data)
        try:
            while part:
                part = part[os.write(self._sink.fileno(), part) :]
        except (OSError, ValueError) as error:
            raise SandboxFault(f"a sandbox process cannot be written to: {error}") from None

    def receive(self, count: int, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        taken = bytearray()
        try:
            poll = select.poll()
            poll.register(self._source.fileno(), select.POLLIN)
            while len(taken) < count:
                left = deadline - time.monotonic()
                if left <= 0 or not poll.poll(left * 1000):
                    raise SandboxFault("a sandbox process does not answer in time")
                more = os.read(self._source.fileno(), count - len(taken))
                if not more:
                    raise SandboxFault("a sandbox process has ended")
                taken += more
        except (OSError, ValueError) as error:
            raise SandboxFault(f"a sandbox process cannot be read from: {error}") from None
        return bytes(taken)

    def silent(self) -> bool:
        try:
            poll = select.poll()
            poll.register(self._source.fileno(), select.POLLIN)
            return not poll.poll(0) and not self._sink.closed
        except ValueError:
            return False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sink.close()


def _interpreter() -> tuple[str, int | None]:
    """Return a Python, and the user that its children become: nobody's where we are root.

    An interpreter under a home folder cannot be read by another user: then the system's own is
    taken, and where there is none the children stay root.
    """
    if os.geteuid() != 0:
        return sys.executable, None
    uid = next_user()
    for python in (sys.executable, "/usr/bin/python3"):
        path = Path(python).resolve()
        if path.exists() and all(p.stat().st_mode & 0o005 for p in (path, *path.parents)):
            return python, uid
    return sys.executable, None
