"""N places to run programs, one program in a place at a time; a broken place is made anew.

A *worker* is a live zygote, in a container or not. A *slot* (`slot.py`) owns at most one and
replaces it when it breaks or is not clean. Judging blocks, so each slot works on a thread of its
own; the event loop only hands out slots, fairly between problems (`fair_queue.py`). The pool grows
and shrinks while it works: a slot that has to go finishes its program first. A program that meets
a fault is tried again after a pause; an engine that is away is waited for (`absence.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Self, TypeVar

from sandbox import absence, judging
from sandbox.absence import Absence
from sandbox.checks import check_source, check_suite
from sandbox.fair_queue import FairQueue
from sandbox.quiet_time import QuietTime
from sandbox.slot import PoolStats, Slot, Worker
from stepcoder_dist.errors import CheckerFault, EngineAway, SandboxFault
from stepcoder_dist.records import Limits, TestSuite, Verdict

Result = TypeVar("Result")


class WorkerPool:
    """Implements `ports.Executor` over some workers. Use it as an async context manager."""

    def __init__(
        self,
        start_worker: Callable[[], Worker],
        *,
        workers: int,
        limits: Limits,
        attempts: int,
        engine_wait_s: float = 0.0,
    ) -> None:
        self.stats = PoolStats()
        self._start_worker = start_worker
        self._absence = Absence(engine_wait_s)
        self._quiet_time = QuietTime()
        self._wanted = workers
        self._limits = limits
        self._attempts = attempts
        self._slots: list[Slot] = []
        self._queue: FairQueue[Slot] = FairQueue(self._count)
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
        new = [Slot(self._started, self.stats, self._quiet_time) for _ in range(more)]
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

    def _started(self) -> Worker:
        worker = self._start_worker()
        self._absence.over()
        return worker

    async def _shrink(self, fewer: int) -> None:
        staying = [slot for slot in self._slots if not slot.leaving]
        staying.sort(key=lambda slot: slot.working)  # those without a program go first
        going = staying[:fewer]
        for slot in going:
            slot.leaving = True
        await self._drop([slot for slot in going if self._queue.withdraw(slot)])
        busy = [slot.gone.wait() for slot in going if slot in self._slots]
        await asyncio.gather(*busy)

    async def _drop(self, slots: list[Slot]) -> None:
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

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        """Run every test of the suite in one place.

        Raises `SandboxFault` when the sandbox failed `attempts` times or its engine stayed away,
        and `ProblemError` for a source or a suite that cannot be judged.
        """
        check_source(source)
        check_suite(tests)
        attempt = 0
        for pause_s in absence.pauses():
            try:
                verdict = await self._try(source, tests, problem_id)
            except CheckerFault:
                raise
            except EngineAway as away:  # none of the program's own tries
                self.stats.faults += 1
                await self._absence.wait(away, pause_s)
            except SandboxFault as fault:
                self.stats.faults += 1
                attempt += 1
                if attempt == self._attempts:
                    raise SandboxFault(f"{fault} (after {attempt} tries)") from fault
                await asyncio.sleep(pause_s)
            else:
                self.stats.verdicts += 1
                return verdict
        raise AssertionError("the pauses never end")

    async def _try(self, source: str, tests: TestSuite, problem_id: str) -> Verdict:
        slot = await self._queue.get(problem_id)
        slot.working = True
        work = self._on_thread(slot, judging.judge, slot.run, source, tests, self._limits)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._behind(asyncio.to_thread(slot.interrupt))
            raise
        finally:
            slot.working = not work.done()
            self._queue.done(problem_id)
            self._behind(self._give_back(slot, work))

    async def _give_back(self, slot: Slot, work: asyncio.Future[Verdict]) -> None:
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
        self, slot: Slot, work: Callable[..., Result], *arguments: object
    ) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(slot.thread, work, *arguments)

    def _count(self) -> None:
        self.stats.waiting, self.stats.in_flight = self._queue.waiting, self._queue.running
        self.stats.workers = len(self._slots)
