"""A run in turns whose rollout actors die at rest and in a push: it goes on, and loses nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

sys.path.insert(0, str(Path(__file__).parents[1]))
import ray
import torch
from ray.exceptions import RayActorError
from ray.util import get_placement_group, remove_placement_group
from rich.console import Console
from rollouts_for_tests import rollout_config, tempered_logprobs

from actors.actor_pool import ActorPool
from actors.rollout_actor import ActorStats
from learner.push.delivery import Deliveries
from learner.push.snapshot import SnapshotTaker
from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.launch.cluster import placement
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import FakeLearner
from stepcoder_dist.loop.run import Run
from stepcoder_dist.records import (
    Problem,
    StepReport,
    TestSuite,
    Trajectory,
    WeightSnapshot,
    WeightVersion,
)
from stepcoder_dist.run import session
from stepcoder_dist.run.preflight import prompt_writer
from stepcoder_dist.run.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.usefixtures("local_ray")]

PROMPT = [40, 41, 42, 43, 44, 45]
STEPS = 3
AT_REST, IN_A_PUSH = 1, 2
"""The step in which rollout-0 dies while the learner works; the push in which rollout-1 does."""


@pytest.fixture
def config(tiny_checkpoint: Path) -> Iterator[RunConfig]:
    """Two pairs, each in a bundle of its own."""
    base = rollout_config(tiny_checkpoint, actors=2).model_dump()
    base |= {"colocate": True, "train": {"steps": STEPS}}
    base["problems"] = {"train": "none", "heldout": "none"}
    base["learner"] |= {"ranks": 2, "samples_per_step": 8}
    base["sampling"] |= {"max_new_tokens": 16}
    config = RunConfig.model_validate(base)
    placement.reserve(config, learner=True, pools=True)
    yield config
    remove_placement_group(get_placement_group(placement._GROUP))


class LearnerOfARealModel(FakeLearner):
    """Trains nothing, but pushes other weights at every version, as the learner's ranks do.

    It ends one actor's process while the actors rest, and another just before its push.
    """

    def __init__(self, pool: ActorPool, checkpoint: Path) -> None:
        super().__init__()
        self._pool = pool
        self._checkpoint = checkpoint
        self._turn = asyncio.Lock()
        self._deliveries = Deliveries()

    def model(self, version: WeightVersion) -> Any:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(self._checkpoint, dtype=torch.float32).eval()
        generator = torch.Generator().manual_seed(version)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return model

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        async with self._turn:
            report = await super().step(batch)
            if report.version == AT_REST:
                lost = self._pool._slots[0].handle
                os.kill((await lost.stats.remote()).pid, signal.SIGKILL)
                with suppress(RayActorError):  # Ray's word that it has seen the end
                    await lost.until_the_end.remote()
        return report

    async def snapshot(self) -> WeightSnapshot:
        async with self._turn:
            taker = SnapshotTaker(self.model(self._version), 0, 1, 2**16)
            buckets = await asyncio.to_thread(taker.take, self._version)
            return WeightSnapshot(version=self._version, buckets=buckets, probe_logprobs=())

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        if snapshot.version == IN_A_PUSH and self._pool._slots[1].handle in targets:
            os.kill((await targets[1].stats.remote()).pid, signal.SIGKILL)
        await self._deliveries.deliver(snapshot, targets, None, deadline_s)


def bundles(pool: ActorPool) -> list[str]:
    """Of each actor, by slot. The raylet names what it gives: CPU_group_<bundle>_<group>."""

    def own(_: Any) -> list[str]:
        from ray._private.worker import global_worker

        return list(global_worker.core_worker.resource_ids())

    names = ray.get([slot.handle.__ray_call__.remote(own) for slot in pool._slots])
    return [re.findall(r"CPU_group_(\d+)_", " ".join(of_one))[0] for of_one in names]


def test_a_run_in_turns_outlives_an_actor_lost_at_rest_and_one_lost_in_a_push(
    config: RunConfig, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pool = ActorPool(config, tiny_checkpoint, placement=partial(placement.of_rollout, config))
    learner = LearnerOfARealModel(pool, tiny_checkpoint)
    sandbox = ProcessPool(SandboxConfig(backend="process", containers=1))
    run = compose(config, pool, sandbox, learner)

    async def scenario() -> tuple[list[ActorStats], list[ActorStats]]:
        try:
            await pool.start()
            assert bundles(pool) == ["0", "1"]
            before = await pool.stats()
            async with sandbox, asyncio.timeout(300):
                await session.train(run, RunFolder(tmp_path, config), [], Console(quiet=True))
                await asyncio.gather(*(slot.keeper for slot in pool._slots if slot.keeper))
            after = await pool.stats()
            assert bundles(pool) == ["0", "1"]
            expected = learner.model(STEPS)
            for slot in pool._slots:
                probe = await slot.handle.probe.remote(PROMPT)
                wanted = tempered_logprobs(expected, PROMPT[:1], PROMPT[1:])
                assert probe.logprobs == pytest.approx(wanted.tolist(), abs=0.02)
            return before, after
        finally:
            await pool.close()

    before, after = asyncio.run(scenario())
    assert [actor.name for actor in after] == ["rollout-0", "rollout-1"]
    assert not {actor.pid for actor in before} & {actor.pid for actor in after}
    assert [(actor.state, actor.version) for actor in after] == [("ready", STEPS)] * 2
    assert run.book.fates == {Fate.TRAINED: STEPS * 8}
    ids = [t.ticket.sample_id for batch in learner.batches for t in batch]
    assert len(set(ids)) == STEPS * 8
    assert [{t.oldest_weights for t in batch} for batch in learner.batches] == [{0}, {1}, {2}]


def compose(config: RunConfig, pool: ActorPool, sandbox: ProcessPool, learner: FakeLearner) -> Run:
    problems = [
        Problem(
            problem_id=f"say/{i}",
            statement=f"say {i}",
            reference=f"print({i})\n",
            level="interview",
            tests=TestSuite(inputs=("",), outputs=(f"{i}",)),
        )
        for i in range(2)
    ]
    writer = prompt_writer(config, config.model.path)
    return session.compose(config, problems, writer, session.Pools(pool, sandbox), learner)
