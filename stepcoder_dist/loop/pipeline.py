"""The two loops: roll out, train.

            ┌──────────────────────────── start point moves back ───────────────────────────┐
            ▼                                                                               │
      curriculum ─ planner ─► prompt ─► ROLLOUT ACTORS ─► program ─► SANDBOX ─► reward, mask │
            ▲                           (vLLM)  ▲                    (Docker)       │        │
            │                                   │ weights n+1                       ▼        │
            │                                   └────────── LEARNER ◄──── trajectory buffer  │
            │                                              (DeepSpeed)                       │
            └───────────────────────────────────────────────── outcomes ─────────────────────┘

`RolloutLoop.run` plans a step's tickets as soon as the staleness bound allows it; a completion
goes to the sandbox the moment it finishes. `TrainLoop.run` takes a full batch, steps, records,
publishes. They meet in the `Run`: its buffer, its version gate, its ledger; neither ever polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Protocol

from stepcoder_dist.errors import RunError, SandboxFault, first_error
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.lost_samples import Losses
from stepcoder_dist.loop.metrics import PhaseClock, summarise
from stepcoder_dist.loop.run import Run
from stepcoder_dist.loop.sampling import sample_whole
from stepcoder_dist.method.credit import credited_tokens
from stepcoder_dist.method.reward import reward
from stepcoder_dist.records import (
    Completion,
    Fate,
    RolloutRequest,
    StepReport,
    Ticket,
    Trajectory,
    WeightVersion,
)
from stepcoder_dist.text.program import assemble


class RolloutLoop:
    """Plans, samples, judges, scores: fills the buffer."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._losses = Losses()

    async def run(self) -> None:
        """Roll out every step of the run, at most `max_staleness` versions ahead.

        A resumed run begins with the samples that were on their way at the checkpoint.
        """
        run = self._run
        async with asyncio.TaskGroup() as shares:
            left = groupby(run.open_tickets(), key=lambda ticket: ticket.group)
            for _, group in left:
                shares.create_task(self._roll_out(self._requests(list(group))))
            for step in range(run.planned_steps, run.config.train.steps):
                await run.gate.wait_for(step - run.config.train.max_staleness)
                planned = self._shares(run.planner.plan(step))
                run.planned_steps = step + 1
                for share in planned:
                    shares.create_task(self._roll_out(share))

    async def replace(self, lost: Iterable[RolloutRequest]) -> None:
        """Sample again for requests whose samples will not be trained: same prompt, other seed."""
        requests = [
            replace(request, ticket=self._run.planner.replace(request.ticket)) for request in lost
        ]
        for request in requests:
            self._run.plan(request.ticket)
        if requests:
            await self._roll_out(requests)

    def _shares(self, groups: Sequence[Sequence[Ticket]]) -> list[list[RolloutRequest]]:
        """What goes to one engine together.

        Without staleness the composition of a batch has to be repeatable: each engine gets one
        share of the step. Otherwise a group is a share, so that the pool can balance them. A
        group always stays together: its prompt is computed once.
        """
        for ticket in chain.from_iterable(groups):
            self._run.plan(ticket)
        requests = [self._requests(group) for group in groups]
        if self._run.config.train.max_staleness > 0:
            return requests
        width = max(self._run.sampler.width, 1)
        shares = [list(chain.from_iterable(requests[engine::width])) for engine in range(width)]
        return [share for share in shares if share]

    def _requests(self, group: Sequence[Ticket]) -> list[RolloutRequest]:
        """What a sampler is asked for tickets of one group."""
        run, ticket = self._run, group[0]
        start = run.curriculum.start_point(ticket.problem_id, ticket.stage)
        problem = run.problems[ticket.problem_id]
        return run.writer.requests(problem, start, group, run.config.sampling)

    async def _roll_out(self, share: Sequence[RolloutRequest]) -> None:
        """Sample one share; hand every completion to the sandbox as it finishes."""
        asked = {request.ticket.sample_id: request for request in share}
        async with asyncio.TaskGroup() as judging:
            async for completion in sample_whole(self._run.sampler, share):
                judging.create_task(self._finish(asked[completion.sample_id], completion))

    async def _finish(self, request: RolloutRequest, completion: Completion) -> None:
        """Judge, score, mask, buffer; a sample that is lost on the way is replaced."""
        ticket = request.ticket
        try:
            trajectory = await self.judge(request, completion)
        except SandboxFault as error:
            self._run.ledger.settle(ticket.sample_id, Fate.FAULT)
            self._losses.count(ticket.problem_id, error)
            await self.replace([request])
            return
        self._losses.none(ticket.problem_id)
        if not await self._run.buffer.put(trajectory):
            self._run.judged.pop(ticket.sample_id)
            await self.replace([request])

    async def judge(self, request: RolloutRequest, completion: Completion) -> Trajectory:
        """From a completion to what the learner trains on. Raises `SandboxFault`."""
        run, problem = self._run, self._run.problems[request.ticket.problem_id]
        program = assemble(request.given, completion.text)
        clock = PhaseClock()
        with clock.phase("judge"):
            verdict = await run.executor.judge(program.source, problem.tests)
        credit = credited_tokens(completion, program, verdict, run.config.credit)
        run.judged[request.ticket.sample_id] = JudgedSample(
            request=request,
            completion=completion,
            program=program,
            verdict=verdict,
            lines=credit.lines,
            tests_total=len(problem.tests),
        )
        return Trajectory(
            ticket=request.ticket,
            level=problem.level,
            prompt_ids=request.prompt_ids,
            completion_ids=completion.token_ids,
            rollout_logprobs=completion.logprobs,
            keep=credit.rewarded,
            blame=None if credit.blamed is credit.rewarded else credit.blamed,
            reward=reward(verdict, run.config.reward.kind),
            outcome=verdict.outcome,
            temperature=request.temperature,
            oldest_weights=completion.oldest_weights,
            newest_weights=completion.newest_weights,
            judge_ms=clock.seconds("judge") * 1000,
        )


class StepRecords(Protocol):
    """What a step leaves behind, written so that a crash at any point loses and doubles nothing.

    `run/session.py` has the implementation, and the order that makes it so.
    """

    def remember(self, version: WeightVersion) -> None:
        """The step is done: its state is what a checkpoint of it holds, whenever it is written."""
        ...

    async def draft(self) -> None:
        """Write a checkpoint of the remembered step, still invisible."""
        ...

    def commit(self, figures: dict[str, float], batch: Sequence[Trajectory]) -> None:
        """Write the step's rows, then make its checkpoint visible if there is a draft."""
        ...


class TrainLoop:
    """Takes batches, steps the learner, publishes its weights."""

    def __init__(self, run: Run, rollouts: RolloutLoop, records: StepRecords) -> None:
        self._run = run
        self._rollouts = rollouts
        self._records = records

    async def run(self) -> None:
        """Train until the run's last step. Raises `StopAsked` between two steps."""
        run, config = self._run, self._run.config
        async with asyncio.TaskGroup() as replacements:
            while run.version < config.train.steps:
                clock = PhaseClock()
                with clock.phase("wait_for_rollouts"):
                    batch = await run.stop.first(run.buffer.take(config.learner.samples_per_step))
                with clock.phase("learner"):
                    report = await self._learn(batch)
                run.record_outcomes(batch)
                run.version = report.version
                # before the gate opens: nothing of the next step is planned yet
                self._records.remember(report.version)
                stale = await self._publish_and_record(report, batch, clock)
                run.stop.check()
                await run.between_steps(report.version)
                replacements.create_task(self._rollouts.replace(stale))
                await run.gate.open(report.version)

    async def _publish_and_record(
        self, report: StepReport, batch: Sequence[Trajectory], clock: PhaseClock
    ) -> list[RolloutRequest]:
        """Return the requests of what the new version made too stale.

        A push that fails must not cost the step: its rows and its checkpoint are there.
        """
        run = self._run
        stale: list[RolloutRequest] = []
        if run.stop.asked or self._checkpoint_is_due(report.version):
            with clock.phase("checkpoint"):
                await self._records.draft()
        try:
            if not run.stop.asked:
                with clock.phase("publish"):
                    refused = await run.buffer.advance(report.version)
                    stale = [run.judged.pop(t.ticket.sample_id).request for t in refused]
                    await self._publish(report)
        finally:
            self._records.commit(self._metrics(report, batch, clock), batch)
        return stale

    async def _learn(self, batch: Sequence[Trajectory]) -> StepReport:
        """One step of the learner, which has a shared GPU to itself until the push."""
        if self._run.config.colocate:
            await self._run.sampler.rest()
        return await self._run.learner.step(batch)

    def _checkpoint_is_due(self, version: WeightVersion) -> bool:
        every = self._run.config.train.checkpoint_every
        last = version == self._run.config.train.steps
        return last or (every > 0 and version % every == 0)

    def _metrics(
        self, report: StepReport, batch: Sequence[Trajectory], clock: PhaseClock
    ) -> dict[str, float]:
        run = self._run
        figures: dict[str, float] = {
            "step": report.version,
            **summarise(batch, trained_version=report.version - 1),
            **report.metrics,
            "mean_stage": run.curriculum.mean_stage,
            "buffer_depth": len(run.buffer),
            "samples_in_flight": len(run.ledger.open_ids),
            **{f"samples/{fate}": run.ledger.counts[fate] for fate in Fate},
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


async def train(run: Run, records: StepRecords) -> None:
    """Both loops until the last step; the first error, or a request to stop, ends both.

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
        run.ledger.cancel_open()
