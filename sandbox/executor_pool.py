"""All executors of a run behind one `ports.Executor`: the one with least to do gets the program.

A program whose executor fails is judged again by another one; a dead executor is started anew.
Its containers end with it, for their standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from sandbox.backend import Backend, choose
from sandbox.executor_actor import ExecutorActor
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import SandboxFault
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


class ExecutorPool:
    """`config.sandbox.number` Ray actors. Use it on one event loop, after `ray.init`."""

    def __init__(self, config: RunConfig) -> None:
        """Raises `MissingEngine`."""
        self._config = config.sandbox
        self._backend: Backend = choose(config.sandbox)
        self._executors = [_Executor(f"sandbox-{i}") for i in range(config.sandbox.number)]
        self._restarts = 0
        self._closed = False

    async def start(self) -> None:
        """Bring every executor up. Raises `SandboxFault` when one cannot be."""
        await asyncio.gather(*(self._up(executor) for executor in self._executors))

    async def close(self) -> None:
        """End every executor and its containers."""
        self._closed = True
        await asyncio.gather(*(self._end(executor) for executor in self._executors))

    async def judge(self, source: str, tests: TestSuite) -> Verdict:
        """Judge where there is least to do, elsewhere after a fault.

        Raises `SandboxFault` when no executor could, and `ProblemError`.
        """
        tried: set[str] = set()
        fault: SandboxFault | None = None
        for _ in range(self._config.attempts):
            executor = min(self._executors, key=lambda e: (e.name in tried, e.load))
            tried.add(executor.name)
            executor.load += 1
            try:
                return await self._judge_at(executor, source, tests)
            except SandboxFault as error:
                fault = error
            except RayActorError as error:
                fault = SandboxFault(f"{executor.name} died: {_first_line(error)}")
                self._down(executor)
            finally:
                executor.load -= 1
            if self._closed:
                break
        raise SandboxFault(f"{fault}; {len(tried)} executors tried") from fault

    async def stats(self) -> dict[str, float]:
        """Sums over the executors, and how many are up; dead ones count as nothing."""
        asked = [e for e in self._executors if e.ready is not None and e.ready.done()]
        answers = await asyncio.gather(
            *(e.handle.stats.remote() for e in asked), return_exceptions=True
        )
        told = [a for a in answers if isinstance(a, dict)]
        total: dict[str, float] = {"executors": len(told), "restarts": self._restarts}
        for name in {name for answer in told for name in answer}:
            total[name] = sum(answer[name] for answer in told)
        return total

    async def _judge_at(self, executor: _Executor, source: str, tests: TestSuite) -> Verdict:
        await self._up(executor)
        verdict: Verdict = await executor.handle.judge.remote(source, tests)
        return verdict

    async def _up(self, executor: _Executor) -> None:
        """Wait until the executor works, starting it if nobody has."""
        if executor.ready is None:
            executor.ready = asyncio.ensure_future(self._started(executor))
        ready = executor.ready
        try:
            await asyncio.shield(ready)
        except (SandboxFault, RayActorError):
            if executor.ready is ready:
                self._down(executor)
            raise

    async def _started(self, executor: _Executor) -> None:
        resources = self._config.resources
        executor.handle = ExecutorActor.options(  # type: ignore[attr-defined]
            name=executor.name,
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus,
            resources=dict(resources.custom),
        ).remote(executor.name, self._config, self._backend)
        await executor.handle.start.remote()

    def _down(self, executor: _Executor) -> None:
        """Forget the actor; the next program, or nobody, brings up another in its place."""
        if executor.handle is not None and not self._closed:
            self._restarts += 1
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
