"""A call to a process that hangs ends; one to a slow process is waited for."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from stepcoder_dist.errors import Unresponsive
from stepcoder_dist.host.answering import Watch, drop, while_answering

SILENCE_S = 0.2


async def never() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    return None


def test_a_call_is_waited_for_while_its_process_answers():
    pings = 0

    async def scenario() -> str:
        enough = asyncio.Event()

        async def ping() -> None:
            nonlocal pings
            pings += 1
            if pings == 12:  # three times the silence that is allowed
                enough.set()

        async def slow() -> str:
            await enough.wait()
            return "done"

        return await while_answering(slow(), ping, SILENCE_S, "rollout-0")

    assert asyncio.run(scenario()) == "done"
    assert pings == 12


def test_a_process_that_answers_no_ping_hangs():
    async def scenario() -> None:
        async with asyncio.timeout(30):
            await while_answering(never(), never, SILENCE_S, "rollout-0")

    with pytest.raises(Unresponsive, match=r"rollout-0 has not answered for 0.2 s"):
        asyncio.run(scenario())


def test_a_ping_that_fails_is_an_answer_and_the_calls_own_error_is_raised():
    async def scenario() -> None:
        asked = asyncio.Event()

        async def ping() -> None:
            asked.set()
            raise ConnectionError("it died")

        async def dies() -> None:
            await asked.wait()
            await asyncio.sleep(0)
            raise ValueError("why it died")

        await while_answering(dies(), ping, SILENCE_S, "rollout-0")

    with pytest.raises(ValueError, match="why it died"):
        asyncio.run(scenario())


def test_a_call_that_ends_needs_no_ping():
    async def ping() -> None:
        raise AssertionError("asked")

    assert asyncio.run(while_answering(at_once(), ping, SILENCE_S, "rollout-0")) is None


def test_a_caller_who_goes_away_takes_the_wait_along():
    cancelled: list[str] = []

    async def call() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            cancelled.append("call")
            raise

    async def scenario() -> None:
        task = asyncio.ensure_future(while_answering(call(), at_once, SILENCE_S, "rollout-0"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert cancelled == ["call"]


def test_all_calls_of_a_process_that_hangs_end_and_those_of_the_next_are_watched_again():
    async def one(watch: Watch) -> None:
        with watch.over_call():
            await never()

    async def scenario() -> None:
        watch = Watch(never, SILENCE_S, "sandbox-0")
        async with asyncio.timeout(30):
            for _ in range(2):
                ends = await asyncio.gather(*(one(watch) for _ in range(3)), return_exceptions=True)
                assert [str(end) for end in ends] == [
                    "sandbox-0 has not answered for 0.2 s: it hangs"
                ] * 3
                assert all(isinstance(end, Unresponsive) for end in ends)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    asyncio.run(scenario())


def test_calls_under_one_watch_share_its_pings_and_last_as_long_as_these_are_answered():
    pings = 0

    async def scenario() -> list[int]:
        enough = asyncio.Event()

        async def ping() -> None:
            nonlocal pings
            pings += 1
            if pings == 12:  # three times the silence that is allowed
                enough.set()
            raise ConnectionError("a ping that fails is an answer")

        watch = Watch(ping, SILENCE_S, "sandbox-0")

        async def call(number: int) -> int:
            with watch.over_call():
                await enough.wait()
            return number

        return await asyncio.gather(*map(call, range(50)))

    assert asyncio.run(scenario()) == list(range(50))
    assert pings == 12


def test_under_a_watch_an_error_of_the_call_and_its_callers_cancellation_come_through():
    async def scenario() -> None:
        watch = Watch(at_once, SILENCE_S, "sandbox-0")
        with pytest.raises(ValueError, match="its own"), watch.over_call():
            raise ValueError("its own")

        async def call() -> None:
            with watch.over_call():
                await never()

        task = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(scenario())


def test_who_goes_away_while_the_process_is_found_to_hang_is_cancelled():
    async def scenario() -> None:
        watch = Watch(at_once, SILENCE_S, "sandbox-0")

        async def call() -> None:
            with watch.over_call() as opened:
                task = asyncio.current_task()
                assert task is not None
                opened.end()
                task.cancel()
                await never()

        task = asyncio.ensure_future(call())
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(scenario())


def test_what_a_dropped_call_ends_with_is_nobodys() -> None:
    reported: list[dict[str, Any]] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        failure = loop.create_future()

        async def asked() -> None:
            await failure

        call = asyncio.ensure_future(asked())
        await asyncio.sleep(0)
        failure.set_exception(RuntimeError("it died"))  # the call fails before it is cancelled
        drop(call)
        del call
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()

    asyncio.run(scenario())
    assert reported == []


def test_a_ping_that_fails_as_the_caller_goes_away_is_nobodys() -> None:
    reported: list[dict[str, Any]] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        asked, failure = asyncio.Event(), loop.create_future()

        async def ping() -> None:
            asked.set()
            await failure

        caller = asyncio.create_task(
            while_answering(asyncio.Event().wait(), ping, SILENCE_S, "rollout-0")
        )
        await asked.wait()
        failure.set_exception(RuntimeError("it was killed"))
        caller.cancel()
        await asyncio.wait({caller})
        del caller
        gc.collect()

    asyncio.run(scenario())
    assert reported == []
