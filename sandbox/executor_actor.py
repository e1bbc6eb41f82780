"""A Ray actor that owns some warm containers on its node: `sandbox-0`, `sandbox-1`, …"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import ray
from ray.util.metrics import Counter, Gauge, Histogram

from sandbox.backend import Backend, make_pool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import TestSuite, Verdict

_LATENCY_MS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000]


class _Metrics:
    """What the Ray dashboard shows of one executor."""

    def __init__(self, name: str) -> None:
        tags: dict[str, Any] = {"tag_keys": ("executor",)}
        self.verdicts = Counter(
            "stepcoder_sandbox_verdicts", "Verdicts by outcome.", tag_keys=("executor", "outcome")
        )
        self.faults = Counter("stepcoder_sandbox_faults", "Programs given up.", **tags)
        self.latency = Histogram(
            "stepcoder_sandbox_latency_ms",
            "Program to verdict, queue included.",
            boundaries=_LATENCY_MS,
            **tags,
        )
        self.waiting = Gauge("stepcoder_sandbox_waiting", "Programs in the queue.", **tags)
        self.in_flight = Gauge("stepcoder_sandbox_in_flight", "Programs running.", **tags)
        self.recycled = Gauge("stepcoder_sandbox_recycled", "Containers replaced.", **tags)
        for metric in vars(self).values():
            metric.set_default_tags({"executor": name})


@ray.remote
class ExecutorActor:
    """`ports.Executor` in a process of its own. Call `start` before anything else."""

    def __init__(self, name: str, config: SandboxConfig, backend: Backend) -> None:
        self._name = name
        self._pool = make_pool(config, backend)
        self._metrics = _Metrics(name)

    async def start(self) -> None:
        """Start the containers. Raises `SandboxFault`."""
        await self._pool.start()

    async def judge(self, source: str, tests: TestSuite) -> Verdict:
        """Raises `SandboxFault` or `ProblemError`."""
        started = time.monotonic()
        try:
            verdict = await self._pool.judge(source, tests)
        except SandboxFault:
            self._metrics.faults.inc()
            raise
        finally:
            self._metrics.waiting.set(self._pool.stats.waiting)
            self._metrics.in_flight.set(self._pool.stats.in_flight)
            self._metrics.recycled.set(self._pool.stats.recycled)
        self._metrics.verdicts.inc(tags={"executor": self._name, "outcome": verdict.outcome.value})
        self._metrics.latency.observe((time.monotonic() - started) * 1e3)
        return verdict

    async def stats(self) -> dict[str, float]:
        """Counters since the start, by the names of `worker_pool.PoolStats`."""
        return asdict(self._pool.stats)

    async def close(self) -> None:
        await self._pool.close()
