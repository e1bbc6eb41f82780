"""Pools that resize themselves settle where nobody waits, and stay there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from test_bottleneck import SIZES, STEP

from stepcoder_dist.loop.stages.autoscaling import (
    GROW_AFTER,
    REST,
    Bounds,
    Trend,
    executors,
    rollouts,
)
from stepcoder_dist.loop.stages.bottleneck import Sizes
from stepcoder_dist.loop.stages.stage_clock import StageSeconds

BOUNDS = Bounds(1, 32)
Plant = Callable[[int], StageSeconds]


def learner_and_engines(learner_s: float, engine_s: float, noise: float = 0.0) -> Plant:
    """A learner of so many seconds a step, and engines that need so many seconds in all."""
    dice = random.Random(3)

    def step(number: int) -> StageSeconds:
        learner = learner_s * (1 + noise * dice.uniform(-1, 1))
        engines = engine_s / number * (1 + noise * dice.uniform(-1, 1))
        step_s = max(learner, engines)
        return replace(
            STEP,
            step_s=step_s,
            sampling_s=engines,
            learner_waits_for_rollouts_s=step_s - learner,
            rollouts_wait_for_learner_s=step_s - engines,
        )

    return step


def engines_and_sandbox(engine_s: float, program_s: float, noise: float = 0.0) -> Plant:
    """Engines of so many seconds a step; their 1,024 programs run for so long on 2 containers."""
    dice = random.Random(4)

    def step(number: int) -> StageSeconds:
        work = program_s * 1024 * (1 + noise * dice.uniform(-1, 1))
        judging = max(work / (2 * number), engine_s)
        full = judging > engine_s
        return replace(
            STEP,
            step_s=judging,
            sampling_s=engine_s,
            judging_s=judging,
            rollouts_wait_for_sandbox_s=judging - engine_s,
            judged_s=work,
            queued_s=work * 4 if full else 0.0,
        )

    return step


def trace_of_rollouts(plant: Plant, start: int, steps: int, bounds: Bounds = BOUNDS) -> list[int]:
    trend, number, trace = Trend(), start, []
    for _ in range(steps):
        sizes = replace(SIZES, rollouts=number)
        trend, number = rollouts(trend, plant(number), sizes, bounds)
        trace.append(number)
    return trace


def trace_of_executors(plant: Plant, start: int, steps: int, bounds: Bounds = BOUNDS) -> list[int]:
    trend, number, trace = Trend(), start, []
    for _ in range(steps):
        sizes = replace(SIZES, executors=number)
        trend, number = executors(trend, plant(number), sizes, bounds)
        trace.append(number)
    return trace


def changes(trace: list[int]) -> int:
    return sum(a != b for a, b in pairwise(trace))


@pytest.mark.parametrize(("start", "settled"), [(1, 10), (10, 10), (32, 10)])
def test_the_rollout_pool_settles_where_the_learner_is_just_kept_busy(start: int, settled: int):
    trace = trace_of_rollouts(learner_and_engines(10.0, 100.0), start, 60)
    assert abs(trace[-1] - settled) <= 1
    assert len(set(trace[40:])) == 1


def test_the_first_growth_takes_two_steps_and_at_most_doubles_the_pool():
    trace = trace_of_rollouts(learner_and_engines(10.0, 100.0), 1, 10)
    assert trace == [1, 2, 2, 2, 2, 4, 4, 4, 4, 8]
    assert (GROW_AFTER, REST) == (2, 2)


def test_a_noisy_learner_makes_no_pool_swing():
    trace = trace_of_rollouts(learner_and_engines(10.0, 100.0, noise=0.3), 2, 300)
    assert changes(trace[60:]) <= 6
    assert all(10 <= number <= 16 for number in trace[60:])


@pytest.mark.parametrize(("start", "settled"), [(1, 8), (8, 8), (32, 16), (16, 16)])
def test_the_sandbox_settles_between_a_full_queue_and_idle_containers(start: int, settled: int):
    # 1,024 programs of 0.15 s are 153.6 s of work: 7.7 executors of 2 containers in 10 s. Of 32
    # executors 24% are busy, which is too little: ceil(32 * 0.24 / 0.5) = 16
    trace = trace_of_executors(engines_and_sandbox(10.0, 0.15), start, 60)
    assert set(trace[20:]) == {settled}


def test_a_noisy_sandbox_does_not_swing():
    trace = trace_of_executors(engines_and_sandbox(10.0, 0.15, noise=0.3), 2, 300)
    assert changes(trace[60:]) <= 6


def test_idle_containers_go_and_the_rest_is_half_busy():
    # 16 executors of 2 containers, 10 s: 320 s of places for 32 s of programs
    trace = trace_of_executors(engines_and_sandbox(10.0, 32 / 1024), 16, 12)
    assert trace[3:6] == [16, 4, 4]  # ceil(16 * 0.1 / 0.5) after five steps


def test_one_slow_step_changes_nothing():
    quick, slow = learner_and_engines(10.0, 40.0), learner_and_engines(10.0, 400.0)
    trend, number = Trend(), 4
    for plant in [quick, slow, quick] * 10:
        trend, number = rollouts(trend, plant(number), replace(SIZES, rollouts=number), BOUNDS)
        assert number == 4


def test_no_pool_leaves_its_bounds():
    assert set(trace_of_rollouts(learner_and_engines(1.0, 100.0), 2, 60, Bounds(2, 5))) == {2, 4, 5}
    low = trace_of_rollouts(learner_and_engines(100.0, 1.0), 5, 60, Bounds(2, 5))
    assert low[-1] == 2


def test_slow_programs_without_a_queue_do_not_grow_the_sandbox():
    seconds = replace(STEP, sampling_s=10.0, rollouts_wait_for_sandbox_s=90.0, judged_s=1500.0)
    sizes: Sizes = SIZES
    trend = Trend()
    for _ in range(10):
        trend, number = executors(trend, seconds, sizes, BOUNDS)
        assert number == sizes.executors
