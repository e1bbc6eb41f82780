"""A rollout actor is killed in the middle of a push: no token comes from mixed weights."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")

sys.path.insert(0, str(Path(__file__).parents[1]))
import ray
from rich.console import Console
from rollouts_for_tests import rollout_config, tempered_logprobs
from test_lost_at_rest import LearnerOfARealModel, compose

from actors.actor_pool import ActorPool
from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import FakeLearner
from stepcoder_dist.records import (
    Completion,
    RolloutRequest,
    StepReport,
    Trajectory,
    WeightSnapshot,
)
from stepcoder_dist.run import ledger_report, session
from stepcoder_dist.run.run_folder import RunFolder

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [
    pytest.mark.faults,
    pytest.mark.long,  # make test-faults
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("local_ray"),
]

STEPS, FATAL = 4, 2
"""The version in whose push rollout-1 dies, when it has loaded the first of several buckets."""


class Recorded:
    """The pool, and what it was asked and answered."""

    def __init__(self, pool: ActorPool) -> None:
        self._pool = pool
        self.answers: list[tuple[RolloutRequest, Completion]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        asked = {request.ticket.sample_id: request for request in share}
        async with aclosing(self._pool.sample(share)) as completions:  # type: ignore[type-var]
            async for completion in completions:
                self.answers.append((asked[completion.sample_id], completion))
                yield completion


class FatalPush(LearnerOfARealModel):
    """Pushes other weights at every version; a target of one push dies in it."""

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        async with self._turn:
            return await FakeLearner.step(self, batch)

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        lost = self._pool._slots[1].handle
        if snapshot.version == FATAL and lost in targets and not hasattr(self, "fatal"):
            self.fatal = await lost.__ray_call__.remote(die_at_the_second_bucket)
        await self._deliveries.deliver(snapshot, targets, None, deadline_s)


def die_at_the_second_bucket(actor: Any) -> int:
    """In the actor: SIGKILL, when a part of the new weights is loaded; return the process."""
    import os
    import signal

    engine = actor._sampler._receiver._engine
    real, calls = engine.collective_rpc, []

    def rpc(method: str, *arguments: Any, **named: Any) -> Any:
        if method == "update_weights":
            calls.append(method)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(method, *arguments, **named)

    engine.collective_rpc = rpc
    return os.getpid()


@pytest.fixture(params=[0, 2], ids=["in turns", "2 steps ahead, continue"])
def config(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Iterator[RunConfig]:
    staleness = request.param
    base = rollout_config(tiny_checkpoint, actors=2).model_dump()
    base |= {"train": {"steps": STEPS, "max_staleness": staleness}}
    base["problems"] = {"train": "none", "heldout": "none"}
    base["learner"] |= {"samples_per_step": 8}
    # long enough to be decoding when the weights change under it
    base["sampling"] |= {"max_new_tokens": 300, "temperature": 1.0, "top_p": 1.0}
    base["weights"] |= {"on_update": "continue" if staleness else "finish"}
    return RunConfig.model_validate(base)


def test_an_actor_killed_in_a_push_is_replaced_and_nothing_came_from_mixed_weights(
    config: RunConfig, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pool = ActorPool(config, tiny_checkpoint)
    recorded = Recorded(pool)
    learner = FatalPush(pool, tiny_checkpoint)
    sandbox = ProcessPool(SandboxConfig(backend="process", containers=1))
    run = compose(config, recorded, sandbox, learner)  # type: ignore[arg-type]

    async def scenario() -> list[int]:
        try:
            await pool.start()
            async with sandbox, asyncio.timeout(1000):
                with closing(RunFolder(tmp_path, config)) as folder:
                    await session.train(run, folder, [], Console(quiet=True))
                await asyncio.gather(*(slot.keeper for slot in pool._slots if slot.keeper))
            return [actor.pid for actor in await pool.stats()]
        finally:
            await pool.close()

    pids = asyncio.run(scenario())
    assert len(pids) == 2
    assert learner.fatal not in pids
    assert run.book.fates[Fate.TRAINED] == STEPS * 8
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
    models = {version: learner.model(version) for version in range(STEPS + 1)}
    for request, completion in recorded.answers:
        ids = completion.token_ids.tolist()
        if completion.oldest_weights != completion.newest_weights:
            ids = ids[:1]  # later ones are over the keys and values of two versions
        expected = tempered_logprobs(
            models[completion.oldest_weights], request.prompt_ids.tolist(), ids
        )
        np.testing.assert_allclose(completion.logprobs[: len(ids)], expected, atol=0.02)
