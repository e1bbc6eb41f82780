"""GRPO and RLOO on real DeepSpeed ranks: no critic is built or saved, ranks and resumption agree."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from learner_batches import run_config, trajectories

from learner.learner_group import LearnerGroup
from stepcoder_dist.records import StepReport

pytestmark = [pytest.mark.ray, pytest.mark.deepspeed]

PROBE = [5, 17, 40, 3, 99, 250, 8]
SECOND_RULE = {"grpo": 1, "rloo": 2}
"""Ranks on which each rule is run: the one alone resumes bitwise, the other against one rank."""


async def two_steps(
    checkpoint: Path, folder: Path, advantage: str, **layout: int
) -> tuple[list[StepReport], list[float], list[StepReport], list[float]]:
    """Two steps straight, then back to the checkpoint between them and the second again."""
    config = run_config(
        learner={"advantage": advantage, "kl_beta": 0.1, "samples_per_step": 6, **layout}
        | {"minibatch_samples": 6},
        sampling={"samples_per_problem": 6},
    )
    learner = LearnerGroup(config, str(checkpoint))
    try:
        await learner.start()
        first = await learner.step(trajectories(6, seed=1))
        await learner.save(str(folder))
        straight = await learner.step(trajectories(6, seed=2))
        probe = await learner.probe_logprobs(PROBE)
        assert await learner.load(str(folder)) == first.version
        again = await learner.step(trajectories(6, seed=2))
        return [first, straight], probe, [again], await learner.probe_logprobs(PROBE)
    finally:
        await learner.close()


def figures(report: StepReport) -> dict[str, float]:
    return {k: v for k, v in report.metrics.items() if k != "learner_tokens_per_s"}


@pytest.mark.parametrize("advantage", ["grpo", "rloo"])
def test_two_ranks_are_one_rank_a_resumed_run_is_the_same_and_no_critic_is_saved(
    local_ray: None, tiny_checkpoint: Path, tmp_path: Path, advantage: str
) -> None:
    del local_ray
    one, one_probe, again, again_probe = asyncio.run(
        two_steps(tiny_checkpoint, tmp_path / "one", advantage, ranks=1, zero_stage=0)
    )
    two, two_probe, _, _ = asyncio.run(
        two_steps(tiny_checkpoint, tmp_path / "two", advantage, ranks=2, zero_stage=3)
    )

    assert figures(again[0]) == figures(one[1])
    assert again_probe == one_probe
    assert two_probe == pytest.approx(one_probe, abs=1e-4)
    for here, there in zip(one, two, strict=True):
        assert figures(there) == pytest.approx(figures(here), rel=1e-3, abs=1e-4)
        assert not here.metrics.keys() & {"value_loss", "explained_variance", "grad_norm_critic"}
        assert here.metrics["flat_share"] == 0.0
        assert ("kl_loss" in here.metrics) == (advantage == "grpo")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "manifest.json",
        "policy",
        "rank_0000.pt",
        "rank_0001.pt",
    ]
