"""N places to run programs, one program in a place at a time; a broken place is made anew.

A *worker* is a live zygote, in a container or not. A *slot* owns at most one and replaces it when
it breaks or is not clean. Judging blocks, so each slot works on a thread of its own; the event
loop only hands out slots, first come, first served.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self

from sandbox import judging
from sandbox.checks import check_source, check_suite
from sandbox.guest.layout import Order
from sandbox.guest_link import RunReport
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import Limits, TestSuite, Verdict

_BACK_OFF_S = 0.2


class Worker(Protocol):
    """A live zygote. After a `SandboxFault` it is of no more use."""

    def run(self, order: Order, blobs: list[bytes]) -> RunReport: ...

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


class _Slot:
    """One place: at most one worker, used by one thread at a time."""

    def __init__(self, start: Callable[[], Worker], stats: PoolStats) -> None:
        self._start = start
        self._stats = stats
        self._worker: Worker | None = None
        self._abandoned = False
        self._lock = threading.Lock()

    def run(self, order: Order, blobs: list[bytes]) -> RunReport:
        worker = self._ready()
        try:
            report = worker.run(order, blobs)
        except SandboxFault:
            self._discard()
            raise
        if not report.clean:
            self._discard()
        return report

    def make_ready(self) -> None:
        """Start the worker that is missing, so that the next program need not wait for it."""
        with contextlib.suppress(SandboxFault):  # the next program will meet it, and say so
            self._ready()

    def abandon(self) -> None:
        """Close for good, from any thread: a run that is under way ends with a fault."""
        with self._lock:
            self._abandoned = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def interrupt(self) -> None:
        """End the run that is under way; the slot gets a new worker."""
        self._discard()

    def _ready(self) -> Worker:
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


class WorkerPool:
    """Implements `ports.Executor` over some workers. Use it as an async context manager."""

    def __init__(
        self, start_worker: Callable[[], Worker], *, workers: int, limits: Limits, attempts: int
    ) -> None:
        self.stats = PoolStats()
        self._limits = limits
        self._attempts = attempts
        self._slots = [_Slot(start_worker, self.stats) for _ in range(workers)]
        self._free: asyncio.Queue[_Slot] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        self._background: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Start every worker. Raises `SandboxFault` when one cannot be started."""
        loop = asyncio.get_running_loop()
        started = await asyncio.gather(
            *(loop.run_in_executor(self._threads, slot._ready) for slot in self._slots),  # noqa: SLF001
            return_exceptions=True,
        )
        for problem in started:
            if isinstance(problem, BaseException):
                await self.close()
                raise problem
        for slot in self._slots:
            self._free.put_nowait(slot)

    async def close(self) -> None:
        """End every worker; programs under way end with a fault."""
        for slot in self._slots:
            await asyncio.to_thread(slot.abandon)
        if self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def judge(self, source: str, tests: TestSuite) -> Verdict:
        """Run every test of the suite in one place.

        Raises `SandboxFault` when the sandbox failed `attempts` times, and `ProblemError` for a
        source or a suite that cannot be judged.
        """
        check_source(source)
        check_suite(tests)
        for attempt in range(1, self._attempts + 1):
            try:
                verdict = await self._try(source, tests)
            except SandboxFault as fault:
                self.stats.faults += 1
                if attempt == self._attempts:
                    raise SandboxFault(f"{fault} (after {attempt} tries)") from fault
                await asyncio.sleep(_BACK_OFF_S * 2 ** (attempt - 1))
            else:
                self.stats.verdicts += 1
                return verdict
        raise AssertionError("attempts is at least 1")

    async def _try(self, source: str, tests: TestSuite) -> Verdict:
        self.stats.waiting += 1
        try:
            slot = await self._free.get()
        finally:
            self.stats.waiting -= 1
        self.stats.in_flight += 1
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, judging.judge, slot.run, source, tests, self._limits
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            slot.interrupt()
            raise
        finally:
            self.stats.in_flight -= 1
            giving_back = asyncio.ensure_future(self._give_back(slot, work))
            self._background.add(giving_back)
            giving_back.add_done_callback(self._background.discard)

    async def _give_back(self, slot: _Slot, work: asyncio.Future[Verdict]) -> None:
        """Make the slot ready for the next program, after its thread has come to an end."""
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # whoever waited for it has seen it
        await asyncio.get_running_loop().run_in_executor(self._threads, slot.make_ready)
        self._free.put_nowait(slot)
