"""Who gets the next free place in the sandbox."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.fair_queue import FairQueue


def play(script):
    return asyncio.run(script())


async def ask(queue, key, served, **more):
    """Wait for a place, tell that it is there, and keep it."""
    place = await queue.get(key, **more)
    served.append((key, place))


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def start(*coroutines):
    return [asyncio.ensure_future(c) for c in coroutines]


def test_programs_of_one_problem_are_served_in_order():
    async def script():
        queue, served = FairQueue(), []
        start(*(ask(queue, "a", served) for _ in range(3)))
        await settle()
        assert queue.waiting == 3
        for place in (1, 2, 3):
            queue.add(place)
        await settle()
        assert served == [("a", 1), ("a", 2), ("a", 3)]
        assert (queue.waiting, queue.running) == (0, 3)

    play(script)


def test_a_problem_with_a_long_line_takes_turns_with_the_others():
    async def script():
        queue, served = FairQueue(), []
        start(*(ask(queue, "long", served) for _ in range(100)))
        start(ask(queue, "b", served), ask(queue, "c", served))
        await settle()
        for place in range(3):
            queue.add(place)
        await settle()
        assert [key for key, _ in served] == ["long", "b", "c"]

    play(script)


def test_slow_programs_of_one_problem_do_not_fill_up_all_places():
    """A freed place goes to the problem with fewer running, however long the other's line."""

    async def script():
        queue, served = FairQueue(), []
        for place in range(4):
            queue.add(place)
        start(*(ask(queue, "slow", served) for _ in range(50)))
        start(*(ask(queue, "fast", served) for _ in range(50)))
        await settle()
        seen = []
        for _ in range(20):  # only the fast ones ever end
            running = [place for key, place in served if key == "fast"]
            seen.append(len(served) - len(running))
            place = running[-1] if running else served[-1][1]
            key = "fast" if running else "slow"
            served.remove((key, place))
            queue.done(key, place)
            queue.add(place)
            await settle()
        assert max(seen[1:]) < 4, seen

    play(script)


def test_a_program_that_is_cancelled_while_it_waits_takes_no_place():
    async def script():
        queue, served = FairQueue(), []
        first, _second = start(ask(queue, "a", served), ask(queue, "b", served))
        await settle()
        first.cancel()
        await settle()
        queue.add("place")
        await settle()
        assert served == [("b", "place")]
        assert (queue.waiting, queue.running) == (0, 1)

    play(script)


def test_a_program_that_is_cancelled_as_its_place_comes_gives_it_back():
    async def script():
        queue, served = FairQueue(), []
        first, _second = start(ask(queue, "a", served), ask(queue, "b", served))
        await settle()
        queue.add("place")  # handed to the first, which has not run since
        first.cancel()
        await settle()
        assert served == [("b", "place")]
        assert (queue.waiting, queue.running) == (0, 1)

    play(script)


def test_of_several_free_places_the_one_with_the_fewest_taken_is_next_and_the_first_of_equals():
    async def script():
        queue = FairQueue()
        for place in ("x", "x", "x", "y", "y", "z"):
            queue.add(place)
        assert [await queue.get("a") for _ in range(4)] == ["x", "y", "z", "x"]
        queue.done("a", "y")
        queue.add("y")  # of y none is taken, of x two
        assert [await queue.get("a") for _ in range(3)] == ["y", "y", "x"]

    play(script)


def test_a_place_that_something_speaks_against_is_taken_when_there_is_no_other():
    async def script():
        queue = FairQueue()
        for place in ("tried", "down", "good"):
            queue.add(place)
        against = {"tried": 2, "down": 1, "good": 0}
        taken = [await queue.get("a", against.__getitem__) for _ in range(3)]
        assert taken == ["good", "down", "tried"]
        queue.done("a", "tried")
        queue.add("tried")
        assert await queue.get("a") == "tried"

    play(script)


def test_of_a_withdrawn_place_the_rest_stays_free():
    async def script():
        queue = FairQueue()
        for place in ("x", "y", "x"):
            queue.add(place)
        assert queue.withdraw("x")
        assert [await queue.get("a") for _ in range(2)] == ["y", "x"]

    play(script)


def test_a_withdrawn_place_is_given_to_nobody():
    async def script():
        queue, served = FairQueue(), []
        queue.add(1)
        assert queue.withdraw(1)
        assert not queue.withdraw(1)
        start(ask(queue, "a", served))
        await settle()
        assert served == []

    play(script)


def test_a_closed_queue_ends_everything_that_waits_or_comes():
    async def script():
        queue, served = FairQueue(), []
        (waiting,) = start(ask(queue, "a", served))
        await settle()
        queue.close(RuntimeError("closed"))
        with pytest.raises(RuntimeError, match="closed"):
            await waiting
        with pytest.raises(RuntimeError, match="closed"):
            await queue.get("b")
        assert queue.waiting == 0

    play(script)


def test_ten_thousand_problems_in_line_cost_no_more_each_than_a_few():
    """The choice looks at no more problems than are running."""

    async def script():
        looked = 0

        class Key:
            def __init__(self, number):
                self.number = number

            def __hash__(self):
                nonlocal looked
                looked += 1
                return self.number

        queue, served = FairQueue(), []
        keys = [Key(i) for i in range(10_000)]
        start(*(ask(queue, key, served) for key in keys))
        await settle()
        looked = 0
        for place in range(100):
            queue.add(place)
        await settle()
        assert len(served) == 100
        assert looked < 100 * 20

    play(script)
