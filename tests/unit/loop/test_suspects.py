"""Which problem breaks engines is found out, whatever else they sampled at the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from stepcoder_dist.errors import RunError, ShareLost
from stepcoder_dist.loop.fakes import FakeSampler
from stepcoder_dist.loop.lost_samples import LostSamples
from stepcoder_dist.loop.suspects import Suspects
from stepcoder_dist.records import Completion, RolloutRequest, Ticket


def group(problem_id: str, size: int = 2) -> list[RolloutRequest]:
    ticket = Ticket(
        sample_id="", group=problem_id, problem_id=problem_id, stage=0, seed=0, planned_step=0
    )
    return [
        RolloutRequest(
            ticket=replace(ticket, sample_id=f"{problem_id}-{i}"),
            prompt_ids=np.ones(1, dtype=np.int32),
            given="",
            temperature=1.0,
            top_p=1.0,
            max_new_tokens=9,
        )
        for i in range(size)
    ]


class OneEngine(FakeSampler):
    """One engine for all shares: when it breaks, every share that it has is lost."""

    def __init__(self, *breaking: str) -> None:
        super().__init__(lambda _: "x")
        self._breaking = breaking
        self._lives = asyncio.Event()
        self.losses: list[set[str]] = []
        """The problems that it had each time."""
        self._has: list[set[str]] = []

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        mine = {request.ticket.problem_id for request in share}
        lives = self._lives
        self._has.append(mine)
        try:
            for _ in range(3):  # all shares that were sent at the same time are in it
                await asyncio.sleep(0)
            held = set().union(*self._has)
            if not lives.is_set() and held & set(self._breaking):
                self.losses.append(held)
                lives.set()
                self._lives = asyncio.Event()
            if lives.is_set():
                raise ShareLost("rollout-0 gave up: vLLM's engine broke")
        finally:
            self._has.remove(mine)
        async for completion in super().sample(share):
            yield completion


def ends(sampler: OneEngine, lost: LostSamples, *shares: list[RolloutRequest]) -> list[str]:
    """Sample the shares at the same time; return what was completed."""
    completed: list[str] = []

    async def one(suspects: Suspects, share: list[RolloutRequest]) -> None:
        found = [end async for end in suspects.sample(share)]
        completed.extend(end.sample_id for end in found if isinstance(end, Completion))

    async def run() -> None:
        suspects = Suspects(sampler, lost)
        async with asyncio.TaskGroup() as tasks:
            for share in shares:
                tasks.create_task(one(suspects, share))

    asyncio.run(run())
    return sorted(completed)


@pytest.mark.parametrize("shares", ["a share each", "all in one share"])
def test_only_the_problem_that_breaks_the_engine_is_quarantined_after_four_engines(shares: str):
    groups = [group(name) for name in ("a", "bad", "c", "d")]
    if shares == "all in one share":
        groups = [[request for each in groups for request in each]]
    sampler, lost = OneEngine("bad"), LostSamples(4, 8)
    assert ends(sampler, lost, *groups) == [f"{p}-{i}" for p in ("a", "c", "d") for i in (0, 1)]
    assert lost.quarantined == {"bad"}
    everything = {"a", "bad", "c", "d"}
    assert sampler.losses == [everything, everything, {"bad"}, {"bad"}]


def test_a_problem_is_not_quarantined_for_the_number_of_its_shares_in_a_lost_engine():
    """Rollouts that run ahead have the same problem in several steps."""
    names = ["a", "bad", "c", "a", "bad", "c", "a", "bad", "c"]
    shares = [
        [replace(r, ticket=replace(r.ticket, sample_id=f"{r.ticket.sample_id}+{i}")) for r in each]
        for i, each in enumerate(map(group, names))
    ]
    sampler, lost = OneEngine("bad"), LostSamples(3, 8)
    completed = ends(sampler, lost, *shares)
    assert {each[0] for each in completed} == {"a", "c"}
    assert len(completed) == 12
    assert lost.quarantined == {"bad"}


def test_two_problems_that_break_engines_are_both_found():
    groups = [group(name) for name in ("bad", "b", "worse", "d")]
    sampler, lost = OneEngine("bad", "worse"), LostSamples(4, 8)
    assert ends(sampler, lost, *groups) == ["b-0", "b-1", "d-0", "d-1"]
    assert lost.quarantined == {"bad", "worse"}


def test_engines_that_are_lost_whatever_they_sample_end_the_run_with_one_error():
    names = ("a", "b", "c", "d", "e")
    sampler, lost = OneEngine(*names), LostSamples(5, 8)
    with pytest.raises(ExceptionGroup) as raised:
        ends(sampler, lost, *map(group, names))
    (error,) = raised.value.exceptions
    assert isinstance(error, RunError)
    assert "4 engines in a row were lost with samples of problem c" in str(error)
    assert "vLLM's engine broke" in str(error)


def test_the_last_problem_is_not_quarantined():
    with pytest.raises(ExceptionGroup) as raised:
        ends(OneEngine("a"), LostSamples(1, 8), group("a"))
    assert "lost with samples of problem a" in str(raised.value.exceptions[0])
