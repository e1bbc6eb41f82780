"""A call to a process that hangs ends; one to a slow process is waited for."""

from __future__ import annotations

import asyncio

import pytest

from stepcoder_dist.errors import Unresponsive
from stepcoder_dist.host.answering import while_answering

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
