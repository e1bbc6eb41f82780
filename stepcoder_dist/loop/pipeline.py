"""The two loops: roll out, train.

            ┌──────────────────────────── start point moves back ───────────────────────────┐
            ▼                                                                               │
      curriculum ─ planner ─► prompt ─► ROLLOUT ACTORS ─► program ─► SANDBOX ─► reward, mask │
            ▲                           (vLLM)  ▲                    (Docker)       │        │
            │                                   │ weights n+1                       ▼        │
            │                                   └────────── LEARNER ◄──── trajectory buffer  │
            │                                              (DeepSpeed)                       │
            └───────────────────────────────────────────────── outcomes ─────────────────────┘

`RolloutLoop.run` plans a step's samples as soon as the staleness bound allows it; a completion
goes to the sandbox the moment it finishes. `TrainLoop.run` takes a full batch, steps, records,
publishes. They meet in the `SampleBook`, which knows where every sample is; neither ever polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

from stepcoder_dist.errors import RunError, SandboxFault, first_error
from stepcoder_dist.loop.judged_sample import JudgedSample, judge
from stepcoder_dist.loop.lost_samples import LostSamples
from stepcoder_dist.loop.metrics import PhaseClock, summarise
from stepcoder_dist.loop.run import Run
from stepcoder_dist.loop.sample_book import Fate
from stepcoder_dist.loop.sampling import roll_out
from stepcoder_dist.records import (
    Completion,
    RolloutRequest,
    StepReport,
    Ticket,
    WeightVersion,
)


class RolloutLoop:
    """The loop that plans, samples and judges: it fills the buffer."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lost = LostSamples()

    async def run(self) -> None:
        """Roll out every step of the run, at most `max_staleness` versions ahead.

        A resumed run begins with the samples that were on their way at the checkpoint.
        """
        run, book = self._run, self._run.book
        async with asyncio.TaskGroup() as shares:
            for group in book.planned_groups():
                shares.create_task(self._roll_out(self._requests(group)))
            for step in range(book.planned_steps, run.config.train.steps):
                await book.turn_of(step)
                groups = run.planner.plan(step)
                book.plan(step, groups)
                for share in self._shares(groups):
                    shares.create_task(self._roll_out(share))

    async def replace(self, lost: Iterable[RolloutRequest]) -> None:
        """Sample again for requests whose samples will not be trained: same prompt, other seed."""
        again = [replace(each, ticket=self._run.planner.replace(each.ticket)) for each in lost]
        for request in again:
            self._run.book.add(request.ticket)
        if again:
            await self._roll_out(again)

    def _shares(self, groups: Sequence[Sequence[Ticket]]) -> list[list[RolloutRequest]]:
        """Divide the step into shares; a share goes to one engine.

        Without staleness the composition of a batch has to be repeatable: each engine gets one
        share of the step. Otherwise a group is a share, so that the pool can balance them. A
        group always stays together: its prompt is computed once.
        """
        requests = [self._requests(group) for group in groups]
        if self._run.config.train.max_staleness > 0:
            return requests
        width = max(self._run.sampler.width, 1)
        shares = [list(chain.from_iterable(requests[engine::width])) for engine in range(width)]
        return [share for share in shares if share]

    def _requests(self, group: Sequence[Ticket]) -> list[RolloutRequest]:
        """Return what a sampler is asked for the tickets of one group."""
        run, ticket = self._run, group[0]
        start = run.curriculum.start_point(ticket.problem_id, ticket.stage)
        problem = run.problems[ticket.problem_id]
        sampling = run.config.sampling
        return run.writer.requests(
            problem,
            start,
            group,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
        )

    async def _roll_out(self, share: Sequence[RolloutRequest]) -> None:
        """Sample one share; hand every completion to the sandbox as it finishes."""
        self._run.book.start(share)
        await roll_out(self._run.sampler, share, self._finish)

    async def _finish(self, completion: Completion) -> None:
        """Judge one sample and buffer it; one that is lost on the way is replaced."""
        run, request = self._run, self._run.book.request(completion.sample_id)
        problem = run.problems[request.ticket.problem_id]
        try:
            judged = await judge(completion, request, problem, run.sandbox, run.config)
        except SandboxFault as fault:
            run.book.lose(completion.sample_id)
            self._lost.add(problem.problem_id, fault)
            await self.replace([request])
            return
        self._lost.judged(problem.problem_id)
        if not await run.book.buffer(judged):
            await self.replace([request])


class StepRecords(Protocol):
    """Writes what a step produced, so that a crash at any point loses and doubles nothing.

    `run/session.py` has the implementation, and the order of writes that ensures this.
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

    def commit(self, figures: dict[str, float], batch: Sequence[JudgedSample]) -> None:
        """Write the step's rows: what was taken of the step becomes visible after them."""
        ...


class TrainLoop:
    """The loop that takes batches, steps the learner and publishes its weights."""

    def __init__(self, run: Run, rollouts: RolloutLoop, records: StepRecords) -> None:
        self._run = run
        self._rollouts = rollouts
        self._records = records

    async def run(self) -> None:
        """Train until the run's last step. Raises `StopAsked` between two steps."""
        run, book, config = self._run, self._run.book, self._run.config
        async with asyncio.TaskGroup() as replacements:
            while book.version < config.train.steps:
                clock = PhaseClock()
                with clock.phase("wait_for_rollouts"):
                    batch = await run.stop.first(book.take(config.learner.samples_per_step))
                with clock.phase("learner"):
                    report = await self._learn(batch)
                for group in await book.trained(batch, report.version):
                    run.curriculum.record(group.problem_id, group.stage, group.passed)
                # before the weights are published: nothing of the next step is planned yet
                self._records.remember(report.version)
                stale = await self._publish_and_record(report, batch, clock)
                run.stop.check()
                await run.stop.first(run.between_steps(report.version))
                replacements.create_task(self._rollouts.replace(stale))
                await book.publish(report.version)

    async def _publish_and_record(
        self, report: StepReport, batch: Sequence[JudgedSample], clock: PhaseClock
    ) -> list[RolloutRequest]:
        """Return the requests of what the new version made too stale.

        A push that fails must not lose the step: its rows and its checkpoint are written anyway.
        """
        run = self._run
        stale: list[RolloutRequest] = []
        if run.stop.asked or self._checkpoint_is_due(report.version):
            with clock.phase("checkpoint"):
                await self._records.draft()
        try:
            if not run.stop.asked:
                with clock.phase("checkpoint"):
                    await self._records.save_hf()
                with clock.phase("publish"):
                    stale = await run.book.refuse_stale()
                    await self._publish(report)
        finally:
            self._records.commit(self._metrics(report, batch, clock), batch)
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
        }
        figures["tokens_per_s"] = figures["completion_tokens"] / figures["step_s"]
        return figures

    async def _publish(self, report: StepReport) -> None:
        run = self._run
        targets = await run.sampler.weight_targets()
        version = await run.learner.publish(targets, deadline_s=run.config.weights.deadline_s)
        if version != report.version:
            raise RunError(f"the learner published version {version} after step {report.version}")


async def run_loops(run: Run, records: StepRecords) -> None:
    """Run both loops until the last step; the first error, or a request to stop, ends both.

    Raises the error itself, not an `ExceptionGroup`: the user reads one line.
    """
    rollouts = RolloutLoop(run)
    loops = TrainLoop(run, rollouts, records)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(rollouts.run())
            group.create_task(loops.run())
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    finally:
        run.book.cancel_open()
