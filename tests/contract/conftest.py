"""A started sandbox of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Iterator

import pytest
from guest_containers import BACKENDS, available

from sandbox.backend import choose, make_pool
from sandbox.process_pool import ProcessPool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
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
        self.contained = not isinstance(pool, ProcessPool)

    def judge(self, source: str, tests: TestSuite) -> Verdict:
        return self.runner.run(self.pool.judge(source, tests, problem_id="contract"))

    def judge_all(self, programs: list[tuple[str, TestSuite]]) -> list[Verdict]:
        async def together() -> list[Verdict]:
            return await asyncio.gather(*(self.pool.judge(s, t, problem_id=s) for s, t in programs))

        return self.runner.run(together())


@pytest.fixture(scope="module", params=BACKENDS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    with contextlib.ExitStack() as held:
        runner = held.enter_context(asyncio.Runner())
        held.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        folder = tmp_path_factory.mktemp("guests")
        where = held.enter_context(available(request.param, folder, CONFIG.containers))
        config = CONFIG.model_copy(update=where)
        pool = make_pool(config, choose(config))
        runner.run(pool.start())
        yield Place(pool, runner)
        runner.run(pool.close())
