"""Who waited for whom, and what would help, with the figures worked out by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from stepcoder_dist.loop.fakes import FakeSampler
from stepcoder_dist.loop.metrics import METRICS, WALL_CLOCK
from stepcoder_dist.loop.stages.bottleneck import Sizes, bottleneck
from stepcoder_dist.loop.stages.stage_clock import Stage, StageClock, StageSeconds, timed_sampler

STEP = StageSeconds(
    step_s=100.0,
    sampling_s=100.0,
    judging_s=100.0,
    learner_waits_for_rollouts_s=0.0,
    learner_waits_for_sandbox_s=0.0,
    rollouts_wait_for_sandbox_s=0.0,
    rollouts_wait_for_learner_s=0.0,
    rollouts_wait_for_push_s=0.0,
    rollouts_wait_for_checkpoint_s=0.0,
    programs=1024,
    judged_s=100.0,
    queued_s=0.0,
)
SIZES = Sizes(rollouts=4, executors=8, containers=2, max_staleness=1)


def test_a_full_sandbox_names_the_executors_that_judge_while_engines_decode():
    # 8 executors took 38 + 62 s for what is decoded in 38 s: 8 * 100 / 38 = 21.05
    seconds = replace(STEP, sampling_s=38.0, rollouts_wait_for_sandbox_s=62.0, queued_s=900.0)
    found = bottleneck(seconds, SIZES)
    assert (found.stage, found.share, found.waited_s) == ("sandbox", 0.62, 62.0)
    assert found.text == (
        "rollouts waited 62% of the step (62.0 s) for the sandbox: 8 → 22 executors would end that"
    )
    assert found.short == "waits: sandbox 62%"


def test_no_more_executors_are_named_than_have_a_container_for_every_program():
    seconds = replace(
        STEP, sampling_s=38.0, rollouts_wait_for_sandbox_s=62.0, queued_s=900.0, programs=24
    )
    assert bottleneck(seconds, SIZES).text.endswith(": 8 → 12 executors would end that")


def test_a_wait_for_programs_that_nobody_queues_behind_is_not_the_number_of_executors():
    seconds = replace(STEP, sampling_s=38.0, rollouts_wait_for_sandbox_s=62.0, queued_s=10.0)
    assert "a few slow programs hold it up; sandbox.wall_limit_s" in bottleneck(seconds, SIZES).text


def test_a_learner_that_waits_names_the_actors_that_would_keep_it_busy():
    # 4 actors made in 100 s what the learner takes in 40 s: 4 * 100 / 40 = 10
    found = bottleneck(replace(STEP, learner_waits_for_rollouts_s=60.0), SIZES)
    assert found.text == (
        "the learner waited 60% of the step (60.0 s) for rollouts: 4 → 10 rollout actors would end "
        "that"
    )


def test_where_the_two_take_turns_more_actors_can_only_save_a_part():
    found = bottleneck(
        replace(STEP, learner_waits_for_rollouts_s=60.0), replace(SIZES, max_staleness=0)
    )
    assert found.text.endswith(
        "4 → 8 rollout actors would save up to 30.0 s of it; train.max_staleness = 1 would let the "
        "learner work meanwhile"
    )


@pytest.mark.parametrize(
    ("staleness", "advice"),
    [
        (0, "train.max_staleness = 1 would let them sample meanwhile; more learner.ranks help"),
        (1, "more learner.ranks help; 3 of 4 rollout actors would do"),  # ceil(4 * 0.7)
    ],
)
def test_engines_that_wait_for_the_learner(staleness: int, advice: str):
    found = bottleneck(
        replace(STEP, rollouts_wait_for_learner_s=30.0), replace(SIZES, max_staleness=staleness)
    )
    assert found.text == f"rollouts waited 30% of the step (30.0 s) for the learner: {advice}"


def test_a_checkpoint_or_a_push_can_hold_a_step_up_too():
    found = bottleneck(replace(STEP, rollouts_wait_for_checkpoint_s=25.0), SIZES)
    assert (found.stage, found.short) == ("checkpoint", "waits: checkpoint 25%")
    found = bottleneck(replace(STEP, rollouts_wait_for_push_s=25.0), SIZES)
    assert "waited 25% of the step (25.0 s) for the push of weights: " in found.text


def test_waits_below_a_twentieth_of_the_step_are_none():
    found = bottleneck(replace(STEP, rollouts_wait_for_push_s=4.9), SIZES)
    assert (found.stage, found.short) == ("", "no waits")


def test_a_step_of_no_time_has_no_bottleneck():
    assert bottleneck(replace(STEP, step_s=0.0), SIZES).stage == ""


# ---------------------------------------------------------------- the clock


class Clock:
    """A clock that moves when it is told."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_every_second_is_counted_for_what_works_in_it():
    time = Clock()
    clock = StageClock(time)

    def then(seconds: float, **changes: int) -> None:
        time.at += seconds
        for stage, by in changes.items():
            clock.change(Stage(stage), by)

    clock.change(Stage.SAMPLING, 2)
    then(10, sampling=-1, judging=1)  # 10 s of engines alone
    then(5, sampling=-1)  # 5 s of engines and sandbox
    then(20, judging=-1, learning=1)  # 20 s of the sandbox alone
    then(7, learning=-1, saving=1)  # 7 s of the learner alone
    then(3, saving=-1, pushing=1)
    then(2, learning=1, sampling=1)
    then(40, learning=-1, pushing=-1, sampling=-1)  # all at once: nobody waits
    then(1)
    clock.judged(3.0, 1.0)
    seconds = clock.take()
    assert seconds == StageSeconds(
        step_s=88.0,
        sampling_s=55.0,
        judging_s=25.0,
        learner_waits_for_rollouts_s=15.0,
        learner_waits_for_sandbox_s=20.0,
        rollouts_wait_for_sandbox_s=20.0,
        rollouts_wait_for_learner_s=7.0,
        rollouts_wait_for_push_s=2.0,
        rollouts_wait_for_checkpoint_s=3.0,
        programs=1,
        judged_s=1.0,
        queued_s=2.0,
    )
    assert seconds.figures().keys() <= METRICS.keys() & WALL_CLOCK
    time.at += 4
    assert clock.take().step_s == 4.0


def test_a_share_that_fails_is_no_longer_sampled():
    async def scenario() -> None:
        time = Clock()
        clock = StageClock(time)
        sampler = timed_sampler(FakeSampler(lambda _request: "```", width=3), clock)
        assert sampler.width == 3  # what is not timed is the sampler's own
        stream = sampler.sample([object(), object()])  # type: ignore[list-item]
        with pytest.raises(AttributeError):
            await anext(stream)
        time.at += 10
        assert clock.take().sampling_s == 0.0

    asyncio.run(scenario())
