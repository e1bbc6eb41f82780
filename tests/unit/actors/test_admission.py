"""Which share gets a place when: the oldest plan first, never more than an engine has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("ray")

from rollouts_for_tests import make_request

from actors.pool.admission import Admission, capped
from actors.pool.pool_slot import Place, Slot
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import RunError
from stepcoder_dist.records import RolloutRequest


def share(first: int, size: int = 2) -> list[RolloutRequest]:
    return [make_request(seed=seed) for seed in range(first, first + size)]


def slots(count: int, place: Place = Place.READY) -> list[Slot]:
    return [Slot(f"rollout-{index}", index, place=place) for index in range(count)]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(within())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_shares_go_to_the_least_loaded_slot_up_to_the_cap_and_the_rest_waits() -> None:
    async def scenario() -> None:
        pool = slots(2)
        admission = Admission(lambda: pool, cap=4, patience_s=5)
        placed = [asyncio.ensure_future(admission.place(share(10 * n))) for n in range(6)]
        await turns()
        assert [each.done() for each in placed] == [True] * 4 + [False] * 2
        assert [slot.load for slot in pool] == [4, 4]
        assert admission.waiting == 4
        admission.release(pool[1], 1)
        assert (await placed[4]) is pool[1]
        assert not placed[5].done()
        admission.release(pool[0], 4)
        assert (await placed[5]) is pool[0]

    run(scenario)


def test_a_share_that_was_planned_earlier_overtakes_one_that_waits_longer() -> None:
    async def scenario() -> None:
        pool = slots(1)
        pool[0].load = 4
        admission = Admission(lambda: pool, cap=4, patience_s=5)
        young = asyncio.ensure_future(admission.place(share(50)))
        await turns()
        old = asyncio.ensure_future(admission.place(share(20)))
        await turns()
        admission.release(pool[0], 1)
        await old
        assert not young.done()
        admission.release(pool[0], 3)
        await young

    run(scenario)


def test_a_caller_that_goes_away_leaves_its_place_to_the_next() -> None:
    async def scenario() -> None:
        pool = slots(1)
        pool[0].load = 4
        admission = Admission(lambda: pool, cap=4, patience_s=5)
        first = asyncio.ensure_future(admission.place(share(20)))
        second = asyncio.ensure_future(admission.place(share(50)))
        await turns()
        # in the turn in which it gets its place
        admission.release(pool[0], 4)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert pool[0].load == 2

    run(scenario)


def test_without_a_cap_every_share_goes_in_at_once() -> None:
    async def scenario() -> None:
        pool = slots(2)
        admission = Admission(lambda: pool, cap=None, patience_s=5)
        placed = [await admission.place(share(10 * n, 100)) for n in range(4)]
        assert [slot.name for slot in placed] == ["rollout-0", "rollout-1"] * 2

    run(scenario)


def test_shares_wait_for_a_ready_slot_and_fail_with_the_reason_when_none_comes() -> None:
    async def scenario() -> None:
        pool = slots(2, Place.STARTING)
        admission = Admission(lambda: pool, cap=4, patience_s=5)
        waiting = asyncio.ensure_future(admission.place(share(0)))
        await turns()
        pool[1].place = Place.READY
        admission.dispatch()
        assert (await waiting) is pool[1]

        pool[1].place = Place.LOST
        impatient = Admission(lambda: pool, cap=4, patience_s=0.01)
        with pytest.raises(RunError, match="rollout-0 is starting, rollout-1 is lost"):
            await impatient.place(share(0))

        waiting = asyncio.ensure_future(admission.place(share(0)))
        await turns()
        for slot in pool:
            slot.place, slot.failure = Place.FAILED, f"{slot.name} did not start"
        admission.dispatch()
        with pytest.raises(RunError, match="rollout-0 did not start; rollout-1 did not start"):
            await waiting

    run(scenario)


@pytest.mark.parametrize(
    ("changes", "cap"),
    [
        ({}, None),
        ({"train": {"max_staleness": 1}}, 256),
        ({"train": {"max_staleness": 1}, "actors": {"max_batch": 32}}, 32),
        ({"train": {"max_staleness": 1}, "actors": {"max_in_flight": 48}}, 48),
    ],
)
def test_only_rollouts_that_run_ahead_are_capped(changes: dict[str, object], cap: int) -> None:
    base = {
        "name": "cap",
        "model": {"path": "none"},
        "problems": {"train": "none", "heldout": "none"},
    }
    assert capped(RunConfig.model_validate(base | changes)) == cap
