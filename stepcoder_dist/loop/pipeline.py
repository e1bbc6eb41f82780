"""The two loops: roll out, train.

            ┌──────────────────────────── start point moves back ───────────────────────────┐
            ▼                                                                               │
      curriculum ─ planner ─► prompt ─► ROLLOUT ACTORS ─► program ─► SANDBOX ─► reward, mask │
            ▲                           (vLLM)  ▲                    (Docker)       │        │
            │                                   │ weights n+1                       ▼        │
            │                                   └────────── LEARNER ◄──── trajectory buffer  │
            │                                              (DeepSpeed)                       │
            └───────────────────────────────────────────────── outcomes ─────────────────────┘

`RolloutLoop.run` (`rollout_loop.py`) plans a step's samples as soon as the staleness bound allows
it; a completion goes to the sandbox the moment it finishes. `TrainLoop.run` takes a full batch,
steps, records, hands the weights over (`weight_delivery.py`). They meet in the `SampleBook`, which
knows where every sample is; neither ever polls.

With staleness three things happen at the same time. In a strict lag of k = 1 (`deterministic`):

    actors   │ step 0 │ step 1 │ 1 ▶ │ step 2 │ 2 ▶ │ step 3 │   n ▶: version n is delivered
    learner           │ trains 0 ──▶ 1 │ trains 1 ──▶ 2 │ …        step s is sampled by s − k
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from stepcoder_dist.errors import StepcoderError, StopAsked, first_error
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.faults.nonfinite_steps import NonFiniteSteps
from stepcoder_dist.loop.judged_sample import JudgedSample, with_group_rewards
from stepcoder_dist.loop.metrics import PhaseClock, summarise
from stepcoder_dist.loop.rollout_loop import RolloutLoop
from stepcoder_dist.loop.run import Run
from stepcoder_dist.loop.weight_delivery import WeightDelivery
from stepcoder_dist.records import RolloutRequest, StepReport, WeightVersion


class StepRecords(Protocol):
    """Writes what a step produced, so that a crash at any point loses and doubles nothing.

    `run/step_records.py` has the implementation, and the order of writes that ensures this.
    """

    def remember(self, version: WeightVersion) -> None:
        """Take the state of the finished step: its checkpoint holds it, whenever it is written."""
        ...

    async def draft(self) -> None:
        """Take a checkpoint of the remembered step; it is written while the run continues."""
        ...

    async def save_hf(self) -> None:
        """Write the policy as a Hugging Face folder, where the run asks for one of this step."""
        ...

    def commit(
        self,
        figures: dict[str, float],
        batch: Sequence[JudgedSample],
        ahead: Sequence[JudgedSample] | None,
    ) -> None:
        """Write the step's rows: what was taken of the step becomes visible after them.

        `ahead`: judged samples of later steps, which the checkpoint holds. None: it was not
        possible to get them, and the step gets no checkpoint.
        """
        ...

    def keep_batch(self, report: StepReport, batch: Sequence[JudgedSample]) -> str:
        """Write the batch of a step that was not finite; return where it is, for a reader."""
        ...

    async def keep(self, ahead: Sequence[JudgedSample] = ()) -> None:
        """Write the checkpoint of the remembered step, if it has none."""
        ...


class TrainLoop:
    """The loop that takes batches, steps the learner and publishes its weights."""

    def __init__(
        self, run: Run, rollouts: RolloutLoop, weights: WeightDelivery, records: StepRecords
    ) -> None:
        self._run = run
        self._rollouts = rollouts
        self._weights = weights
        self._records = records
        self._not_finite = NonFiniteSteps(
            run.config.learner.max_nonfinite_steps, records.keep_batch
        )

    async def run(self) -> None:
        """Train until the run's last step. Raises `StopAsked` between two steps."""
        book, config = self._run.book, self._run.config
        async with asyncio.TaskGroup() as replacements:
            try:
                while book.version < config.train.steps:
                    stale = await self._step()
                    replacements.create_task(self._rollouts.replace(stale))
            except StopAsked:
                if config.lags and book.version > 0:
                    # the rollouts continue until the checkpoint has what it must hold
                    with suppress(StepcoderError):  # tried once more, and reported, at the end
                        await self._records.keep(await book.ahead())
                raise
        if self._weights.beside:
            await self._weights.arrived(book.version)

    async def _step(self) -> list[RolloutRequest]:
        """Train one step; return the requests of what it made too stale."""
        run, book, config = self._run, self._run.book, self._run.config
        clock = PhaseClock(run.trace.phase)
        with clock.phase("wait_for_rollouts"):
            step = book.version if config.lags else None
            taken = await run.stop.first(book.take(config.learner.samples_per_step, step))
        batch = with_group_rewards(taken, config)
        with clock.phase("learner"), book.patience.working():
            report = await self._learn(batch)
        self._not_finite.hear(report, batch)
        untrained = {batch[place].sample_id for place in report.untrained}
        for group in book.trained(batch, report.version, untrained):
            run.curriculum.record(group.problem_id, group.stage, group.passed, group.programs)
        # before the weights are handed over: nothing is planned yet that depends on this step
        self._records.remember(report.version)
        if config.lags:
            self._rollouts.plan_ahead()
        stale = await self._hand_over_and_record(report, batch, clock)
        self._not_finite.check()
        run.stop.check()
        if not config.lags and run.has_work_at(report.version):
            if self._weights.beside:
                await run.stop.first(self._weights.arrived(report.version))
            with book.patience.working():
                await run.stop.first(run.between_steps(report.version))
        if not self._weights.beside:
            book.publish(report.version)
        return stale

    async def _hand_over_and_record(
        self, report: StepReport, batch: Sequence[JudgedSample], clock: PhaseClock
    ) -> list[RolloutRequest]:
        """Return the requests of what the new version made too stale.

        A push that fails must not lose the step: its rows and its checkpoint are written anyway.
        """
        run = self._run
        stale: list[RolloutRequest] = []
        due = run.stop.asked or self._checkpoint_is_due(report.version)
        ahead: list[JudgedSample] | None = None if due and run.config.lags else []
        if due:
            with clock.phase("checkpoint"), run.book.patience.working():
                await self._records.draft()
        try:
            if not run.stop.asked:
                with clock.phase("checkpoint"), run.book.patience.working():
                    await self._records.save_hf()
                with clock.phase("publish"), run.book.patience.working():
                    stale = run.book.refuse_stale()
                    await self._weights.hand_over(report.version)
            if due and run.config.lags:
                with clock.phase("checkpoint"):
                    ahead = await run.book.ahead()
        finally:
            untrained = frozenset(report.untrained)
            trained = [judged for place, judged in enumerate(batch) if place not in untrained]
            self._records.commit(self._metrics(report, batch, clock), trained, ahead)
        return stale

    async def _learn(self, batch: Sequence[JudgedSample]) -> StepReport:
        """Run one learner step. The learner has a shared GPU to itself until the push."""
        if self._run.config.colocate:
            await self._run.sampler.rest()
        return await self._run.learner.step([judged.trajectory for judged in batch])

    def _checkpoint_is_due(self, version: WeightVersion) -> bool:
        every = self._run.config.train.checkpoint_every
        last = version == self._run.config.train.steps
        return last or (every > 0 and version % every == 0)

    def _metrics(
        self, report: StepReport, batch: Sequence[JudgedSample], clock: PhaseClock
    ) -> dict[str, float]:
        run, trained = self._run, [judged.trajectory for judged in batch]
        figures: dict[str, float] = {
            "step": report.version,
            **summarise(trained, trained_version=report.version - 1),
            **report.metrics,
            "mean_stage": run.curriculum.mean_stage,
            "buffer_depth": run.book.buffered,
            "samples_in_flight": len(run.book.open_ids),
            **{f"samples/{fate}": run.book.fates[fate] for fate in Fate},
            **clock.shares(),
            "push_s": self._weights.seconds,
        }
        if run.book.fills_steps:
            own, replaced = run.config.problems_per_step, run.book.fills.replaced
            figures |= {"flat_groups_replaced": replaced, "oversampling": 1 + replaced / own}
        figures["tokens_per_s"] = figures["completion_tokens"] / figures["step_s"]
        return figures


async def run_loops(run: Run, weights: WeightDelivery, records: StepRecords) -> None:
    """Run both loops until the last step; the first error, or a request to stop, ends both.

    Raises the error itself, not an `ExceptionGroup`: the user reads one line.
    """
    rollouts = RolloutLoop(run, weights)
    training = TrainLoop(run, rollouts, weights, records)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(rollouts.run())
            group.create_task(training.run())
            if weights.beside and not run.config.lags:
                group.create_task(weights.run())
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    finally:
        run.book.cancel_open()
