"""All executors of a run behind one `ports.Executor`: the one with least to do gets the program.

The queue is here: an executor gets no more programs than it has containers, so none waits behind
a slow one while another executor is free, and problems take turns (`fair_queue.py`). A program
whose executor fails is judged again by another one, after a pause; a dead executor is started anew.
Its containers end with it, for their standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from sandbox import absence
from sandbox.backend import choose
from sandbox.executor_actor import ExecutorActor
from sandbox.fair_queue import FairQueue
from sandbox.pool_metrics import ProgramMetrics
from stepcoder_dist.config import Backend, RunConfig
from stepcoder_dist.errors import CheckerFault, SandboxFault, StepcoderError
from stepcoder_dist.records import TestSuite, Verdict

_CLOSE_TIMEOUT_S = 20.0


@dataclass(eq=False)
class _Executor:
    """One place in the pool; the actor that holds it may change."""

    name: str
    handle: Any = None
    load: int = 0
    """Programs sent and not answered."""
    ready: asyncio.Task[None] | None = None
    """Brings the actor up; done while it works."""
    seats: int = 0
    """Places of it that are in the queue or with a program."""
    leaving: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is leaving and its last seat is back."""

    @property
    def up(self) -> bool:
        return self.ready is not None and self.ready.done()


class ExecutorPool:
    """`config.sandbox.number` Ray actors. Use it on one event loop, after `ray.init`."""

    def __init__(self, config: RunConfig) -> None:
        """Raises `MissingEngine`."""
        self._config = config.sandbox
        self._backend: Backend = choose(config.sandbox)
        self._named = 0
        self._executors: list[_Executor] = []
        self._metrics = ProgramMetrics()
        self._queue: FairQueue[_Executor] = FairQueue(self._show, self._seat_back)
        self._restarts = 0
        self._closed = False

    async def start(self) -> None:
        """Bring every executor up. Raises `SandboxFault` when one cannot be."""
        await self._grow(self._config.number)

    async def resize(self, number: int) -> None:
        """Have so many executors; return when those that come are up and those that go are gone.

        No program is lost or judged twice: an executor that goes answers what it has first.
        Raises `SandboxFault` when a new one cannot be brought up; then the others stay.
        """
        if number < 1:
            raise ValueError(f"{number} executors; a pool has at least one")
        staying = [e for e in self._executors if not e.leaving]
        if number > len(staying):
            await self._grow(number - len(staying))
        else:
            staying.sort(key=lambda e: e.load)
            await asyncio.gather(*(self._leave(e) for e in staying[: len(staying) - number]))

    async def close(self) -> None:
        """End every executor and its containers."""
        self._closed = True
        self._queue.close(SandboxFault("the sandbox is closed"))
        await asyncio.gather(*(self._end(executor) for executor in self._executors))
        self._metrics.show(executors=0)

    async def judge(self, source: str, tests: TestSuite) -> Verdict:
        """Judge where there is least to do, elsewhere after a fault.

        Raises `SandboxFault` when no executor could, and `ProblemError`.
        """
        began = time.monotonic()
        tried: set[str] = set()
        fault: SandboxFault | None = None
        for _, pause_s in zip(range(self._config.attempts), absence.pauses(), strict=False):
            if fault is not None:
                await asyncio.sleep(pause_s)
            try:
                verdict = await self._try(source, tests, tried)
            except CheckerFault:
                self._metrics.fault()
                raise
            except SandboxFault as error:
                self._metrics.fault()
                fault = error
            else:
                self._metrics.verdict(verdict.outcome, (time.monotonic() - began) * 1e3)
                return verdict
            if self._closed:
                break
        raise SandboxFault(f"{fault}; {len(tried)} executors tried") from fault

    async def _try(self, source: str, tests: TestSuite, tried: set[str]) -> Verdict:
        key = id(tests)  # a suite is its problem's; whoever waits here keeps it alive
        executor = await self._queue.get(key, lambda e: (e.name in tried, not e.up, e.load))
        tried.add(executor.name)
        executor.load += 1
        handle = None
        try:
            await self._up(executor)
            handle = executor.handle
            verdict: Verdict = await handle.judge.remote(source, tests)
        except RayActorError as error:
            if executor.handle is handle:  # else another program saw it first
                self._down(executor)
            raise SandboxFault(f"{executor.name} died: {_first_line(error)}") from error
        else:
            return verdict
        finally:
            executor.load -= 1
            self._queue.done(key)
            self._seat_back(executor)

    def _seat_back(self, executor: _Executor) -> None:
        if not executor.leaving:
            self._queue.add(executor)
            return
        executor.seats -= 1
        if not executor.seats:
            executor.idle.set()

    async def _grow(self, more: int) -> None:
        new = [_Executor(f"sandbox-{self._named + i}") for i in range(more)]
        self._named += more
        self._executors += new
        starting = (self._up(executor) for executor in new)
        started = await asyncio.gather(*starting, return_exceptions=True)
        fault = next((e for e in started if isinstance(e, BaseException)), None)
        if fault is not None:
            await asyncio.gather(*(self._end(executor) for executor in new))
            self._executors = [e for e in self._executors if e not in new]
            raise fault
        for executor in new:
            executor.seats = 0 if executor.leaving else self._config.containers
            for _ in range(executor.seats):
                self._queue.add(executor)

    async def _leave(self, executor: _Executor) -> None:
        executor.leaving = True
        while self._queue.withdraw(executor):
            executor.seats -= 1
        if executor.seats:  # a program may have been given one and not know of it yet
            await executor.idle.wait()
        await self._end(executor)
        self._executors.remove(executor)
        self._show()

    def _show(self) -> None:
        self._metrics.show(
            waiting=self._queue.waiting,
            in_flight=self._queue.running,
            executors=len(self._executors),
        )

    async def stats(self) -> dict[str, float]:
        """Sums over the executors, and how many are up; dead ones count as nothing."""
        asked = [e for e in self._executors if e.up]
        answers = await asyncio.gather(
            *(e.handle.stats.remote() for e in asked), return_exceptions=True
        )
        told = [a for a in answers if isinstance(a, dict)]
        total: dict[str, float] = {"executors": len(told), "restarts": self._restarts}
        for name in {name for answer in told for name in answer}:
            total[name] = sum(answer[name] for answer in told)
        total |= {"waiting": self._queue.waiting, "in_flight": self._queue.running}
        return total | self._metrics.latest

    async def _up(self, executor: _Executor) -> None:
        """Wait until the executor works, starting it if nobody has."""
        if executor.ready is None:
            executor.ready = asyncio.ensure_future(self._started(executor))
        ready = executor.ready
        try:
            await asyncio.shield(ready)
        except (SandboxFault, RayError) as error:
            if executor.ready is ready:
                self._down(executor)
            if isinstance(error, StepcoderError | RayActorError):
                raise
            raise SandboxFault(f"{executor.name} did not start: {_first_line(error)}") from error

    async def _started(self, executor: _Executor) -> None:
        resources = self._config.resources
        executor.handle = ExecutorActor.options(  # type: ignore[attr-defined]
            name=executor.name,
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus,
            resources=dict(resources.custom),
        ).remote(executor.name, self._config, self._backend)
        limit_s = self._config.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await executor.handle.start.remote()
        except TimeoutError:
            raise SandboxFault(
                f"{executor.name} was not up within sandbox.start_timeout_s = {limit_s:g}; "
                f"`ray status` tells whether a node has room for it ({resources.num_cpus:g} CPUs, "
                f"{resources.num_gpus:g} GPUs{''.join(f', {k}' for k in resources.custom)}), "
                f"`ray logs actor` what it does"
            ) from None

    def _down(self, executor: _Executor) -> None:
        """Forget the actor; the next program, or nobody, brings up another in its place."""
        if executor.handle is not None and not self._closed:
            self._restarts += 1
            self._metrics.restart()
            with contextlib.suppress(RayError, ValueError):
                ray.kill(executor.handle)
        executor.handle, executor.ready = None, None

    async def _end(self, executor: _Executor) -> None:
        if executor.ready is not None and not executor.ready.done():
            executor.ready.cancel()
        if executor.handle is None:
            return
        with contextlib.suppress(RayError, TimeoutError):  # what is dead needs no end
            await asyncio.wait_for(executor.handle.close.remote(), _CLOSE_TIMEOUT_S)
        with contextlib.suppress(RayError, ValueError):
            ray.kill(executor.handle)
        executor.handle, executor.ready = None, None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
