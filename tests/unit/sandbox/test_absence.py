"""An engine that is away: how long it is waited for, and what is said when it stays away."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from sandbox import absence
from sandbox.absence import Absence, pauses, until_it_answers
from stepcoder_dist.errors import EngineAway, SandboxFault

AWAY = EngineAway("no Docker engine answers")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_a_limit():
    assert list(islice(pauses(), 8)) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_the_time_counts_from_the_first_that_missed_it_for_all_together():
    async def script():
        clock = Clock()
        missing = Absence(60.0, clock)
        await missing.wait(AWAY, 0.0, clock.now)
        clock.now += 59.0
        await missing.wait(AWAY, 0.0, clock.now)
        clock.now += 2.0
        for _ in range(2):  # every other program fails at once
            with pytest.raises(SandboxFault, match=r"answers; waited 60 s .*engine_wait_s") as told:
                await missing.wait(AWAY, 0.0, clock.now)
            assert not isinstance(told.value, EngineAway)

    asyncio.run(script())


def test_an_engine_that_came_back_is_waited_for_again():
    async def script():
        clock = Clock()
        missing = Absence(60.0, clock)
        await missing.wait(AWAY, 0.0, clock.now)
        clock.now += 59.0
        missing.over()
        clock.now += 59.0
        await missing.wait(AWAY, 0.0, clock.now)
        clock.now += 59.0
        await missing.wait(AWAY, 0.0, clock.now)

    asyncio.run(script())


def test_an_absence_that_nobody_looked_at_for_long_is_another_one():
    async def script():
        clock = Clock()
        missing = Absence(60.0, clock)
        await missing.wait(AWAY, 0.0, clock.now)
        clock.now += 3600.0
        await missing.wait(AWAY, 0.0, clock.now)

    asyncio.run(script())


def test_an_engine_that_says_nothing_is_given_up_however_long_a_look_at_it_takes():
    async def script():
        clock = Clock()
        missing = Absence(60.0, clock)
        looked = clock.now
        clock.now += 180.0
        await missing.wait(AWAY, 0.0, looked)
        looked = clock.now
        clock.now += 180.0
        with pytest.raises(SandboxFault, match="waited 60 s"):
            await missing.wait(AWAY, 0.0, looked)

    asyncio.run(script())


def test_looking_ends_when_there_is_an_answer(monkeypatch):
    monkeypatch.setattr(absence, "FIRST_PAUSE_S", 0.0)
    looked = []

    def look() -> None:
        looked.append(True)
        if len(looked) < 4:
            raise AWAY

    asyncio.run(until_it_answers(look, 60.0))
    assert len(looked) == 4


def test_looking_gives_up_with_one_clear_error():
    def look() -> None:
        raise AWAY

    with pytest.raises(SandboxFault, match=r"engine answers; waited 0\.01 s for it"):
        asyncio.run(until_it_answers(look, 0.01))
