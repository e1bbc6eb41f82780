"""All executors of a run behind one `ports.Sandbox`: the one with least to do gets the program.

The queue is here: an executor gets no more programs than it has containers, so none waits behind a
slow one while another executor is free, and problems take turns (`sandbox/fair_queue.py`). A
program whose executor fails is judged again by another one, after a pause; a dead executor is
replaced. Its containers end with it, for their standard input does.

While others work, a lost executor has no place in the queue until it is up again: its node may be
away for long. Where none works, programs wait for the start of one, and fail with it.

The driver's machine needs no engine: each executor looks at its own node.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from ray.exceptions import ObjectLostError, RayError

from sandbox import absence
from sandbox.fair_queue import FairQueue
from sandbox.pool.executor_actor import NodeBackend
from sandbox.pool.executor_handle import ExecutorHandle
from sandbox.pool.pool_metrics import ProgramMetrics
from sandbox.pool.suite_store import SuiteStore
from stepcoder_dist.config import Backend, RunConfig
from stepcoder_dist.errors import (
    CheckerFault,
    ConfigError,
    SandboxFault,
    StepcoderError,
    last_line,
)
from stepcoder_dist.pool_status import Member, PoolStatus
from stepcoder_dist.ports import LastWords, unheard
from stepcoder_dist.records import TestSuite, Verdict

logger = logging.getLogger(__name__)


class ExecutorPool:
    """`config.sandbox.number` Ray actors. Use it on one event loop, after `ray.init`."""

    def __init__(self, config: RunConfig, *, last_words: LastWords = unheard) -> None:
        self._last_words = last_words
        self._config = config.sandbox
        self._backend: Backend | None = None
        self._wanted = config.sandbox.number
        self._named = 0
        self._chosen: list[ExecutorHandle] = []
        """Their processes are up and have looked at their nodes; they have no containers yet."""
        self._executors: list[ExecutorHandle] = []
        self._metrics = ProgramMetrics(self._gauges)
        self._queue: FairQueue[ExecutorHandle] = FairQueue(self._metrics.changed, self._seat_back)
        self._suites = SuiteStore()
        self._unsettled = False
        """Whether an executor may be lost: nearly every program finds that none is."""
        self._restarts = 0
        self._closed = False

    async def choose(self) -> Backend:
        """Start the executors' processes and return the backend that their nodes have.

        It is the run's from then on. Raises `MissingEngine` for a node without an engine or the
        image, `ConfigError` where nodes differ, `SandboxFault` when a process cannot be started.
        """
        asked = self._made(self._config.number)
        try:
            self._backend = agreed(await asyncio.gather(*(e.choose() for e in asked)))
        except BaseException:
            await asyncio.gather(*(executor.end() for executor in asked))
            raise
        self._chosen = asked
        return self._backend

    @property
    def backend(self) -> Backend:
        """The run's backend, once it is chosen."""
        if self._backend is None:
            raise SandboxFault("the executors were not asked which backend they have")
        return self._backend

    async def start(self) -> None:
        """Bring every executor up. Raises as `choose`, unless that was called, and `SandboxFault`
        when one cannot be."""
        if self._backend is None:
            await self.choose()
        new, self._chosen = self._chosen or self._made(self._config.number), []
        await self._grow(new)

    @property
    def number(self) -> int:
        """How many executors work."""
        return sum(executor.up and not executor.leaving for executor in self._executors)

    async def resize(self, number: int) -> None:
        """Have so many executors; return when those that come are up and those that go are gone.

        No program is lost or judged twice: an executor that goes answers what it has first.
        Raises `SandboxFault` when a new one cannot be brought up; then the others stay. A call that
        is cancelled takes back what it is starting. The last call counts: it takes executors away
        that an earlier one is starting.
        """
        if number < 1:
            raise ValueError(f"{number} executors; a pool has at least one")
        self._wanted = number
        staying = [e for e in self._executors if not e.leaving]
        if number > len(staying):
            try:
                await self._grow(self._made(number - len(staying)))
            except BaseException:
                if self._wanted == number:  # no later call has said otherwise
                    self._wanted = sum(not e.leaving for e in self._executors)
                raise
        else:
            staying.reverse()  # of equals the last to come goes first
            staying.sort(key=lambda e: e.load)
            await asyncio.gather(*(self._leave(e) for e in staying[: len(staying) - number]))

    async def close(self) -> None:
        """End every executor and its containers."""
        self._closed = True
        self._queue.close(SandboxFault("the sandbox is closed"))
        await asyncio.gather(*(e.end() for e in (*self._chosen, *self._executors)))
        self._suites.clear()
        self._executors = []
        self._metrics.hand_over()

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
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
                verdict = await self._try(source, tests, problem_id, tried)
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

    async def _try(
        self, source: str, tests: TestSuite, problem_id: str, tried: set[str]
    ) -> Verdict:
        executor = await self._queue.get(problem_id, lambda e: 2 * (e.name in tried) + (not e.up))
        tried.add(executor.name)
        executor.load += 1
        try:
            suite = self._suites.reference(problem_id, tests)
            verdict = await executor.judge(self.backend, source, suite, problem_id)
            return verdict if verdict.executor else replace(verdict, executor=executor.name)
        except ObjectLostError as error:
            self._suites.forget(problem_id)
            raise SandboxFault(
                f"the tests of {problem_id} are lost from Ray's object store ({last_line(error)})"
            ) from error
        finally:
            executor.load -= 1
            self._queue.done(problem_id, executor)
            self._seat_back(executor)

    def _seat_back(self, executor: ExecutorHandle) -> None:
        if executor.leaving:
            executor.seats -= 1
            if not executor.seats:
                executor.idle.set()
            return
        if executor.up or not self.number:
            self._queue.add(executor)
        else:
            executor.parked += 1
            self._unsettled = True
        if self._unsettled:
            self._settle()

    def _settle(self) -> None:
        """Park the places of lost executors while others work; hand them out where none does."""
        lost = [e for e in self._executors if e.seats and not e.up and not e.leaving]
        self._unsettled = bool(lost)
        for executor in lost:
            if not self.number:
                self._unpark(executor)
                continue
            while self._queue.withdraw(executor):
                executor.parked += 1
            if executor.returning is None and not self._closed:
                executor.returning = asyncio.create_task(self._bring_back(executor))

    def _unpark(self, executor: ExecutorHandle) -> None:
        while executor.parked:
            executor.parked -= 1
            self._queue.add(executor)

    async def _bring_back(self, executor: ExecutorHandle) -> None:
        """Start a lost executor, however long there is no room for it."""
        pauses = absence.pauses()
        while not executor.leaving:
            try:
                await executor.start(self.backend)
            except (StepcoderError, RayError, ValueError) as error:  # Ray: the name is taken
                logger.warning("%s is not back: %s", executor.name, last_line(error))
                await asyncio.sleep(next(pauses))
            else:
                break
        executor.returning = None
        self._unpark(executor)
        self._settle()

    def _made(self, number: int) -> list[ExecutorHandle]:
        names = [f"sandbox-{self._named + i}" for i in range(number)]
        self._named += number
        return [self._handle(name) for name in names]

    def _handle(self, name: str) -> ExecutorHandle:
        return ExecutorHandle(name, self._config, self._lost, self._last_words)

    def _lost(self) -> None:
        self._unsettled = True
        if not self._closed:
            self._restarts += 1
            self._metrics.restart()

    async def _grow(self, new: list[ExecutorHandle]) -> None:
        self._executors += new
        starting = (executor.start(self.backend) for executor in new)
        try:
            started = await asyncio.gather(*starting, return_exceptions=True)
        except asyncio.CancelledError:  # nobody would give them places in the queue
            await self._take_back(new)
            raise
        staying = [executor for executor in new if not executor.leaving]
        ends = (end for e, end in zip(new, started, strict=True) if not e.leaving)
        fault = next((end for end in ends if isinstance(end, BaseException)), None)
        if fault is not None:
            await self._take_back(staying)
            raise fault
        for executor in staying:
            executor.seats = self._config.containers
            for _ in range(executor.seats):
                self._queue.add(executor)
        if len(staying) < len(new):
            raise SandboxFault("a later command took executors away that were starting")

    async def _take_back(self, new: list[ExecutorHandle]) -> None:
        """End executors that have no places yet."""
        self._executors = [e for e in self._executors if e not in new]
        await asyncio.gather(*(executor.end() for executor in new))

    async def _leave(self, executor: ExecutorHandle) -> None:
        executor.leaving = True
        while self._queue.withdraw(executor):
            executor.seats -= 1
        executor.seats, executor.parked = executor.seats - executor.parked, 0
        try:
            if executor.seats:  # a program may have been given one and not know of it yet
                async with asyncio.timeout(self._config.leave_timeout_s):
                    await executor.idle.wait()
        except TimeoutError:  # they meet a fault now, and are judged elsewhere
            logger.warning("%s goes with %d programs unfinished", executor.name, executor.load)
        finally:  # also where nobody waits for it any more: it has no places to come back to
            await executor.end()
            self._executors = [e for e in self._executors if e is not executor]
            self._metrics.changed()

    def _gauges(self) -> dict[str, float]:
        return {
            "waiting": self._queue.waiting,
            "in_flight": self._queue.running,
            "executors": len(self._executors),
        }

    async def status(self) -> PoolStatus:
        """Return how the pool is now."""
        return PoolStatus(
            wanted=self._wanted,
            members=tuple(
                Member(
                    name=executor.name,
                    state=executor.state,
                    load=executor.load,
                    now=f"judging {executor.load}" if executor.load else "idle",
                )
                for executor in self._executors
            ),
            waiting=self._queue.waiting,
        )

    async def stats(self) -> dict[str, float]:
        """Return sums over the executors, and how many are up; dead ones count as nothing."""
        asked = (e.stats() for e in self._executors if e.up)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        figures = [a for a in answers if isinstance(a, dict)]
        total: dict[str, float] = {"executors": len(figures), "restarts": self._restarts}
        for name in {name for answer in figures for name in answer}:
            total[name] = sum(answer[name] for answer in figures)
        total |= {"waiting": self._queue.waiting, "in_flight": self._queue.running}
        return total | self._metrics.percentiles()


def agreed(choices: Sequence[NodeBackend]) -> Backend:
    """Return the backend that all nodes have. Raises `ConfigError`, which names two that differ."""
    nodes = {choice.backend: choice.node for choice in choices}
    if len(nodes) > 1:
        seen = ", ".join(f"{backend} on node {node}" for backend, node in sorted(nodes.items()))
        raise ConfigError(
            f"sandbox.backend = auto finds {seen}, and a run judges in one way only: start an "
            "engine on every node that takes executors, or name one that all of them have "
            '(sandbox.backend = "bubblewrap"; "process" is no security boundary)'
        )
    return choices[0].backend
