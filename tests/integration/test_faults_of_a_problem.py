"""A problem kills every actor that samples it: it is found out, named and set aside.

Ray, the pool and the processes that die are real; the actors have a fake in the place of vLLM, so
that a new process takes a second.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("ray")

import ray

from actors.actor_pool import ActorPool
from actors.pool.slot_keeper import SlotKeeper
from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.problems import ladder
from stepcoder_dist.records import Completion, RolloutRequest, WeightSnapshot, WeightVersion
from stepcoder_dist.run import ledger_report, session
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.usefixtures("local_ray")]

PROBLEMS = list(ladder.problems("train", count=4))
DEADLY = PROBLEMS[1].problem_id


class FragileActor:
    """A rollout actor whose process is killed when it is asked for samples of one problem."""

    def __init__(self, *_: Any, awaits_weights: bool) -> None:
        self._sampler = FakeSampler(lambda _: "print(1)\n```")
        self._has_weights = asyncio.Event()
        if not awaits_weights:
            self._has_weights.set()

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[list[Completion]]:
        if any(request.ticket.problem_id == DEADLY for request in share):
            os.kill(os.getpid(), signal.SIGKILL)
        async for completion in self._sampler.sample(share):
            yield [completion]

    async def take(self, version: WeightVersion) -> None:
        self._sampler.finish_update(version, 0)
        self._has_weights.set()

    async def wait_until_complete(self) -> None:
        await self._has_weights.wait()

    async def until_the_end(self) -> None:
        await asyncio.Event().wait()

    async def stats(self) -> None:
        pass

    async def close(self) -> None:
        pass


class FragileKeeper(SlotKeeper):
    process = FragileActor


class LearnerOfActors(FakeLearner):
    """Delivers its versions to actors of Ray; one that has died is passed over."""

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        taken = (target.take.remote(snapshot.version) for target in targets)
        async with asyncio.timeout(deadline_s):
            await asyncio.gather(*taken, return_exceptions=True)


@pytest.mark.parametrize(
    "staleness",
    [pytest.param(0, id="in turns"), pytest.param(2, id="2 steps ahead", marks=pytest.mark.long)],
)
def test_a_problem_that_kills_its_actor_is_quarantined_and_the_run_goes_on(
    staleness: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = RunConfig.model_validate(
        {
            "name": "deadly",
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "sampling": {"samples_per_problem": 2, "max_new_tokens": 20},
            "actors": {"number": 2, "resources": {"num_cpus": 0.1}},
            "learner": {"samples_per_step": 8, "minibatch_samples": 8},
            "train": {"steps": 4, "max_staleness": staleness},
        }
    )

    async def run() -> None:
        pool = ActorPool(config, "a-model/of-the-hub", keeper=FragileKeeper)
        sandbox = ProcessPool(SandboxConfig(backend="process", containers=2))
        try:
            async with sandbox:
                await pool.start()
                pools = session.Pools(pool, sandbox)
                writer = PromptWriter(ByteTokenizer(), config.prompt)
                made = session.compose(config, PROBLEMS, writer, pools, LearnerOfActors())
                folder = RunFolder(tmp_path, config)
                sinks = [JsonLines(tmp_path / "metrics.jsonl")]
                await session.train(made, folder, sinks, Console(quiet=True))
        finally:
            await pool.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(run())
    assert f"problem {DEADLY} is quarantined: 4 engines in a row" in caplog.text
    assert caplog.text.count(" is quarantined: ") == 1
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
    assert "4 steps, 0 resumptions" in account.lines[0]
