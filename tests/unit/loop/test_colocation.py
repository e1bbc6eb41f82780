"""Actors and learner on one GPU: what a run file may ask for, and who rests when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.records import (
    Problem,
    RolloutRequest,
    StepReport,
    TestSuite,
    Ticket,
    Trajectory,
)
from stepcoder_dist.run import session
from stepcoder_dist.run.run_file import load
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.text.program import PromptWriter

ONE_GPU = Path(__file__).parents[3] / "deploy" / "runs" / "one_gpu.toml"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["train.max_staleness=1"], "train.max_staleness = 1 lets actors sample while the learner"),
        (['weights.transport="nccl"'], 'weights.transport = "nccl" cannot join two processes on'),
        (["actors.number=2"], "actors.number = 2 is not learner.ranks = 1, and colocate = true"),
        (["learner.resources.num_gpus=1"], "actors.resources.num_gpus = 0.5 and learner.resources"),
        (["learner.resources.num_gpus=0"], "actors.resources.num_gpus = 0.5 and learner.resources"),
    ],
)
def test_what_cannot_share_a_gpu_is_refused_in_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(ONE_GPU, overrides)
    assert str(refused.value).startswith(f"{ONE_GPU}: {line}")
    assert "\n" not in str(refused.value)


def test_pairs_on_gpus_push_within_them_unless_the_run_file_says_otherwise() -> None:
    assert load(ONE_GPU).weights.transport == "ipc"
    through_host = load(ONE_GPU, ['weights.transport="object_store"'])
    assert through_host.weights.transport == "object_store"
    on_cpus = [f"{pool}.resources.num_gpus=0" for pool in ("actors", "learner")]
    assert load(ONE_GPU, on_cpus).weights.transport == "object_store"
    with pytest.raises(ConfigError, match=r"ipc.* needs GPUs on both sides"):
        load(ONE_GPU, [*on_cpus, 'weights.transport="ipc"'])


def test_ipc_without_colocation_is_refused() -> None:
    apart = ["actors.resources.num_gpus=1", "learner.resources.num_gpus=1", "colocate=false"]
    assert load(ONE_GPU, apart).weights.transport == "object_store"
    with pytest.raises(ConfigError, match=r"works within a GPU .*; set colocate = true"):
        load(ONE_GPU, [*apart, 'weights.transport="ipc"'])


def test_without_colocation_the_same_settings_are_taken_on_gpus_of_their_own() -> None:
    whole = ["actors.resources.num_gpus=1", "learner.resources.num_gpus=1"]
    config = load(ONE_GPU, [*whole, "colocate=false", "train.max_staleness=1", "actors.number=2"])
    assert config.actors.number == 2


class Diary:
    """A sampler and a learner that note what is asked of them."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        diary = self.entries

        class Sampler(FakeSampler):
            async def rest(self) -> None:
                diary.append("rest")
                await super().rest()

            def finish_update(self, version: int, buckets: int) -> None:
                diary.append(f"weights {version}")
                super().finish_update(version, buckets)

        class Learner(FakeLearner):
            async def step(self, batch: Sequence[Trajectory]) -> StepReport:
                diary.append("step")
                return await super().step(batch)

        self.sampler = Sampler(lambda _: "print(1)\n```")
        self.learner = Learner()


def run_two_steps(folder: Path, diary: Diary, *, colocate: bool) -> None:
    config = RunConfig.model_validate(
        {
            "name": "diary",
            "colocate": colocate,
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "sampling": {"samples_per_problem": 2, "max_new_tokens": 50},
            "learner": {"samples_per_step": 2, "minibatch_samples": 2},
            "train": {"steps": 2},
        }
    )
    tests = TestSuite(inputs=("",), outputs=("1",))
    problem = Problem(
        problem_id="p", statement="say 1", reference="print(1)\n", level="interview", tests=tests
    )
    sandbox = ProcessPool(SandboxConfig(backend="process", containers=1))
    pools = session.Pools(diary.sampler, sandbox)
    writer = PromptWriter(ByteTokenizer(), config.prompt)
    run = session.compose(config, [problem], writer, pools, diary.learner)

    async def scenario() -> None:
        async with sandbox:
            await session.train(run, RunFolder(folder, config), [], Console(quiet=True))

    asyncio.run(scenario())


def test_actors_rest_before_every_step_and_the_push_wakes_them(tmp_path: Path) -> None:
    diary = Diary()
    run_two_steps(tmp_path, diary, colocate=True)
    assert diary.entries == [
        "weights 0",
        *("rest", "step", "weights 1"),
        *("rest", "step", "weights 2"),
    ]


def test_actors_of_their_own_gpus_never_rest(tmp_path: Path) -> None:
    diary = Diary()
    run_two_steps(tmp_path, diary, colocate=False)
    assert diary.entries == ["weights 0", "step", "weights 1", "step", "weights 2"]


def test_a_fake_at_rest_samples_only_after_a_push() -> None:
    sampler = FakeSampler(lambda _: "x")

    async def first(stream: Any) -> Any:
        return await anext(stream)

    async def scenario() -> str:
        await sampler.rest()
        with pytest.raises(RunError, match="rest"):
            await first(sampler.sample([request()]))
        (target,) = await sampler.weight_targets()
        target.start_update(1)
        target.finish_update(1, 0)
        return (await first(sampler.sample([request()]))).text

    assert asyncio.run(scenario()) == "x"


def request() -> RolloutRequest:
    ids, _ = ByteTokenizer().encode("say 1")
    ticket = Ticket(sample_id="s", group="g", problem_id="p", stage=0, seed=0, planned_step=0)
    return RolloutRequest(
        ticket=ticket, prompt_ids=ids, given="", temperature=1.0, top_p=1.0, max_new_tokens=8
    )
