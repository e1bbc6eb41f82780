"""The rollout pool grows and shrinks while it works, with actors in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("ray")

from actors.pool.pool_slot import Place
from stepcoder_dist.errors import RunError
from tests.unit.actors.test_actor_pool import PoolInProcess, run_with
from tests.unit.actors.test_admission import share


def names(pool: PoolInProcess) -> list[str]:
    return sorted(slot.name for slot in pool._slots)


async def turns(number: int = 20) -> None:
    """Let the loop's tasks run."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_an_actor_that_comes_has_the_current_weights_before_a_step_counts_on_it() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        held = asyncio.Event()
        pushes: list[Sequence[Any]] = []

        async def slow(targets: Sequence[Any]) -> None:
            pushes.append(targets)
            await held.wait()
            for target in targets:
                target.take_weights()

        pool.refresh_with(slow)
        growing = asyncio.ensure_future(pool.resize(3))
        await pool.until(Place.READY, Place.REFRESHING, Place.REFRESHING)
        assert pool.width == 1
        held.set()
        await growing
        assert pool.width == pool.number == 3
        assert [pool.actor(i).diary for i in (1, 2)] == [["weights"], ["weights"]]
        assert pushes == [[pool.actor(1)], [pool.actor(2)]]

    run_with(1, scenario)


def test_an_idle_actor_goes_at_once_and_a_busy_one_when_it_has_finished() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        first, second, third = pool._slots
        first.load, second.load = 5, 2
        await pool.resize(2)
        assert names(pool) == ["rollout-0", "rollout-1"]
        shrinking = asyncio.ensure_future(pool.resize(1))
        await turns()
        assert pool.width == 1
        assert second.leaving
        assert await pool._admission.place(share(1)) is first, "no share for one that goes"
        assert await pool.weight_targets() == [first.handle]
        assert (await pool.status()).count("leaving") == 1
        second.release(2)
        await shrinking
        assert names(pool) == ["rollout-0"]
        assert third.handle is second.handle is None

    run_with(3, scenario)


def test_an_actor_that_goes_is_not_replaced_when_it_dies() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        pool._slots[0].load, pool._slots[1].load = 5, 1
        shrinking = asyncio.ensure_future(pool.resize(1))
        await turns()
        pool.actor(1).die()
        await turns()
        assert pool.keeper.starts == ["rollout-0", "rollout-1"]
        pool._slots[1].release(1)  # its share failed
        await shrinking

    run_with(2, scenario)


def test_what_an_actor_has_not_finished_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch):
    killed: list[Any] = []
    monkeypatch.setattr("actors.pool.pool_resize.ray.kill", killed.append)

    async def scenario(pool: PoolInProcess) -> None:
        pool._config = pool._config.model_copy(
            update={"actors": pool._config.actors.model_copy(update={"leave_timeout_s": 0.01})}
        )
        going = pool.actor(1)
        pool._slots[0].load, pool._slots[1].load = 5, 1
        await pool.resize(1)
        assert killed == [going]
        assert names(pool) == ["rollout-0"]

    run_with(2, scenario)


def test_an_actor_that_was_to_go_goes_also_where_nobody_waits_for_it_any_more(
    monkeypatch: pytest.MonkeyPatch,
):
    """As where the learner is lost and starts again: the pools stay."""
    killed: list[Any] = []
    monkeypatch.setattr("actors.pool.pool_resize.ray.kill", killed.append)

    async def scenario(pool: PoolInProcess) -> None:
        going = pool.actor(1)
        pool._slots[0].load, pool._slots[1].load = 5, 1
        shrinking = asyncio.ensure_future(pool.resize(1))
        await turns()
        shrinking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shrinking
        assert killed == [going]
        assert names(pool) == ["rollout-0"]

    run_with(2, scenario)


def test_places_that_became_free_are_taken_first() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        pool._slots[0].load = 0
        pool._slots[1].load = pool._slots[2].load = 3
        await pool.resize(2)
        assert names(pool) == ["rollout-1", "rollout-2"]
        await pool.resize(4)  # 0 has a bundle of the run's placement group, 4 and 5 have none
        assert names(pool) == ["rollout-0", "rollout-1", "rollout-2", "rollout-3"]

    run_with(3, scenario)


def test_the_last_resize_counts_also_while_an_earlier_one_starts_actors() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        pool.keeper.may_start.clear()
        growing = asyncio.ensure_future(pool.resize(4))
        await pool.until(Place.READY, Place.STARTING, Place.STARTING, Place.STARTING)
        again = asyncio.ensure_future(pool.resize(2))
        await turns()
        pool.keeper.may_start.set()
        await again
        with pytest.raises(RunError, match="a later command took away rollout actors"):
            await growing
        assert names(pool) == ["rollout-0", "rollout-1"]
        assert pool.width == 2
        assert (await pool.status()).wanted == 2

    run_with(1, scenario)


def test_an_actor_that_does_not_start_is_an_error_and_the_pool_keeps_the_others() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        pool.keeper.failing_starts = 1
        with pytest.raises(RunError, match=r"rollout-\d did not start: vLLM did not start"):
            await pool.resize(3)
        assert pool.width == len(pool._slots) == 2
        assert (await pool.status()).wanted == 2
        await pool.resize(3)
        assert pool.width == 3

    run_with(1, scenario)
