"""A Ray actor that owns some warm containers on its node: `sandbox-0`, `sandbox-1`, …

Importing this file is cheap: Docker's SDK is imported in the actor's own process, so the driver
needs neither it nor an engine.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from functools import partial

import ray

from sandbox.absence import until_it_answers
from sandbox.pool.pool_metrics import ContainerMetrics
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import Backend, SandboxConfig
from stepcoder_dist.errors import EngineAway, MissingEngine, SandboxFault
from stepcoder_dist.records import TestSuite, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBackend:
    """Which backend a node has, as an executor on it found out."""

    node: str
    """The node's address in the cluster, as Ray's dashboard shows it."""
    backend: Backend


class ExecutorActor:
    """Judges programs in a process of its own. Made through `ray.remote`.

    Call `start` before `judge` and `stats`.
    """

    def __init__(self, name: str, config: SandboxConfig) -> None:
        self._name = name
        # A program whose sandbox failed goes back to the pool of executors, which counts its tries.
        self._config = config.model_copy(update={"attempts": 1})
        self._metrics = ContainerMetrics(name)
        self._node = str(ray.util.get_node_ip_address())
        self._pool: WorkerPool | None = None

    def __repr__(self) -> str:
        """Return its name: Ray shows it in the dashboard and before each line that it prints."""
        return self._name

    async def choose(self) -> NodeBackend:
        """Return the backend of this node. Raises `MissingEngine`, which names the node."""
        try:
            from sandbox.backend import choose

            backend = await asyncio.to_thread(choose, self._config)
        except ModuleNotFoundError as error:
            raise MissingEngine(
                f"node {self._node}: {error.name} is not installed there; executors need "
                "pip install 'stepcoder-dist[sandbox]'"
            ) from None
        except MissingEngine as error:
            raise MissingEngine(f"node {self._node}: {error}") from None
        return NodeBackend(node=self._node, backend=backend)

    async def start(self, backend: Backend) -> None:
        """Start the run's backend here, when there is an engine.

        Raises `SandboxFault`, and `MissingEngine`, which names the node.
        """
        try:
            # the engine was there when the run began
            pool = await until_it_answers(
                partial(_made, self._config, backend), self._config.engine_wait_s
            )
        except MissingEngine as error:
            raise MissingEngine(f"node {self._node}: {error}") from None
        await pool.start()
        self._pool = pool
        self._metrics.show(pool.stats)

    async def judge(self, source: str, tests: TestSuite, problem_id: str) -> Verdict:
        """Judge as `ports.Sandbox` does. Raises `SandboxFault` or `ProblemError`."""
        pool = self._started()
        try:
            verdict = await pool.judge(source, tests, problem_id=problem_id)
            return replace(verdict, executor=self._name)  # here, where executors do it in parallel
        finally:
            self._metrics.show(pool.stats)

    async def stats(self) -> dict[str, float]:
        """Return the counters since the start, by the names of `seat.PoolStats`."""
        return asdict(self._started().stats)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    def _started(self) -> WorkerPool:
        if self._pool is None:
            raise SandboxFault("the executor has not been started")
        return self._pool


def _made(config: SandboxConfig, backend: Backend) -> WorkerPool:
    """Return a pool that is not started yet. Raises `EngineAway`, and `MissingEngine`."""
    from sandbox.backend import make_pool

    try:
        return make_pool(config, backend)
    except MissingEngine as missing:
        if isinstance(missing.__cause__, EngineAway):
            raise missing.__cause__ from None
        raise
