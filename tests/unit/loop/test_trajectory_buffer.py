"""The buffer admits by staleness, and the ledger accounts for every sample id."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.buffer import Ledger, TrajectoryBuffer
from stepcoder_dist.records import Fate, Outcome, Ticket, Trajectory


def trajectory(sample_id: str, version: int = 0) -> Trajectory:
    return Trajectory(
        ticket=Ticket(
            sample_id=sample_id, group="g", problem_id="p", stage=0, seed=0, planned_step=0
        ),
        level="introductory",
        prompt_ids=np.array([1], dtype=np.int32),
        completion_ids=np.array([2], dtype=np.int32),
        rollout_logprobs=np.array([-1.0], dtype=np.float32),
        keep=np.array([True]),
        reward=1.0,
        outcome=Outcome.PASSED,
        temperature=1.0,
        oldest_weights=version,
        newest_weights=version,
    )


def buffer(ledger: Ledger, *sample_ids: str, capacity: int = 8, staleness: int = 0):
    for sample_id in sample_ids:
        ledger.plan(sample_id)
    return TrajectoryBuffer(capacity=capacity, max_staleness=staleness, ledger=ledger)


def test_a_batch_comes_in_ticket_order_whatever_the_order_of_arrival():
    async def scenario() -> list[str]:
        held = buffer(Ledger(), "a", "b", "c")
        for sample_id in ("c", "a", "b"):
            await held.put(trajectory(sample_id))
        return [t.ticket.sample_id for t in await held.take(2)]

    assert asyncio.run(scenario()) == ["a", "b"]


def test_a_trajectory_older_than_the_bound_is_refused_and_settled_as_rejected():
    async def scenario() -> tuple[bool, bool, Ledger]:
        ledger = Ledger()
        held = buffer(ledger, "old", "new", staleness=1)
        await held.advance(2)
        return (
            await held.put(trajectory("old", version=0)),
            await held.put(trajectory("new", version=1)),
            ledger,
        )

    old, new, ledger = asyncio.run(scenario())
    assert (old, new) == (False, True)
    assert ledger.counts == {Fate.REJECTED: 1}
    assert ledger.open_ids == {"new"}


def test_what_turns_stale_while_it_waits_is_given_back():
    async def scenario() -> tuple[list[str], int]:
        held = buffer(Ledger(), "a", "b")
        await held.put(trajectory("a", version=0))
        stale = await held.advance(1)
        await held.put(trajectory("b", version=1))
        return [t.ticket.sample_id for t in stale], len(held)

    assert asyncio.run(scenario()) == (["a"], 1)


def test_a_full_buffer_makes_its_filler_wait_until_the_learner_takes():
    async def scenario() -> list[str]:
        events = []
        held = buffer(Ledger(), "a", "b", capacity=1)
        first_is_in = asyncio.Event()

        async def fill() -> None:
            await held.put(trajectory("a"))
            events.append("a in")
            first_is_in.set()
            await held.put(trajectory("b"))
            events.append("b in")

        filling = asyncio.create_task(fill())
        await first_is_in.wait()
        events.append(f"took {(await held.take(1))[0].ticket.sample_id}")
        await filling
        return events

    assert asyncio.run(scenario()) == ["a in", "took a", "b in"]


def test_a_full_buffer_lets_a_waiting_trajectory_go_when_it_turns_stale():
    async def scenario() -> bool:
        held = buffer(Ledger(), "a", "b", capacity=1)
        await held.put(trajectory("a", version=1))
        waiting = asyncio.create_task(held.put(trajectory("b", version=0)))
        await asyncio.sleep(0)
        await held.advance(1)
        return await waiting

    assert asyncio.run(scenario()) is False


def test_a_sample_cannot_be_settled_twice_or_unplanned():
    ledger = Ledger()
    ledger.plan("a")
    ledger.settle("a", Fate.TRAINED)
    with pytest.raises(RunError, match="not open"):
        ledger.settle("a", Fate.REJECTED)
    ledger.plan("b")
    with pytest.raises(RunError, match="planned twice"):
        ledger.plan("b")


def test_cancelling_settles_everything_that_is_still_on_its_way():
    ledger = Ledger()
    ledger.plan("a")
    ledger.plan("b")
    ledger.cancel_open()
    assert ledger.open_ids == frozenset()
    assert ledger.counts == {Fate.CANCELLED: 2}
