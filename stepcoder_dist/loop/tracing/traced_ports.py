"""Sampler and learner whose work a `TraceLog` has, as `stage_clock.py` has its seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, cast

from stepcoder_dist.loop.tracing.trace_log import TraceLog
from stepcoder_dist.ports import Learner, Sampler
from stepcoder_dist.records import Completion


class _Traced:
    """A port of which some methods are noted; the others are its own."""

    def __init__(self, port: Any, log: TraceLog) -> None:
        self._port = port
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class _TracedSampler(_Traced):
    async def sample(self, share: Sequence[Any]) -> AsyncIterator[Completion]:
        asked = self._log.now()
        async with aclosing(self._port.sample(share)) as completions:
            async for completion in completions:
                self._log.decoded(completion, asked)
                yield completion

    async def rest(self) -> None:
        with self._log.span("weights/actors", "come to rest"):
            await self._port.rest()


class _TracedLearner(_Traced):
    async def step(self, batch: Sequence[Any]) -> Any:
        with self._log.span("learner/steps", "step", samples=len(batch)) as details:
            report = await self._port.step(batch)
            details["weights"] = report.version
            return report

    async def snapshot(self) -> Any:
        with self._log.span("learner/steps", "snapshot") as details:
            snapshot = await self._port.snapshot()
            details["weights"] = snapshot.version
            return snapshot

    async def deliver(self, snapshot: Any, targets: Sequence[Any], **named: Any) -> None:
        details = {"weights": snapshot.version, "actors": len(targets)}
        with self._log.span("weights/pushes", "push", **details):
            await self._port.deliver(snapshot, targets, **named)

    async def publish(self, targets: Sequence[Any], **named: Any) -> Any:
        with self._log.span("weights/pushes", "push", actors=len(targets)) as details:
            details["weights"] = version = await self._port.publish(targets, **named)
            return version

    async def begin_save(self, folder: str) -> Coroutine[Any, Any, None]:
        with self._log.span("learner/steps", "copy for a checkpoint"):
            writing = await self._port.begin_save(folder)

        async def timed() -> None:
            with self._log.span("learner/checkpoints", "write a checkpoint"):
                await writing

        return timed()

    async def save_hf(self, folder: str) -> None:
        with self._log.span("learner/steps", "write the policy"):
            await self._port.save_hf(folder)


def traced_sampler(sampler: Sampler, log: TraceLog) -> Sampler:
    """Return the sampler; the log has what it samples."""
    return cast(Sampler, _TracedSampler(sampler, log))


def traced_learner(learner: Learner, log: TraceLog) -> Learner:
    """Return the learner; the log has its steps, pushes and checkpoints, and the actors' pauses."""
    learner.hear_of_updates(log.taken)
    return cast(Learner, _TracedLearner(learner, log))
