"""N places to run programs, one program in a place at a time; a broken place is replaced.

A *worker* is a live zygote, in a container or not. A *seat* (`seat.py`) owns at most one and
replaces it when it breaks or is not clean. Judging blocks, so each seat works on a thread of its
own; the event loop only hands out seats, fairly between problems (`fair_queue.py`). The pool grows
and shrinks while it works: a seat that has to go finishes its program first. A program that meets
a fault is tried again after a pause; an engine that is away is waited for (`absence.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Self, TypeVar

from sandbox import absence, judging
from sandbox.absence import Absence
from sandbox.answers.checks import check_source, check_suite
from sandbox.fair_queue import FairQueue
from sandbox.quiet_time import QuietTime
from sandbox.seat import PoolStats, Seat, Worker
from stepcoder_dist.errors import CheckerFault, EngineAway, SandboxFault
from stepcoder_dist.records import Limits, TestSuite, Verdict

Result = TypeVar("Result")


class WorkerPool:
    """Implements `ports.Sandbox` over some workers. Use it as an async context manager."""

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
        self._seats: list[Seat] = []
        self._queue: FairQueue[Seat] = FairQueue(self._count)
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
        more = workers - len([seat for seat in self._seats if not seat.leaving])
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
        await asyncio.gather(*(asyncio.to_thread(seat.abandon) for seat in self._seats))
        if self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        self._seats.clear()
        self._count()

    async def _grow(self, more: int) -> None:
        new = [Seat(self._started, self.stats, self._quiet_time) for _ in range(more)]
        self._seats += new
        starting = [self._first_started(seat) for seat in new]
        try:
            started = await asyncio.gather(*starting, return_exceptions=True)
        except asyncio.CancelledError:
            await self._drop(new)
            raise
        fault = next((e for e in started if isinstance(e, BaseException)), None)
        if fault is not None:
            await self._drop(new)
            raise fault
        await self._drop([seat for seat in new if seat.leaving or self._closed])
        for seat in new:
            if seat in self._seats:
                self._queue.add(seat)
        self._count()

    async def _first_started(self, seat: Seat) -> None:
        """Start the seat's worker: one that is lost on the way is started again, as any other is.

        Raises `SandboxFault` after as many tries as a program has, and `EngineAway` at once.
        """
        for attempt, pause_s in enumerate(absence.pauses(), start=1):
            try:
                await self._on_thread(seat, seat.ready)
            except EngineAway:
                raise
            except SandboxFault:
                if attempt == self._attempts or self._closed or seat.leaving:
                    raise
                await asyncio.sleep(pause_s)
            else:
                return

    def _started(self) -> Worker:
        worker = self._start_worker()
        self._absence.over()
        return worker

    async def _shrink(self, fewer: int) -> None:
        staying = [seat for seat in self._seats if not seat.leaving]
        staying.sort(key=lambda seat: seat.working)  # those without a program go first
        going = staying[:fewer]
        for seat in going:
            seat.leaving = True
        await self._drop([seat for seat in going if self._queue.withdraw(seat)])
        busy = [seat.gone.wait() for seat in going if seat in self._seats]
        await asyncio.gather(*busy)

    async def _drop(self, seats: list[Seat]) -> None:
        await asyncio.gather(*(asyncio.to_thread(seat.abandon) for seat in seats))
        self._seats = [seat for seat in self._seats if seat not in seats]
        for seat in seats:
            seat.gone.set()
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
            began = self._absence.now()
            try:
                verdict = await self._try(source, tests, problem_id)
            except CheckerFault:
                raise
            except EngineAway as away:  # none of the program's own tries
                self.stats.faults += 1
                await self._absence.wait(away, pause_s, began)
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
        seat = await self._queue.get(problem_id)
        seat.working = True
        work = self._on_thread(seat, judging.judge, seat.run, source, tests, self._limits)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._behind(asyncio.to_thread(seat.interrupt))
            raise
        finally:
            seat.working = not work.done()
            self._queue.done(problem_id, seat)
            self._behind(self._give_back(seat, work))

    async def _give_back(self, seat: Seat, work: asyncio.Future[Verdict]) -> None:
        """Make the seat ready for the next program, after its thread has come to an end."""
        await asyncio.wait([work])
        seat.working = False
        if not work.cancelled():
            work.exception()  # whoever waited for it has seen it
        if not seat.leaving and not self._closed:
            await self._on_thread(seat, seat.make_ready)
        if self._closed:
            return
        if seat.leaving:  # perhaps only now
            await self._drop([seat])
        else:
            self._queue.add(seat)

    def _behind(self, work: Coroutine[None, None, None]) -> None:
        """Run it in the background; `close` waits for it."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _on_thread(
        self, seat: Seat, work: Callable[..., Result], *arguments: object
    ) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(seat.thread, work, *arguments)

    def _count(self) -> None:
        self.stats.waiting, self.stats.in_flight = self._queue.waiting, self._queue.running
        self.stats.workers = len(self._seats)
