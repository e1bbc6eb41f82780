"""A started sandbox of each kind."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator

import pytest

from sandbox.containers.container_pool import ContainerPool
from sandbox.process_pool import ProcessPool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import TestSuite, Verdict

CONFIG = SandboxConfig(
    containers=2,
    cpu_limit_s=1.0,
    wall_limit_s=2.0,
    memory_limit_mib=128,
    output_limit_mib=1,
    attempts=2,
)


class Place:
    """A started pool, driven from synchronous tests."""

    def __init__(self, pool: WorkerPool, runner: asyncio.Runner) -> None:
        self.pool = pool
        self.runner = runner
        self.contained = isinstance(pool, ContainerPool)

    def judge(self, source: str, tests: TestSuite) -> Verdict:
        return self.runner.run(self.pool.judge(source, tests, problem_id="contract"))

    def judge_all(self, programs: list[tuple[str, TestSuite]]) -> list[Verdict]:
        async def together() -> list[Verdict]:
            return await asyncio.gather(*(self.pool.judge(s, t, problem_id=s) for s, t in programs))

        return self.runner.run(together())


@pytest.fixture(
    scope="module", params=[pytest.param("docker", marks=pytest.mark.docker), "process"]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with asyncio.Runner() as runner, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            make = ContainerPool if request.param == "docker" else ProcessPool
            pool = make(CONFIG)
        except MissingEngine as error:
            pytest.skip(str(error))
        runner.run(pool.start())
        yield Place(pool, runner)
        runner.run(pool.close())
