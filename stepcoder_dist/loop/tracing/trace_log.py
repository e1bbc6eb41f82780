"""What happened when in a run, as the driver saw it: the source of `trace.jsonl`.

Every time is on the driver's clock. Where the work is in another process, the driver notes when it
learned of its end, and takes the duration that the other process measured: no clocks have to agree.

`run/tracing/trace_rows.py` writes a page with each step, `run/tracing/trace_events.py` draws them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.stages.stage_clock import Stage
from stepcoder_dist.records import Completion, TakenUpdate, WeightVersion

FAULT = "sandbox_fault"
"""What `Judged.outcome` is for a program that got no verdict."""


class Span(NamedTuple):
    """Something that took time. Times are microseconds since the log's origin."""

    track: str
    """`process/thread` of the picture: `learner/steps`."""
    name: str
    begin: int
    end: int
    details: dict[str, Any]


class Decoded(NamedTuple):
    """One completion."""

    sample: str
    actor: str
    asked: int
    """When the driver asked for it."""
    begin: int
    """When the engine accepted it, by the seconds that the engine measured."""
    end: int
    tokens: int
    oldest_weights: WeightVersion
    newest_weights: WeightVersion


class Judged(NamedTuple):
    """One program."""

    sample: str
    executor: str
    """Empty where the sandbox does not say."""
    asked: int
    begin: int
    """When an executor began, by the time that it measured; before it the program was queued."""
    end: int
    outcome: str


@dataclass(slots=True)
class Page:
    """What ended between two takings, each list in the order of the ends."""

    spans: list[Span] = field(default_factory=list)
    decoded: list[Decoded] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)


class TraceLog:
    """Collects a page at a time. Use it on one event loop."""

    def __init__(self, *, on: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: seconds, as `StageClock` has them."""
        self.on = on
        self.origin = time.time()
        """Seconds since 1970 at the zero of all times: one for each process that ran the run."""
        self._now = now
        self._zero = now()
        self._page = Page()
        self._step_began = 0
        self._waits = _Waits(self)

    def at(self, moment: float) -> int:
        """Return a moment of the clock as microseconds since the origin."""
        return round((moment - self._zero) * 1e6)

    def now(self) -> int:
        return self.at(self._now())

    def add(self, track: str, name: str, begin: int, end: int, **details: Any) -> None:
        if self.on:
            self._page.spans.append(Span(track, name, begin, end, details))

    @contextmanager
    def span(self, track: str, name: str, **details: Any) -> Iterator[dict[str, Any]]:
        """Add what happens in the context, also where it fails; yields its details."""
        begin = self.now()
        try:
            yield details
        finally:
            self.add(track, name, begin, self.now(), **details)

    def phase(self, name: str, begin: float, end: float) -> None:
        """Add a phase of the training loop, from `PhaseClock`."""
        self.add("driver/phases", name, self.at(begin), self.at(end))

    def working(self, stages: frozenset[Stage], begin: float, end: float) -> None:
        """Hear from `StageClock` what worked in an interval that follows the last one."""
        if self.on:
            self._waits.hear(stages, self.at(begin), self.at(end))

    def decoded(self, completion: Completion, asked: int) -> None:
        """Add a completion that has just arrived."""
        if self.on:
            end = self.now()
            begin = min(max(asked, end - round(completion.seconds * 1e6)), end)
            self._page.decoded.append(
                Decoded(
                    completion.sample_id,
                    completion.actor,
                    asked,
                    begin,
                    end,
                    len(completion.token_ids),
                    completion.oldest_weights,
                    completion.newest_weights,
                )
            )

    def taken(self, update: TakenUpdate, version: WeightVersion) -> None:
        """Add the pause of an actor that says just now that it has a version."""
        end = self.now()
        begin = end - round(max(update.paused_s, 0.0) * 1e6)
        self.add(f"{update.actor}/pauses", f"push {version}", begin, end)

    def judged(self, sample: str, asked: int, judged: JudgedSample | None) -> None:
        """Add a verdict that has just arrived, or None where there is none."""
        if not self.on:
            return
        if judged is None:
            end = self.now()
            self._page.judged.append(Judged(sample, "", asked, asked, end, FAULT))
            return
        verdict = judged.verdict
        end = asked + round(judged.trajectory.judge_ms * 1e3)
        begin = max(asked, end - round(verdict.wall_ms * 1e3))
        self._page.judged.append(
            Judged(sample, verdict.executor, asked, begin, end, verdict.outcome)
        )

    def begin_steps(self) -> None:
        """Have the first step begin now."""
        self._step_began = self.now()

    def take(self, step: WeightVersion | None) -> Page:
        """Return what ended since the last call, and begin the next page; None: the run ends."""
        if step is not None:
            now = self.now()
            self.add("driver/steps", f"step {step}", self._step_began, now)
            self._step_began = now
        self._waits.close()
        page, self._page = self._page, Page()
        return page

    def around(
        self, track: str, name: str, work: Callable[[WeightVersion], Awaitable[None]]
    ) -> Callable[[WeightVersion], Awaitable[None]]:
        """Return the work on a version; its times are added."""

        async def timed(version: WeightVersion) -> None:
            with self.span(track, name, weights=version):
                await work(version)

        return timed


class _Waits:
    """Joins intervals with one reason to wait into one span."""

    def __init__(self, log: TraceLog) -> None:
        self._log = log
        self._until = 0
        self._open = {"learner waits": ("", 0), "rollouts wait": ("", 0)}
        """By thread, what is waited for and since when."""

    def hear(self, stages: frozenset[Stage], begin: int, end: int) -> None:
        self._until = begin
        self._change("learner waits", learner_waits_for(stages))
        self._change("rollouts wait", rollouts_wait_for(stages))
        self._until = end

    def close(self) -> None:
        """Add what is open, up to the last moment that was heard of."""
        for thread, (why, _) in list(self._open.items()):
            self._change(thread, "")
            self._change(thread, why)

    def _change(self, thread: str, why: str) -> None:
        before, since = self._open[thread]
        if why != before:
            if before and self._until > since:
                self._log.add(f"driver/{thread}", f"for {before}", since, self._until)
            self._open[thread] = (why, self._until)


def learner_waits_for(working: frozenset[Stage]) -> str:
    """Return what an idle learner waits for, as `StageSeconds` counts it; empty: it does not."""
    if working & {Stage.LEARNING, Stage.PUSHING, Stage.SAVING}:
        return ""
    if Stage.SAMPLING in working:
        return "rollouts"
    return "sandbox" if Stage.JUDGING in working else ""


def rollouts_wait_for(working: frozenset[Stage]) -> str:
    """Return what idle engines wait for, as `StageSeconds` counts it; empty: they decode."""
    if Stage.SAMPLING in working:
        return ""
    reasons = {
        Stage.JUDGING: "sandbox",
        Stage.LEARNING: "learner",
        Stage.PUSHING: "push",
        Stage.SAVING: "checkpoint",
    }
    return next((why for stage, why in reasons.items() if stage in working), "")
