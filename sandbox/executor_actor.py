"""A Ray actor that owns some warm containers on its node: `sandbox-0`, `sandbox-1`, …"""

from __future__ import annotations

from dataclasses import asdict

import ray

from sandbox.absence import until_it_answers
from sandbox.backend import make_pool
from sandbox.container import look_for_engine
from sandbox.pool_metrics import ContainerMetrics
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import Backend, SandboxConfig
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import TestSuite, Verdict


@ray.remote
class ExecutorActor:
    """`ports.Executor` in a process of its own. Call `start` before anything else."""

    def __init__(self, name: str, config: SandboxConfig, backend: Backend) -> None:
        # A program whose sandbox failed goes back to the pool of executors, which counts its tries.
        self._config, self._backend = config.model_copy(update={"attempts": 1}), backend
        self._metrics = ContainerMetrics(name)
        self._pool: WorkerPool | None = None

    async def start(self) -> None:
        """Start the containers, when there is an engine. Raises `SandboxFault`, `MissingEngine`."""
        if self._backend == "docker":  # it was there when the run began
            await until_it_answers(look_for_engine, self._config.engine_wait_s)
        pool = make_pool(self._config, self._backend)
        await pool.start()
        self._pool = pool
        self._metrics.show(pool.stats)

    async def judge(self, source: str, tests: TestSuite) -> Verdict:
        """Raises `SandboxFault` or `ProblemError`."""
        pool = self._started()
        try:
            return await pool.judge(source, tests)
        finally:
            self._metrics.show(pool.stats)

    async def stats(self) -> dict[str, float]:
        """Counters since the start, by the names of `slot.PoolStats`."""
        return asdict(self._started().stats)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    def _started(self) -> WorkerPool:
        if self._pool is None:
            raise SandboxFault("the executor has not been started")
        return self._pool
