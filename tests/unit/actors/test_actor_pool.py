"""Who is replaced when, and who may wake: the pool's logic, with actors in this process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError

from actors.actor_pool import ActorPool
from actors.pool import slot_keeper
from actors.pool.pool_slot import Place, Slot
from actors.pool.slot_keeper import SlotKeeper
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ArrivalError, RunError


class Remote:
    """A method that is called as Ray's are."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._method(*arguments))


class InProcessActor:
    """A rollout actor as the pool sees it; `die` is the end of its process."""

    def __init__(self, *, whole: bool) -> None:
        self.diary: list[str] = []
        self._died = asyncio.Event()
        self._whole = asyncio.Event()
        if whole:
            self._whole.set()
        self.rest = Remote(self._rest)
        self.stats = Remote(self._stats)
        self.until_the_end = Remote(self._until_the_end)
        self.wait_until_complete = Remote(self._wait_until_complete)

    def die(self) -> None:
        self._died.set()

    def take_weights(self) -> None:
        self.diary.append("weights")
        self._whole.set()

    async def _rest(self) -> None:
        self._check()
        self.diary.append("rest")
        self._whole.clear()

    async def _stats(self) -> None:
        raise ActorDiedError  # the pool's status does without

    async def _until_the_end(self) -> None:
        await self._died.wait()
        self._check()

    async def _wait_until_complete(self) -> None:
        ends = [asyncio.ensure_future(e.wait()) for e in (self._whole, self._died)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        self._check()

    def _check(self) -> None:
        if self._died.is_set():
            raise ActorDiedError


class KeeperInProcess(SlotKeeper):
    """The keeper with another way to start a process, which can be held up and made to fail."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.starts: list[str] = []
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.failing_starts = 0

    async def _replace_process(self, slot: Slot) -> None:
        self.starts.append(slot.name)
        await self.may_start.wait()
        if self.failing_starts:
            self.failing_starts -= 1
            raise RunError("vLLM did not start")
        slot.handle = InProcessActor(whole=not self.weights_were_pushed)

    async def _end(self, slot: Slot) -> None:
        slot.handle = None


class PoolInProcess(ActorPool):
    """The pool over actors in this process."""

    def __init__(self, number: int) -> None:
        config = RunConfig.model_validate(
            {
                "name": "pool",
                "model": {"path": "none"},
                "problems": {"train": "none", "heldout": "none"},
                "actors": {"number": number},
            }
        )
        super().__init__(config, "a-model/of-the-hub", keeper=KeeperInProcess)

    @property
    def keeper(self) -> KeeperInProcess:
        assert isinstance(self._keeper, KeeperInProcess)
        return self._keeper

    def actor(self, place: int) -> InProcessActor:
        actor: InProcessActor = self._slots[place].handle
        return actor

    def places(self) -> list[Place]:
        return [slot.place for slot in self._slots]

    async def until(self, *places: Place) -> None:
        """Return when the slots stand so; a turn of the loop at a time, and not for ever."""
        for _ in range(1000):
            if self.places() == list(places):
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{self.places()}, not {places}")


async def push(targets: Sequence[InProcessActor]) -> None:
    for target in targets:
        target.take_weights()


def run_with(number: int, scenario: Callable[[PoolInProcess], Awaitable[None]]) -> None:
    async def whole() -> None:
        pool = PoolInProcess(number)
        await pool.start()
        pool.refresh_with(push)
        await push(await pool.weight_targets())
        async with asyncio.timeout(10):
            await scenario(pool)
        await pool.close()

    asyncio.run(whole())


def test_an_actor_that_dies_at_rest_is_replaced_after_the_rest_and_gets_the_weights() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        await pool.rest()
        first, survivor = pool.actor(0), pool.actor(1)
        first.die()
        await pool.until(Place.LOST, Place.READY)
        for _ in range(20):  # turns of the loop in which a replacement could begin
            await asyncio.sleep(0)
        assert pool.keeper.starts == ["rollout-0", "rollout-1"], "the GPU is the learner's"

        targets = await pool.weight_targets()
        assert targets == [survivor]
        await push(targets)
        await pool.until(Place.READY, Place.READY)

        assert pool.keeper.starts == ["rollout-0", "rollout-1", "rollout-0"]
        assert pool.actor(0) is not first
        assert pool.actor(0).diary == ["weights"]
        assert survivor.diary == ["weights", "rest", "weights"]

    run_with(2, scenario)


def test_an_idle_actor_that_dies_is_replaced_although_nobody_asks_it_anything() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        first = pool.actor(0)
        first.die()
        await pool.until(Place.LOST)
        await pool.until(Place.READY)
        assert pool.actor(0) is not first
        assert pool.actor(0).diary == ["weights"]

    run_with(1, scenario)


def test_a_start_that_fails_while_the_pool_comes_to_rest_does_not_hold_it_up() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        pool.keeper.may_start.clear()
        pool.keeper.failing_starts = 1
        pool.actor(0).die()
        await pool.until(Place.STARTING, Place.READY)
        resting = asyncio.ensure_future(pool.rest())
        await asyncio.sleep(0)
        assert not resting.done()
        pool.keeper.may_start.set()
        await resting
        assert pool.places() == [Place.LOST, Place.READY]
        await push(await pool.weight_targets())
        await pool.until(Place.READY, Place.READY)

    run_with(2, scenario)


def test_a_rest_names_the_actor_that_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(pool: PoolInProcess) -> None:
        pool.keeper.may_start.clear()
        pool.actor(0).die()
        await pool.until(Place.STARTING, Place.READY)
        with pytest.raises(RunError, match="not up within 0 s: rollout-0 is starting"):
            await pool.rest()

    monkeypatch.setattr("actors.actor_pool.ATTEMPTS", 0)
    run_with(2, scenario)


def test_an_actor_that_comes_up_while_the_pool_comes_to_rest_is_woken_by_the_runs_push_only() -> (
    None
):
    async def scenario(pool: PoolInProcess) -> None:
        pool.keeper.may_start.clear()
        pool.actor(0).die()
        await pool.until(Place.STARTING, Place.READY)
        resting = asyncio.ensure_future(pool.rest())
        await asyncio.sleep(0)
        pool.keeper.may_start.set()
        await resting
        assert pool.actor(0).diary == ["rest"]
        await push(await pool.weight_targets())
        await pool.until(Place.READY, Place.READY)
        assert pool.actor(0).diary == ["rest", "weights"]

    run_with(2, scenario)


def test_the_pool_rests_only_after_a_refresh_that_has_begun_has_ended() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        may_push = asyncio.Event()

        async def slow_push(targets: Sequence[InProcessActor]) -> None:
            await may_push.wait()
            await push(targets)

        pool.refresh_with(slow_push)
        pool.actor(0).die()
        await pool.until(Place.REFRESHING, Place.READY)
        resting = asyncio.ensure_future(pool.rest())
        for _ in range(20):  # turns of the loop in which it could go on
            await asyncio.sleep(0)
        assert not resting.done()
        may_push.set()
        await resting
        assert pool.actor(0).diary == ["weights", "rest"]

    run_with(2, scenario)


def test_an_actor_that_answers_otherwise_than_the_learner_after_a_push_gets_a_new_process() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        checked: list[InProcessActor] = []

        async def refresh(targets: Sequence[InProcessActor]) -> None:
            await push(targets)  # it is whole, of something
            checked.extend(targets)
            if len(checked) == 1:
                raise ArrivalError("log-probs up to 7.3 from the learner's; restart it")

        pool.refresh_with(refresh)
        pool.actor(0).die()
        await pool.until(Place.LOST)
        await pool.until(Place.READY)
        assert pool.keeper.starts == ["rollout-0"] * 3
        assert pool.actor(0) is checked[1]
        assert checked[0] is not checked[1]

    run_with(1, scenario)


def test_a_refresh_that_fails_is_tried_again_for_the_next_push_may_wait_for_the_actor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slot_keeper, "REFRESH_AGAIN_S", 0)

    async def scenario(pool: PoolInProcess) -> None:
        tries = 0

        async def refresh(targets: Sequence[InProcessActor]) -> None:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise RunError("the snapshot went with its owner")
            await push(targets)

        pool.refresh_with(refresh)
        pool.actor(0).die()
        await pool.until(Place.LOST)
        await pool.until(Place.READY)
        assert tries == 4
        assert pool.keeper.starts == ["rollout-0"] * 2

    run_with(1, scenario)
    assert caplog.text.count("rollout-0 waits for a push: the snapshot went") == 1


def test_an_actor_whose_name_is_still_taken_is_started_again_and_given_up_at_last() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        async def taken(slot: Slot) -> None:
            pool.keeper.starts.append(slot.name)
            raise ValueError("the name rollout-0 is already taken")

        pool.keeper._replace_process = taken  # type: ignore[method-assign]
        pool.actor(0).die()
        await pool.until(Place.FAILED)
        assert len(pool.keeper.starts) == 1 + 3

    run_with(1, scenario)


def test_an_actor_whose_node_is_away_is_waited_for_however_long_and_comes_back() -> None:
    async def scenario(pool: PoolInProcess) -> None:
        actors = pool.keeper._config.actors.model_copy(update={"start_timeout_s": 0.01})
        pool.keeper._config = pool.keeper._config.model_copy(update={"actors": actors})
        pool.keeper.may_start.clear()  # Ray finds no room
        replace, fifth = pool.keeper._replace_process, asyncio.Event()

        async def counted(slot: Slot) -> None:
            if len(pool.keeper.starts) == 2 + 4:
                fifth.set()
            await replace(slot)

        pool.keeper._replace_process = counted  # type: ignore[method-assign]
        pool.actor(0).die()
        await fifth.wait()
        assert pool.places() == [Place.STARTING, Place.READY]
        pool.keeper.may_start.set()
        await pool.until(Place.READY, Place.READY)

    run_with(2, scenario)


def test_an_actor_that_dies_when_nobody_waits_for_its_statistics_any_more_is_no_error():
    reported: list[dict[str, Any]] = []

    async def scenario(pool: PoolInProcess) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        asked, death = asyncio.Event(), loop.create_future()

        async def stats() -> None:
            asked.set()
            await death

        pool.actor(0).stats = Remote(stats)
        caller = asyncio.create_task(pool.stats())
        await asked.wait()
        death.set_exception(ActorDiedError())
        caller.cancel()
        await asyncio.wait({caller})
        del caller
        gc.collect()

    run_with(1, scenario)
    assert reported == []
