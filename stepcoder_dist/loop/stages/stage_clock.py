"""How long the stages of a run work and wait for each other, measured at the ports.

The loops call their sampler, sandbox and learner through the classes below, which count what is
under way in each. At every moment some stages work; the clock adds up the seconds of each
combination. `StageSeconds` says who waited for whom.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from stepcoder_dist.ports import Learner, Sampler, Sandbox
from stepcoder_dist.records import Completion, RolloutRequest, Verdict


class Stage(StrEnum):
    """What works at a moment."""

    SAMPLING = "sampling"
    JUDGING = "judging"
    LEARNING = "learning"
    PUSHING = "pushing"
    SAVING = "saving"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds:
    """Who worked and who waited for whom, in seconds of a step's wall-clock time.

    A step is the time between the records of two steps.
    """

    step_s: float
    sampling_s: float
    """Some engine decoded."""
    judging_s: float
    """Some program was in the sandbox, its queue included."""
    learner_waits_for_rollouts_s: float
    """Engines decoded, and the learner had nothing to do."""
    learner_waits_for_sandbox_s: float
    """Programs were judged, no engine decoded, and the learner had nothing to do."""
    rollouts_wait_for_sandbox_s: float
    """Programs were judged, and no engine decoded."""
    rollouts_wait_for_learner_s: float
    """The learner stepped, and neither engine nor sandbox had anything to do."""
    rollouts_wait_for_push_s: float
    """The same, while weights were sent."""
    rollouts_wait_for_checkpoint_s: float
    """The same, while a checkpoint or a policy was written."""
    programs: int
    """Programs that were judged."""
    judged_s: float
    """Seconds of programs in the sandbox, added up over programs, without the queue."""
    queued_s: float
    """Seconds of programs in the sandbox's queue, added up over programs."""

    def figures(self) -> dict[str, float]:
        """Return the seconds by the names of `metrics.METRICS`."""
        return {
            f"waits/{name}": getattr(self, f"{name}_s")
            for name in (
                "learner_waits_for_rollouts",
                "learner_waits_for_sandbox",
                "rollouts_wait_for_sandbox",
                "rollouts_wait_for_learner",
                "rollouts_wait_for_push",
                "rollouts_wait_for_checkpoint",
            )
        }


def _nobody(_working: frozenset[Stage], _begin: float, _end: float) -> None:
    """Hear of an interval."""


class StageClock:
    """Adds up seconds by what works in them. Use it on one event loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._under_way: Counter[Stage] = Counter()
        self._working: frozenset[Stage] = frozenset()
        """The stages that have something under way."""
        self._seconds: defaultdict[frozenset[Stage], float] = defaultdict(float)
        self._programs = 0
        self._judged_s = self._queued_s = 0.0
        self._since = now()
        self.hear: Callable[[frozenset[Stage], float, float], None] = _nobody
        """Called with what worked in each interval, its begin and its end."""

    @property
    def at_work(self) -> frozenset[Stage]:
        """The stages that have something under way now."""
        return self._working

    @contextmanager
    def working(self, stage: Stage) -> Iterator[None]:
        self.change(stage, 1)
        try:
            yield
        finally:
            self.change(stage, -1)

    def change(self, stage: Stage, by: int) -> None:
        """Count what begins in a stage, or ends there."""
        before = self._under_way[stage]
        self._under_way[stage] = before + by
        if (before > 0) != (before + by > 0):  # once for many samples, not for each
            self._settle()
            self._working = frozenset(+self._under_way)

    def judged(self, seconds: float, wall_s: float) -> None:
        """Count a verdict: the seconds that the program was away, and those that it ran."""
        self._programs += 1
        self._judged_s += min(wall_s, seconds)
        self._queued_s += max(seconds - wall_s, 0.0)

    def take(self) -> StageSeconds:
        """Return the seconds since the last call, and begin again."""
        self._settle()
        seconds, self._seconds = self._seconds, defaultdict(float)

        def during(with_any: set[Stage], without: set[Stage]) -> float:
            return sum(s for at, s in seconds.items() if at & with_any and not at & without)

        learner = {Stage.LEARNING, Stage.PUSHING, Stage.SAVING}
        making = {Stage.SAMPLING, Stage.JUDGING}
        taken = StageSeconds(
            step_s=sum(seconds.values()),
            sampling_s=during({Stage.SAMPLING}, set()),
            judging_s=during({Stage.JUDGING}, set()),
            learner_waits_for_rollouts_s=during({Stage.SAMPLING}, learner),
            learner_waits_for_sandbox_s=during({Stage.JUDGING}, {Stage.SAMPLING, *learner}),
            rollouts_wait_for_sandbox_s=during({Stage.JUDGING}, {Stage.SAMPLING}),
            rollouts_wait_for_learner_s=during({Stage.LEARNING}, making),
            rollouts_wait_for_push_s=during({Stage.PUSHING}, {Stage.LEARNING, *making}),
            rollouts_wait_for_checkpoint_s=during(
                {Stage.SAVING}, {Stage.LEARNING, Stage.PUSHING, *making}
            ),
            programs=self._programs,
            judged_s=self._judged_s,
            queued_s=self._queued_s,
        )
        self._programs, self._judged_s, self._queued_s = 0, 0.0, 0.0
        return taken

    def _settle(self) -> None:
        now = self._now()
        self._seconds[self._working] += now - self._since
        self.hear(self._working, self._since, now)
        self._since = now


class _Timed:
    """A port of which some methods are timed; the others are its own."""

    def __init__(self, port: Any, clock: StageClock) -> None:
        self._port = port
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def _during(self, stage: Stage, work: Awaitable[Any]) -> Any:
        with self._clock.working(stage):
            return await work


class _TimedSampler(_Timed):
    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        left = len(share)
        self._clock.change(Stage.SAMPLING, left)
        try:
            async with aclosing(self._port.sample(share)) as completions:
                async for completion in completions:
                    left -= 1
                    self._clock.change(Stage.SAMPLING, -1)
                    yield completion
        finally:
            self._clock.change(Stage.SAMPLING, -left)


class _TimedSandbox(_Timed):
    async def judge(self, *arguments: Any, **named: Any) -> Verdict:
        begun = time.monotonic()
        self._clock.change(Stage.JUDGING, 1)
        try:
            verdict: Verdict = await self._port.judge(*arguments, **named)
        finally:
            self._clock.change(Stage.JUDGING, -1)
        self._clock.judged(time.monotonic() - begun, verdict.wall_ms / 1000)
        return verdict


class _TimedLearner(_Timed):
    async def step(self, *arguments: Any) -> Any:
        return await self._during(Stage.LEARNING, self._port.step(*arguments))

    async def publish(self, *arguments: Any, **named: Any) -> Any:
        return await self._during(Stage.PUSHING, self._port.publish(*arguments, **named))

    async def snapshot(self) -> Any:
        return await self._during(Stage.PUSHING, self._port.snapshot())

    async def deliver(self, *arguments: Any, **named: Any) -> Any:
        return await self._during(Stage.PUSHING, self._port.deliver(*arguments, **named))

    async def begin_save(self, *arguments: Any) -> Any:
        """What is returned writes while others work; only the copy holds anybody up."""
        return await self._during(Stage.SAVING, self._port.begin_save(*arguments))

    async def save_hf(self, *arguments: Any) -> Any:
        return await self._during(Stage.SAVING, self._port.save_hf(*arguments))


def timed_sampler(sampler: Sampler, clock: StageClock) -> Sampler:
    """Return the sampler; the clock counts what it samples."""
    return cast(Sampler, _TimedSampler(sampler, clock))


def timed_sandbox(sandbox: Sandbox, clock: StageClock) -> Sandbox:
    """Return the sandbox; the clock counts what it judges."""
    return cast(Sandbox, _TimedSandbox(sandbox, clock))


def timed_learner(learner: Learner, clock: StageClock) -> Learner:
    """Return the learner; the clock counts its steps, pushes and checkpoints."""
    return cast(Learner, _TimedLearner(learner, clock))
