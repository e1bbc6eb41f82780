"""A Ray actor that owns some warm containers on its node: `sandbox-0`, `sandbox-1`, …"""

from __future__ import annotations

from dataclasses import asdict

import ray

from sandbox.backend import Backend, make_pool
from sandbox.pool_metrics import ContainerMetrics
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.records import TestSuite, Verdict


@ray.remote
class ExecutorActor:
    """`ports.Executor` in a process of its own. Call `start` before anything else."""

    def __init__(self, name: str, config: SandboxConfig, backend: Backend) -> None:
        self._pool = make_pool(config, backend)
        self._metrics = ContainerMetrics(name)

    async def start(self) -> None:
        """Start the containers. Raises `SandboxFault`."""
        await self._pool.start()
        self._metrics.show(self._pool.stats)

    async def judge(self, source: str, tests: TestSuite) -> Verdict:
        """Raises `SandboxFault` or `ProblemError`."""
        try:
            return await self._pool.judge(source, tests)
        finally:
            self._metrics.show(self._pool.stats)

    async def stats(self) -> dict[str, float]:
        """Counters since the start, by the names of `worker_pool.PoolStats`."""
        return asdict(self._pool.stats)

    async def close(self) -> None:
        await self._pool.close()
