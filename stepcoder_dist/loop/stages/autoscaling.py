"""When a pool is resized by itself: arithmetic on a step's seconds, with hysteresis.

The sandbox follows its queue: it grows while engines wait for programs that wait for containers,
and shrinks while most containers are idle. The rollout pool follows who waits for whom: it grows
while the learner waits for samples, and shrinks while engines wait for the learner.

A pool grows after `GROW_AFTER` such steps in a row, to at most its double, and shrinks after
`SHRINK_AFTER`. After a change `REST` steps are passed over: they still show the pool of before.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from stepcoder_dist.loop.stages.bottleneck import (
    Sizes,
    executors_wanted,
    queued,
    rollouts_enough,
    rollouts_wanted,
)
from stepcoder_dist.loop.stages.stage_clock import StageSeconds

GROW_AFTER = 2
SHRINK_AFTER = 5
REST = 2

GROW_SHARE = 0.1
"""Of the step: a shorter wait is no reason to grow."""
SHRINK_SHARE = 0.4
"""Of the step: engines that wait for the learner for less than this are none too many."""
IDLE_LOAD = 0.25
"""Containers that were busy for less than this, while there was something to judge, are idle."""
_LOAD_AFTER = 0.5
"""The load that a sandbox is shrunk to."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What the last steps said of a pool."""

    short: int = 0
    """Steps in a row in which it was too small."""
    spare: int = 0
    """Steps in a row in which it was too large."""
    rest: int = 0
    """Steps that are still passed over."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How small and how large a pool may be."""

    least: int
    most: int


def executors(
    trend: Trend, seconds: StageSeconds, sizes: Sizes, bounds: Bounds
) -> tuple[Trend, int]:
    """Return the trend after this step, and how many executors there shall be."""
    now = sizes.executors
    waited = seconds.rollouts_wait_for_sandbox_s
    full = queued(seconds) and waited > GROW_SHARE * seconds.step_s
    seats_s = now * sizes.containers * seconds.judging_s
    load = seconds.judged_s / seats_s if seats_s else 0.0
    wanted = now
    if full:
        wanted = executors_wanted(seconds, sizes)
    elif load < IDLE_LOAD and not queued(seconds):
        wanted = max(ceil(now * load / _LOAD_AFTER), 1)
    return _decided(trend, now, wanted, bounds)


def rollouts(
    trend: Trend, seconds: StageSeconds, sizes: Sizes, bounds: Bounds
) -> tuple[Trend, int]:
    """Return the trend after this step, and how many rollout actors there shall be."""
    now = wanted = sizes.rollouts
    if seconds.learner_waits_for_rollouts_s > GROW_SHARE * seconds.step_s:
        wanted = rollouts_wanted(seconds, sizes)
    elif seconds.rollouts_wait_for_learner_s > SHRINK_SHARE * seconds.step_s:
        wanted = rollouts_enough(seconds, sizes)
    return _decided(trend, now, wanted, bounds)


def _decided(trend: Trend, now: int, wanted: int, bounds: Bounds) -> tuple[Trend, int]:
    if trend.rest:
        return Trend(rest=trend.rest - 1), now
    wanted = min(max(wanted, bounds.least), bounds.most, 2 * now)
    short = trend.short + 1 if wanted > now else 0
    spare = trend.spare + 1 if wanted < now else 0
    if short >= GROW_AFTER or spare >= SHRINK_AFTER:
        return Trend(rest=REST), wanted
    return Trend(short=short, spare=spare), now
