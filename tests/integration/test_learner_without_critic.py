"""GRPO on real DeepSpeed ranks: no critic is built or saved, and ranks and resumption agree.

RLOO runs through the learner's contract suite.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from learner_batches import run_config, trajectories

from learner.learner_group import LearnerGroup
from stepcoder_dist.records import StepReport

pytestmark = [pytest.mark.ray, pytest.mark.deepspeed]

PROBE = [5, 17, 40, 3, 99, 250, 8]
WALL_CLOCK = "learner_tokens_per_s"


def figures(report: StepReport) -> dict[str, float]:
    return {name: value for name, value in report.metrics.items() if name != WALL_CLOCK}


async def two_steps(
    checkpoint: Path, folder: Path, **keys: int | str
) -> tuple[list[dict], list[float]]:
    """Two steps, a checkpoint between them; the second step again from there is the same."""
    rule = {"advantage": "grpo", "kl_beta": 0.1, "samples_per_step": 6, "minibatch_samples": 6}
    config = run_config(learner=rule | keys, sampling={"samples_per_problem": 6})
    learner = LearnerGroup(config, str(checkpoint))
    try:
        await learner.start()
        first = await learner.step(trajectories(6, seed=1))
        await learner.save(str(folder))
        straight = figures(await learner.step(trajectories(6, seed=2)))
        probe = await learner.probe_logprobs(PROBE)
        assert await learner.load(str(folder)) == first.version
        assert figures(await learner.step(trajectories(6, seed=2))) == straight
        assert await learner.probe_logprobs(PROBE) == probe
        return [figures(first), straight], list(probe)
    finally:
        await learner.close()


def test_two_ranks_are_one_rank_a_resumed_step_is_the_same_and_no_critic_is_saved(
    local_ray: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    del local_ray
    one, probe = asyncio.run(two_steps(tiny_checkpoint, tmp_path / "one", ranks=1, zero_stage=0))
    two, same = asyncio.run(two_steps(tiny_checkpoint, tmp_path / "two", ranks=2, zero_stage=3))

    assert same == pytest.approx(probe, abs=1e-4)
    for here, there in zip(one, two, strict=True):
        assert there == pytest.approx(here, rel=1e-3, abs=1e-4)
        assert not here.keys() & {"value_loss", "explained_variance", "grad_norm_critic"}
        assert here["flat_share"] == 0.0
    # π_θ left π_ref in the first step
    assert one[0]["kl_loss"] == pytest.approx(0.0, abs=1e-7)
    assert one[1]["kl_loss"] > 1e-7
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "manifest.json",
        "policy",
        "rank_0000.pt",
        "rank_0001.pt",
    ]


def test_rules_that_see_entire_samples_do_not_depend_on_ranks(
    local_ray: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    del local_ray
    # two updates a step, so that ratios leave 1; a sequence's ratio, mean and correction
    keys = {
        "advantage": "tempo",
        "loss": "gspo",
        "normaliser": "sequence",
        "correction": "sequence",
        "kl_estimator": "k2",
        "minibatch_samples": 3,
    }
    one, probe = asyncio.run(two_steps(tiny_checkpoint, tmp_path / "one", ranks=1, **keys))
    two, same = asyncio.run(two_steps(tiny_checkpoint, tmp_path / "two", ranks=2, **keys))

    assert same == pytest.approx(probe, abs=1e-4)
    for here, there in zip(one, two, strict=True):
        assert there == pytest.approx(here, rel=1e-3, abs=1e-4)
        assert here["clip_fraction"] > 0
