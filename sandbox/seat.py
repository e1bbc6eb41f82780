"""One place of a pool: at most one worker, used by one thread, replaced when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from sandbox.guest.layout import RunOrder
from sandbox.guest_link import RunReport
from sandbox.quiet_time import QuietTime
from stepcoder_dist.errors import SandboxFault


class Worker(Protocol):
    """A live zygote. After a `SandboxFault` it is of no more use."""

    def run(self, order: RunOrder, blobs: list[bytes]) -> RunReport: ...

    def alive(self) -> bool:
        """Between runs: whether it can take another."""
        ...

    def close(self) -> None:
        """End it and everything in it; may be called from another thread, and twice."""
        ...


@dataclass(slots=True)
class PoolStats:
    """Counters since the start."""

    verdicts: int = 0
    faults: int = 0
    """Tries at a program that the sandbox itself failed."""
    recycled: int = 0
    """Workers that were replaced, because they broke or were not clean."""
    waiting: int = 0
    in_flight: int = 0
    workers: int = 0


class Seat:
    """Runs orders on its worker; its thread is the pool's to use."""

    def __init__(
        self, start: Callable[[], Worker], stats: PoolStats, quiet_time: QuietTime
    ) -> None:
        self._start = start
        self._stats = stats
        self._quiet_time = quiet_time
        self._worker: Worker | None = None
        self._abandoned = False
        self._lock = threading.Lock()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self.leaving = False
        """True: it takes no program after the one that it has."""
        self.working = False
        self.gone = asyncio.Event()

    def run(self, order: RunOrder, blobs: list[bytes], *, quiet: bool = False) -> RunReport:
        """Run one child; `quiet`: when the pool's other runs have ended. Raises `SandboxFault`."""
        time = self._quiet_time
        try:
            with time.quiet(order.wall_s) if quiet else time.busy():
                report = self.ready().run(order, blobs)
        except SandboxFault:
            self._discard()
            raise
        if not report.clean:
            self._discard()
        return report

    def make_ready(self) -> None:
        """Start the worker that is missing, so that the next program need not wait for it."""
        with contextlib.suppress(SandboxFault):  # the next program will meet it, and say so
            self.ready()

    def abandon(self) -> None:
        """Close permanently, from any thread: a run that is under way ends with a fault."""
        with self._lock:
            self._abandoned = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
        self.thread.shutdown(wait=False)

    def interrupt(self) -> None:
        """End the run that is under way; the seat gets a new worker."""
        self._discard()

    def ready(self) -> Worker:
        """Return the worker, started again if it is missing or broken. Raises `SandboxFault`."""
        with self._lock:
            if self._abandoned:
                raise SandboxFault("the sandbox is closed")
            worker = self._worker
        if worker is not None:
            if worker.alive():
                return worker
            self._discard()
        worker = self._start()
        with self._lock:
            if not self._abandoned:
                self._worker = worker
                return worker
        worker.close()
        raise SandboxFault("the sandbox was closed meanwhile")

    def _discard(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            self._stats.recycled += 1
            worker.close()
