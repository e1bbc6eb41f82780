"""The driver's side of the executors: seats, starts that fail. No Ray process, no container."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from sandbox import executor_pool
from sandbox.executor_pool import ExecutorPool
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import Outcome, TestSuite, Verdict

SUITE = TestSuite(inputs=("1\n",), outputs=("2\n",))
PASSED = Verdict(
    outcome=Outcome.PASSED, tests=(), structure=None, coverage_trusted=True, wall_ms=1.0
)


class Actor:
    """Answers as an `ExecutorActor` handle does, until it is closed."""

    failing_starts: int = 0
    never_placed: bool = False

    def __init__(self, *_: Any) -> None:
        self.closed = False
        self.judged = 0
        for name in ("start", "judge", "close"):
            setattr(self, name, SimpleNamespace(remote=getattr(self, f"_{name}")))

    async def _start(self) -> None:
        if Actor.never_placed:
            await asyncio.Event().wait()
        if Actor.failing_starts:
            Actor.failing_starts -= 1
            raise RayTaskError("start", "a traceback", OSError("the engine's answer was cut off"))

    async def _judge(self, *_: Any) -> Verdict:
        for _ in range(3):
            await asyncio.sleep(0)
            if self.closed:
                raise RayActorError
        self.judged += 1
        return PASSED

    async def _close(self) -> None:
        self.closed = True


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> ExecutorPool:
    Actor.failing_starts, Actor.never_placed = 0, False
    monkeypatch.setattr(
        executor_pool,
        "ExecutorActor",
        SimpleNamespace(options=lambda **_: SimpleNamespace(remote=Actor)),
    )
    monkeypatch.setattr(executor_pool.ray, "kill", lambda _: None)
    made = {
        "name": "test",
        "model": {"path": "none"},
        "problems": {"train": "none", "heldout": "none"},
        "sandbox": {
            "backend": "process",
            "number": 2,
            "containers": 2,
            "attempts": 1,
            "start_timeout_s": 0.2,
        },
    }
    return ExecutorPool(RunConfig.model_validate(made))


def test_an_executor_that_goes_waits_for_programs_that_were_just_given_a_seat(pool: ExecutorPool):
    """With one try each, a program whose executor was closed under it would be lost."""

    async def run() -> None:
        await pool.start()
        programs = [asyncio.ensure_future(pool.judge("", SUITE)) for _ in range(400)]

        async def resize() -> None:
            for turn in range(60):
                await pool.resize((1, 3, 2, 4)[turn % 4])
                for _ in range(turn % 5):
                    await asyncio.sleep(0)

        await resize()
        verdicts = await asyncio.gather(*programs)
        assert {verdict.outcome for verdict in verdicts} == {Outcome.PASSED}
        assert pool._restarts == 0
        await pool.close()

    asyncio.run(run())


def test_a_cancelled_program_gives_its_seat_back_to_one_that_is_going(pool: ExecutorPool):
    async def run() -> None:
        await pool.start()
        programs = [asyncio.ensure_future(pool.judge("", SUITE)) for _ in range(12)]
        await asyncio.sleep(0)
        going = asyncio.ensure_future(pool.resize(1))
        for program in programs[::2]:
            program.cancel()
        await asyncio.wait_for(going, 10)
        told = await asyncio.gather(*programs, return_exceptions=True)
        assert [isinstance(each, Verdict) for each in told] == [False, True] * 6
        await pool.close()

    asyncio.run(run())


def test_a_start_that_fails_in_any_way_is_a_fault_and_tried_anew(pool: ExecutorPool):
    async def run() -> None:
        Actor.failing_starts = 1
        with pytest.raises(SandboxFault, match=r"sandbox-\d did not start"):
            await pool.start()
        await pool.start()
        assert (await pool.judge("", SUITE)).outcome is Outcome.PASSED
        await pool.close()

    asyncio.run(run())


def test_an_executor_that_no_node_has_room_for_is_a_fault_that_says_what_to_look_at(
    pool: ExecutorPool,
):
    async def run() -> None:
        Actor.never_placed = True
        with pytest.raises(SandboxFault, match=r"start_timeout_s = 0.2; `ray status` tells"):
            await pool.start()
        Actor.never_placed = False
        await pool.start()
        assert (await pool.judge("", SUITE)).outcome is Outcome.PASSED
        await pool.close()

    asyncio.run(run())
