"""Ray's object store fills up under a run: it spills; where it cannot, the run ends and resumes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")

sys.path.insert(0, str(Path(__file__).parents[1]))
import ray
from ray.exceptions import RayError
from rich.console import Console
from rollouts_for_tests import rollout_config
from test_lost_at_rest import LearnerOfARealModel, compose

from actors.actor_pool import ActorPool
from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import FakeLearner
from stepcoder_dist.loop.run import Run
from stepcoder_dist.records import StepReport, Trajectory, WeightSnapshot
from stepcoder_dist.run import ledger_report, session
from stepcoder_dist.run.run_folder import RunFolder

pytestmark = [
    pytest.mark.faults,
    pytest.mark.long,  # make test-faults
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.timeout(1200),
]

MIB = 2**20
STORE_BYTES = 80 * MIB
STEPS, FULL_AT = 5, 3
FULL_DISK = {"automatic_object_spilling_enabled": False, "local_fs_capacity_threshold": 0.0}


@pytest.fixture
def small_store(request: pytest.FixtureRequest, no_local_ray: None) -> Iterator[bool]:
    """A Ray with a small object store; whether it may spill to the disk."""
    del no_local_ray
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=STORE_BYTES,
        _system_config={} if request.param else FULL_DISK,
    )
    yield request.param
    ray.shutdown()


def filled() -> list[Any]:
    """Objects that fill the store to the last kibibytes while they are held; or twice over."""
    held: list[Any] = []
    for size in (MIB, 16 * 1024):
        try:
            while sum(each.nbytes for _, each in held) < 2 * STORE_BYTES:
                block = np.zeros(size, dtype=np.uint8)
                held.append((ray.put(block), block))
        except RayError:  # the store, or the disk, is full
            pass
    return held


class Filling(LearnerOfARealModel):
    """Fills the store in one step, if asked to, and pushes other weights at every version."""

    def __init__(self, pool: ActorPool, checkpoint: Path, *, fill: bool) -> None:
        super().__init__(pool, checkpoint)
        self._fill = fill
        self.held: list[Any] = []

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        async with self._turn:
            report = await FakeLearner.step(self, batch)
            if self._fill and report.version == FULL_AT:
                self.held = await asyncio.to_thread(filled)
            return report

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        await self._deliveries.deliver(snapshot, targets, None, deadline_s)


def settings(checkpoint: Path, staleness: int) -> RunConfig:
    base = rollout_config(checkpoint).model_dump()
    base |= {"train": {"steps": STEPS, "max_staleness": staleness, "checkpoint_every": 1}}
    base["problems"] = {"train": "none", "heldout": "none"}
    base["learner"] |= {"samples_per_step": 8}
    base["sampling"] |= {"max_new_tokens": 32}
    return RunConfig.model_validate(base)


@pytest.mark.parametrize("staleness", [0, 2])
@pytest.mark.parametrize("small_store", [True, False], ids=["spills", "disk full"], indirect=True)
def test_a_run_whose_store_fills_goes_on_where_it_can_spill_and_else_is_resumed(
    small_store: bool, staleness: int, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    config = settings(tiny_checkpoint, staleness)
    pool = ActorPool(config, tiny_checkpoint)

    async def trained(*, fill: bool, resume: bool = False) -> Run:
        learner = Filling(pool, tiny_checkpoint, fill=fill)
        sandbox = ProcessPool(SandboxConfig(backend="process", containers=1))
        run = compose(config, pool, sandbox, learner)
        with closing(RunFolder(tmp_path, config)) as folder:
            if resume:
                await session.restore(run, folder)
            try:
                async with sandbox:
                    await session.train(run, folder, [], Console(quiet=True))
            finally:
                learner.held.clear()
        return run

    async def scenario() -> Run:
        try:
            await pool.start()
            if small_store:
                return await trained(fill=True)
            with pytest.raises(WeightPushError, match=r"no snapshot of version 3: .*object store"):
                await trained(fill=True)
            return await trained(fill=False, resume=True)
        finally:
            await pool.close()

    run = asyncio.run(scenario())
    assert run.book.fates[Fate.TRAINED] == STEPS * 8
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
