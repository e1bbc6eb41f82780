"""Several items at a time, results in order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from stepcoder_dist.host.in_order import in_order


class Works:
    """Works that end when they are told; says which are under way."""

    def __init__(self) -> None:
        self.may_end = [asyncio.Event() for _ in range(6)]
        self.begun: list[int] = []
        self.cancelled: list[int] = []

    async def __call__(self, item: int) -> int:
        self.begun.append(item)
        try:
            await self.may_end[item].wait()
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        if item == 4:
            raise ValueError("four")
        return item * item


def test_results_come_in_the_order_of_the_items_whichever_ends_first():
    async def scenario() -> None:
        works = Works()
        for item in (3, 2, 1, 0):
            works.may_end[item].set()
        found = [each async for each in in_order(range(4), works, in_flight=4)]
        assert found == [(0, 0), (1, 1), (2, 4), (3, 9)]

    asyncio.run(scenario())


def test_no_more_items_are_taken_than_are_in_flight():
    taken = []

    def items():
        for item in range(4):
            taken.append(item)
            yield item

    async def scenario() -> None:
        works = Works()
        for each in works.may_end:
            each.set()
        async with aclosing(in_order(items(), works, in_flight=2)) as results:
            assert await anext(results) == (0, 0)
            assert taken == [0, 1]
            assert await anext(results) == (1, 1)
            assert taken == [0, 1, 2]

    asyncio.run(scenario())


def test_closing_ends_the_work_that_is_under_way():
    async def scenario() -> None:
        works = Works()
        works.may_end[0].set()
        async with aclosing(in_order(range(6), works, in_flight=3)) as results:
            assert await anext(results) == (0, 0)
        assert works.cancelled == [1, 2]
        assert works.begun == [0, 1, 2]

    asyncio.run(scenario())


def test_an_error_comes_in_its_turn_and_ends_the_rest():
    async def scenario() -> None:
        works = Works()
        works.may_end[4].set()
        works.may_end[3].set()
        async with aclosing(in_order([3, 4, 5], works, in_flight=3)) as results:
            assert await anext(results) == (3, 9)
            with pytest.raises(ValueError, match="four"):
                await anext(results)
        assert works.cancelled == [5]

    asyncio.run(scenario())
