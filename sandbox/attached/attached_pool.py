"""Guests that somebody else started, reached by Unix sockets: `ports.Sandbox` in a pod."""

from __future__ import annotations

import base64
import contextlib
import glob
import json
import select
import socket
import threading
import time
from dataclasses import dataclass

from sandbox.absence import pauses
from sandbox.confinement import seccomp_filter
from sandbox.confinement.bounds import FOLDERS, LOWEST_PYTHON
from sandbox.guest.layout import LENGTH, RunOrder, Settings
from sandbox.guest_link import BOOT, GuestLink, RunReport
from sandbox.orders import python_settings
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import EngineAway, MissingEngine, SandboxFault

_HELLO_S = 10.0
_MOST_HELLO_BYTES = 2**16
_OWN_USERS_FROM = 100_000
"""A guest's user with such a number is taken for its own: the kernel counts processes by user."""


class _OtherPython(SandboxFault):
    """A guest whose Python is too old."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a guest says of itself."""

    python: tuple[int, ...]
    user: int
    folder: str
    """That of its socket, as it sees it."""
    again: list[str]
    """The command by which it begins again."""


class AttachedPool(WorkerPool):
    """`config.containers` guests, each with one program at a time."""

    def __init__(self, config: SandboxConfig) -> None:
        """Raises `MissingEngine` without `sandbox.sockets`."""
        self._config = config
        self._pattern = _pattern(config)
        self._closing = threading.Event()
        super().__init__(
            self.attach,
            workers=config.containers,
            limits=config.limits,
            attempts=config.attempts,
            engine_wait_s=config.engine_wait_s,
        )

    async def close(self) -> None:
        self._closing.set()
        await super().close()

    def attach(self) -> AttachedWorker:
        """Wait for a guest that is free: one that ended is started again by its supervisor."""
        wait_s, begun = self._config.engine_wait_s, time.monotonic()
        for pause_s in pauses():
            try:
                return AttachedWorker(
                    self._pattern,
                    hash_seed=self._config.hash_seed,
                    int_digits=self._config.int_digits,
                )
            except EngineAway as away:
                left_s = begun + wait_s - time.monotonic()
                if left_s <= 0:
                    raise SandboxFault(f"{away}; waited {wait_s:g} s") from None
                if self._closing.wait(min(pause_s, left_s)):
                    raise SandboxFault("the sandbox is closed") from None
        raise AssertionError("the pauses never end")


class AttachedWorker:
    """Implements `seat.Worker`: a guest that is this worker's until it closes."""

    def __init__(self, pattern: str, *, hash_seed: int = 0, int_digits: int = 0) -> None:
        """Take a guest that is free. Raises `EngineAway` where none is, and `SandboxFault`."""
        self.path, self._channel, hello = _taken(pattern)
        self._link = GuestLink(self._channel)
        folder = next(iter(FOLDERS))
        environment = {"LANG": "C.UTF-8", "HOME": folder, **python_settings(hash_seed, int_digits)}
        start = {"boot": BOOT, "folder": folder, "environment": environment}
        try:
            self._channel.send_message(start)
            self._link.start(_settings(hello))
        except SandboxFault as fault:
            self.close()
            raise SandboxFault(f"the guest at {self.path} does not start: {fault}") from fault

    def run(self, order: RunOrder, blobs: list[bytes]) -> RunReport:
        return self._link.run(order, blobs)

    def alive(self) -> bool:
        return self._link.alive()

    def close(self) -> None:
        """Leave it: it removes what is left of its programs, and begins again or ends."""
        self._link.close()


class SocketChannel:
    """A `guest_link.Channel` over a connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.settimeout(None)
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise SandboxFault(f"a guest cannot be written to: {error}") from None

    def send_message(self, content: object) -> None:
        """A length, and JSON."""
        data = json.dumps(content).encode()
        self.send(LENGTH.pack(len(data)) + data)

    def receive(self, count: int, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        taken = bytearray()
        while len(taken) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SandboxFault("a guest does not answer in time")
            try:
                self._socket.settimeout(left)
                more = self._socket.recv(min(count - len(taken), 2**20))
            except TimeoutError:
                continue
            except (OSError, ValueError) as error:
                raise SandboxFault(f"a guest cannot be read from: {error}") from None
            if not more:
                raise SandboxFault("a guest has ended")
            taken += more
        return bytes(taken)

    def silent(self) -> bool:
        try:
            readable, _, _ = select.select([self._socket], [], [], 0)
        except (OSError, ValueError):
            return False
        return not readable

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads
        self._socket.close()


def check(config: SandboxConfig, *, wait_s: float = 0.0) -> Hello:
    """Wait for a guest that answers, and return what it says. Raises `MissingEngine`."""
    pattern = _pattern(config)
    begun = time.monotonic()
    for pause_s in pauses():
        try:
            _, channel, hello = _taken(pattern)
        except EngineAway as away:
            if time.monotonic() - begun >= wait_s:
                waited = f" (waited {wait_s:g} s)" if wait_s else ""
                raise MissingEngine(f"{away}{waited}") from None
            time.sleep(pause_s)
        except SandboxFault as fault:
            raise MissingEngine(str(fault)) from None
        else:
            channel.close()  # it was only looked at, and listens again
            return hello
    raise AssertionError("the pauses never end")


def _pattern(config: SandboxConfig) -> str:
    if config.sockets is None:
        raise MissingEngine(
            'sandbox.backend = "attached" needs sandbox.sockets, where the guests listen: '
            '"/guests/*/guest.sock" (docs/sandbox.md)'
        )
    return config.sockets


def _taken(pattern: str) -> tuple[str, SocketChannel, Hello]:
    """A guest that is free. Raises `EngineAway` where none is, `SandboxFault` where it will not
    do."""
    for path in sorted(glob.glob(pattern)):  # noqa: PTH207 - a pattern from the root on
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(_HELLO_S)
        try:
            connected.connect(path)
        except OSError:  # nobody serves it, or not yet
            connected.close()
            continue
        channel = SocketChannel(connected)
        try:
            hello = _hello(channel, path)
        except _OtherPython:
            channel.close()
            raise
        except SandboxFault:  # taken by somebody else at this moment
            channel.close()
            continue
        return path, channel, hello
    raise EngineAway(
        f"nobody serves a free socket that matches sandbox.sockets = {pattern!r}; start as many "
        "guests as sandbox.containers, each with `python3 guest_listener.py SOCKET`"
    )


def _hello(channel: SocketChannel, path: str) -> Hello:
    """Read what the guest says of itself.

    Raises `_OtherPython`, and `SandboxFault` for what is no guest or goes away.
    """
    (length,) = LENGTH.unpack(channel.receive(LENGTH.size, _HELLO_S))
    if length > _MOST_HELLO_BYTES:
        raise SandboxFault(f"what serves {path} is no guest")
    try:
        told = json.loads(channel.receive(length, _HELLO_S))
        hello = Hello(tuple(told["python"]), told["user"], told["folder"], told["again"])
    except (ValueError, KeyError, TypeError):
        raise SandboxFault(f"what serves {path} is no guest") from None
    if hello.python[:2] < LOWEST_PYTHON:
        seen, lowest = (".".join(map(str, v)) for v in (hello.python, LOWEST_PYTHON))
        raise _OtherPython(
            f"the guest at {path} has Python {seen}; give its container an image with Python "
            f"{lowest} or newer"
        )
    return hello


def _settings(hello: Hello) -> Settings:
    instead = (*seccomp_filter.ONLY_OF_ITSELF, *seccomp_filter.NO_SOCKETS_BUT_PAIRS)
    return Settings(
        uid=None,
        script_uid=None,
        folders=[*FOLDERS, hello.folder],
        contained=True,
        own_users=hello.user >= _OWN_USERS_FROM,
        own_network=False,
        call_filter=base64.b64encode(seccomp_filter.compiled(instead=instead)).decode("ascii"),
        watch_memory=True,
        again=hello.again,
    )
