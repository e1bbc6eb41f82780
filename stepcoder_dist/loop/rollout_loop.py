"""The loop that plans, samples and judges: it fills the buffer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.loop.faults import lost_groups
from stepcoder_dist.loop.judged_sample import judge
from stepcoder_dist.loop.lost_samples import LostSamples
from stepcoder_dist.loop.run import Run
from stepcoder_dist.loop.suspects import Suspects
from stepcoder_dist.loop.weight_delivery import WeightDelivery
from stepcoder_dist.records import Completion, RolloutRequest, Ticket

logger = logging.getLogger(__name__)


class RolloutLoop:
    """Samples steps at most `train.max_staleness` versions ahead of the learner."""

    def __init__(self, run: Run, weights: WeightDelivery) -> None:
        self._run = run
        self._weights = weights
        sandbox = run.config.sandbox
        self._lost = LostSamples(len(run.problems), sandbox.quarantine_after, sandbox.group_losses)
        self._suspects = Suspects(run.sampler, self._lost)
        self._planned_ahead: list[list[list[Ticket]]] = []
        """In a strict lag: the groups of the steps that are planned and not sampled."""

    async def run(self) -> None:
        """Roll out every step of the run.

        A resumed run begins with the samples that were on their way at the checkpoint.
        """
        if self._run.config.lags:
            await self._run_in_strict_lag()
            return
        run, book = self._run, self._run.book
        async with asyncio.TaskGroup() as shares:
            for group in (left := book.planned_groups()):
                shares.create_task(self._roll_out(self._requests(group)))
            for step in sorted({group[0].planned_step for group in left}):
                shares.create_task(self._fill(step))
            for step in range(book.planned_steps, run.config.train.steps):
                await book.turn_of(step)
                for share in self._shares(self._plan(step)):
                    shares.create_task(self._roll_out(share))
                shares.create_task(self._fill(step))

    async def _run_in_strict_lag(self) -> None:
        """Sample step s by version s − k exactly, when all steps before it are sampled.

        The first k + 1 steps are sampled by version 0. Judging overlaps with what comes next; the
        engines do not, so that every batch in them has the same composition in every run.
        """
        run, book = self._run, self._run.book
        steps, lag = run.config.train.steps, run.config.train.max_staleness
        first, restored, left = book.version, book.planned_steps, book.planned_groups()
        self.plan_ahead()
        async with asyncio.TaskGroup() as judging:
            if left:  # planned in place of samples that were lost, shortly before a stop
                await self._sample_step(left, judging)
            for step in range(first, restored):
                await self._fill_in_lag(step, judging)
            for version in range(first, steps + 1):
                if version + lag < steps or version == steps or run.has_work_at(version):
                    await self._weights.bring(version)
                if version > first and run.has_work_at(version):
                    with book.patience.working():
                        await run.between_steps(version)
                while self._planned_ahead and self._next_step <= version + lag:
                    step = self._next_step
                    await self._sample_step(self._planned_ahead.pop(0), judging)
                    await self._fill_in_lag(step, judging)

    def plan_ahead(self) -> None:
        """In a strict lag: plan the step that the newest version will sample, and those before.

        Called when a step is recorded: the curriculum is then the one of that version, however
        far the rollouts are.
        """
        run, book = self._run, self._run.book
        until = book.version + run.config.train.max_staleness + 1
        for step in range(book.planned_steps, min(until, run.config.train.steps)):
            self._planned_ahead.append(self._plan(step))

    def _plan(self, step: int) -> list[list[Ticket]]:
        run = self._run
        groups, own = run.planner.plan(step), run.config.problems_per_step
        more = int(own * (run.config.learner.max_oversampling - 1)) if run.book.fills_steps else 0
        run.book.plan(step, groups, run.planner.reserve(step, more))
        return groups

    async def _fill(self, step: int) -> None:
        """Sample others in the place of the step's flat groups, in rounds, until it is full."""
        while groups := await self._next_round(step):
            async with asyncio.TaskGroup() as shares:
                for share in self._shares(groups):
                    shares.create_task(self._roll_out(share))

    async def _fill_in_lag(self, step: int, judging: asyncio.TaskGroup) -> None:
        """Do the same before the engines get anything else: other weights, or another step."""
        while groups := await self._next_round(step):
            await self._sample_step(groups, judging)

    async def _next_round(self, step: int) -> list[list[Ticket]]:
        """Return the groups that have to be sampled in place of flat ones; none of a full step."""
        run, book = self._run, self._run.book
        if not book.fills_steps:
            return []
        fill, refill = book.fills.of(step), book.refill
        while flat := (await refill.flat_groups(step))[: max(len(fill.reserve) - fill.used, 0)]:
            groups = []
            for group in flat:
                spare = run.planner.spare(step, fill.used, *fill.reserve[fill.used])
                if refill.replace_flat(step, group, spare):
                    groups.append([ticket for ticket in spare if book.is_planned(ticket)])
            if groups:
                return groups
        refill.is_full(step)
        return []

    @property
    def _next_step(self) -> int:
        return self._planned_ahead[0][0][0].planned_step

    async def _sample_step(
        self, groups: Sequence[Sequence[Ticket]], judging: asyncio.TaskGroup
    ) -> None:
        """Sample one step, and return when the engines have nothing more to do."""

        async def sample(share: Sequence[RolloutRequest]) -> None:
            await self._sample(share, judging)

        async with asyncio.TaskGroup() as engines:
            for share in self._shares(groups):
                engines.create_task(sample(share))

    async def replace(self, lost: Iterable[RolloutRequest]) -> None:
        """Sample again for requests whose samples will not be trained: same prompt, other seed.

        For a quarantined problem another one is asked.
        """
        again: list[RolloutRequest] = []
        for each in lost:
            if each.ticket.problem_id in self._lost.quarantined:
                again += self._requests([self._of_another_problem(each.ticket)])
            else:
                again.append(replace(each, ticket=self._run.planner.replace(each.ticket)))
        for request in again:
            self._run.book.add(request.ticket)
        if again:
            await self._roll_out(again)

    def _shares(self, groups: Sequence[Sequence[Ticket]]) -> list[list[RolloutRequest]]:
        """Divide the step into shares; a share goes to one engine.

        Where the composition of a batch has to be repeatable, each engine gets one share of the
        step. Otherwise a group is a share, so that the pool can balance them. A group always stays
        together: its prompt is computed once.
        """
        requests = [self._requests(self._not_quarantined(group)) for group in groups]
        if not self._run.config.samples_repeatably:
            return requests
        width = max(self._run.sampler.width, 1)
        shares = [list(chain.from_iterable(requests[engine::width])) for engine in range(width)]
        return [share for share in shares if share]

    def _not_quarantined(self, group: Sequence[Ticket]) -> Sequence[Ticket]:
        """Return a planned group, or one of another problem in its place."""
        if group[0].problem_id not in self._lost.quarantined:
            return group
        others = [self._of_another_problem(ticket) for ticket in group]
        for ticket, other in zip(group, others, strict=True):
            self._run.book.refuse(ticket.sample_id, "quarantined")
            self._run.book.add(other)
        return others

    def _of_another_problem(self, ticket: Ticket) -> Ticket:
        return self._run.planner.replace(ticket, without=self._lost.quarantined)

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
        async with asyncio.TaskGroup() as judging:
            await self._sample(share, judging)

    async def _sample(self, share: Sequence[RolloutRequest], judging: asyncio.TaskGroup) -> None:
        """Sample one share; a sample of a problem that breaks engines is lost, and replaced."""
        self._run.book.start(share)
        given_up: list[RolloutRequest] = []
        async for end in self._suspects.sample(share):
            if isinstance(end, Completion):
                judging.create_task(self._finish(end))
            elif end.ticket.sample_id in self._run.book:
                self._run.book.lose(end.ticket.sample_id)
                given_up.append(end)
        for request in given_up:
            judging.create_task(self._replace_lost(request))

    async def _replace_lost(self, request: RolloutRequest) -> None:
        """Sample again for a sample that got no verdict, or for its group."""
        if not self._run.book.whole_groups or not self._lost.gives_up(request.ticket):
            await self.replace([request])
            return
        async with asyncio.TaskGroup() as shares:
            for group in lost_groups.replaced(self._run, self._lost, request.ticket):
                shares.create_task(self._roll_out(self._requests(group)))

    async def _finish(self, completion: Completion) -> None:
        """Judge one sample and buffer it; one that is lost on the way is replaced."""
        if completion.sample_id not in self._run.book:
            return  # its group was dropped meanwhile
        run, request = self._run, self._run.book.request(completion.sample_id)
        problem = run.problems[request.ticket.problem_id]
        asked = run.trace.now()
        try:
            judged = await judge(completion, request, problem, run.sandbox, run.config)
        except SandboxFault as fault:
            run.trace.judged(completion.sample_id, asked, None)
            if completion.sample_id not in run.book:
                return
            run.book.lose(completion.sample_id)
            if self._lost.add(problem.problem_id, fault):
                logger.warning(
                    "problem %s is quarantined: its last %d samples got no verdict; another takes "
                    "its place until the run is resumed. The last fault: %s",
                    problem.problem_id,
                    run.config.sandbox.quarantine_after,
                    fault,
                )
            await self._replace_lost(request)
            return
        run.trace.judged(completion.sample_id, asked, judged)
        self._lost.judged(problem.problem_id)
        if completion.sample_id in run.book and not await run.book.buffer(judged):
            await self.replace([request])
