"""N places to run programs, one program in a place at a time; a broken place is made anew.

A *worker* is a live zygote, in a container or not. A *slot* owns at most one and replaces it when
it breaks or is not clean. Judging blocks, so each slot works on a thread of its own; the event
loop only hands out slots, fairly between problems (`fair_queue.py`). The pool grows and shrinks
while it works: a slot that has to go finishes its program first.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from sandbox import judging
from sandbox.checks import check_source, check_suite
from sandbox.fair_queue import FairQueue
from sandbox.guest.layout import Order
from sandbox.guest_link import RunReport
from stepcoder_dist.errors import CheckerFault, SandboxFault
from stepcoder_dist.records import Limits, TestSuite, Verdict

_BACK_OFF_S = 0.2

Result = TypeVar("Result")


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
    workers: int = 0


class _Slot:
    """One place: at most one worker, used by one thread at a time."""

    def __init__(self, start: Callable[[], Worker], stats: PoolStats) -> None:
        self._start = start
        self._stats = stats
        self._worker: Worker | None = None
        self._abandoned = False
        self._lock = threading.Lock()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self.leaving = False
        """True: it takes no program after the one that it has."""
        self.working = False
        self.gone = asyncio.Event()

    def run(self, order: Order, blobs: list[bytes]) -> RunReport:
        worker = self.ready()
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
            self.ready()

    def abandon(self) -> None:
        """Close for good, from any thread: a run that is under way ends with a fault."""
        with self._lock:
            self._abandoned = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
        self.thread.shutdown(wait=False)

    def interrupt(self) -> None:
        """End the run that is under way; the slot gets a new worker."""
        self._discard()

    def ready(self) -> Worker:
        """The worker, started anew where it is missing or broken. Raises `SandboxFault`."""
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
        self._start_worker = start_worker
        self._wanted = workers
        self._limits = limits
        self._attempts = attempts
        self._slots: list[_Slot] = []
        self._queue: FairQueue[_Slot] = FairQueue(self._count)
        self._background: set[asyncio.Future[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start every worker. Raises `SandboxFault` when one cannot be started."""
        try:
            await self._grow(self._wanted)
        except BaseException:
            await self.close()
            raise

    async def resize(self, workers: int) -> None:
        """Have so many workers; return when those that come are ready and those that go are gone.

        Nothing is lost or judged twice: a worker that goes finishes its program first. Raises
        `SandboxFault` when a new one cannot be started; then the others stay.
        """
        if workers < 1:
            raise ValueError(f"{workers} workers; a pool has at least one")
        more = workers - len([slot for slot in self._slots if not slot.leaving])
        if more > 0:
            await self._grow(more)
        else:
            await self._shrink(-more)

    async def close(self) -> None:
        """End every worker; programs under way end with a fault."""
        if self._closed:
            return
        self._closed = True
        self._queue.close(SandboxFault("the sandbox is closed"))
        await asyncio.gather(*(asyncio.to_thread(slot.abandon) for slot in self._slots))
        if self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        self._slots.clear()
        self._count()

    async def _grow(self, more: int) -> None:
        new = [_Slot(self._start_worker, self.stats) for _ in range(more)]
        self._slots += new
        starting = [self._on_thread(slot, slot.ready) for slot in new]
        try:
            started = await asyncio.gather(*starting, return_exceptions=True)
        except asyncio.CancelledError:
            await self._drop(new)
            raise
        fault = next((e for e in started if isinstance(e, BaseException)), None)
        if fault is not None:
            await self._drop(new)
            raise fault
        await self._drop([slot for slot in new if slot.leaving or self._closed])
        for slot in new:
            if slot in self._slots:
                self._queue.add(slot)
        self._count()

    async def _shrink(self, fewer: int) -> None:
        staying = [slot for slot in self._slots if not slot.leaving]
        staying.sort(key=lambda slot: slot.working)  # those without a program go first
        going = staying[:fewer]
        for slot in going:
            slot.leaving = True
        await self._drop([slot for slot in going if self._queue.withdraw(slot)])
        busy = [slot.gone.wait() for slot in going if slot in self._slots]
        await asyncio.gather(*busy)

    async def _drop(self, slots: list[_Slot]) -> None:
        await asyncio.gather(*(asyncio.to_thread(slot.abandon) for slot in slots))
        self._slots = [slot for slot in self._slots if slot not in slots]
        for slot in slots:
            slot.gone.set()
        self._count()

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
            except CheckerFault:
                raise
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
        key = id(tests)  # a suite is its problem's; whoever waits here keeps it alive
        slot = await self._queue.get(key)
        slot.working = True
        work = self._on_thread(slot, judging.judge, slot.run, source, tests, self._limits)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._behind(asyncio.to_thread(slot.interrupt))
            raise
        finally:
            slot.working = not work.done()
            self._queue.done(key)
            self._behind(self._give_back(slot, work))

    async def _give_back(self, slot: _Slot, work: asyncio.Future[Verdict]) -> None:
        """Make the slot ready for the next program, after its thread has come to an end."""
        await asyncio.wait([work])
        slot.working = False
        if not work.cancelled():
            work.exception()  # whoever waited for it has seen it
        if not slot.leaving and not self._closed:
            await self._on_thread(slot, slot.make_ready)
        if self._closed:
            return
        if slot.leaving:  # perhaps only now
            await self._drop([slot])
        else:
            self._queue.add(slot)

    def _behind(self, work: Coroutine[None, None, None]) -> None:
        """Do it in the background; `close` waits for it."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _on_thread(
        self, slot: _Slot, work: Callable[..., Result], *arguments: object
    ) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(slot.thread, work, *arguments)

    def _count(self) -> None:
        self.stats.waiting, self.stats.in_flight = self._queue.waiting, self._queue.running
        self.stats.workers = len(self._slots)
