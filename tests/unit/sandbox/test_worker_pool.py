"""The pool around its workers: resized while it works, no program lost, none judged twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from sandbox import absence, judging
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.errors import EngineAway, SandboxFault
from stepcoder_dist.records import Limits, Outcome, TestSuite, Verdict

LIMITS = Limits(cpu_s=1, wall_s=1, memory_bytes=2**20, output_bytes=2**10, processes=1)
VERDICT = Verdict(
    outcome=Outcome.PASSED, tests=(), structure=None, coverage_trusted=False, wall_ms=0
)


SUITE = TestSuite(inputs=("",), outputs=("",))


def judged(pool: WorkerPool, source: str, problem: str = "") -> Coroutine[Any, Any, Verdict]:
    """Judge a program of this problem, or of one of its own."""
    return pool.judge(source, SUITE, problem_id=problem or source)


class Building:
    """Where the workers stand: every source is judged when its gate opens, and written down."""

    def __init__(self, monkeypatch) -> None:
        self.open: set[int] = set()
        self.started = 0
        self.failing = 0
        """So many workers that are started next are lost on the way."""
        self.judged: Counter[str] = Counter()
        self.gates: dict[str, threading.Event] = {}
        self.begun: dict[str, threading.Event] = {}
        monkeypatch.setattr(judging, "judge", self._judge)

    def pool(self, workers: int, *, engine_wait_s: float = 0.0) -> WorkerPool:
        return WorkerPool(
            lambda: _Worker(self),
            workers=workers,
            limits=LIMITS,
            attempts=2,
            engine_wait_s=engine_wait_s,
        )

    def gate(self, source: str) -> None:
        self.gates[source], self.begun[source] = threading.Event(), threading.Event()

    def _judge(self, run, source, _tests, _limits):
        run(None, [])
        if source in self.gates:
            self.begun[source].set()
            assert self.gates[source].wait(30)
        self.judged[source] += 1
        return VERDICT


class _Worker:
    def __init__(self, building: Building) -> None:
        if building.failing:
            building.failing -= 1
            raise SandboxFault("no engine")
        building.started += 1
        self._building, self._number = building, building.started
        building.open.add(self._number)

    def run(self, _order, _blobs):
        class Report:
            clean = True

        assert self._number in self._building.open, "a worker was closed before its program ended"
        return Report

    def alive(self):
        return True

    def close(self):
        self._building.open.discard(self._number)


@pytest.fixture
def building(monkeypatch):
    return Building(monkeypatch)


def test_every_program_is_judged_once_while_the_pool_grows_and_shrinks(building):
    async def script():
        async with building.pool(2) as pool:
            sources = [f"p{i}" for i in range(600)]
            working = [
                asyncio.ensure_future(judged(pool, s, f"problem {i % 7}"))
                for i, s in enumerate(sources)
            ]
            for size in (5, 1, 8, 3, 3, 6, 2):
                await pool.resize(size)
                assert pool.stats.workers == len(building.open) == size
            await asyncio.gather(*working)
            assert building.judged == Counter(sources)
            assert pool.stats.verdicts == 600
            assert pool.stats.faults == pool.stats.waiting == pool.stats.in_flight == 0
        assert building.open == set()

    asyncio.run(script())


def test_sizes_that_are_asked_for_at_the_same_time_leave_the_pool_whole(building):
    async def script():
        async with building.pool(2) as pool:
            working = [asyncio.ensure_future(judged(pool, f"p{i}")) for i in range(200)]
            await asyncio.gather(*(pool.resize(size) for size in (4, 2, 1, 3)))
            await asyncio.gather(*working)
            assert pool.stats.workers == len(building.open)
            assert building.judged.total() == 200
        assert building.open == set()

    asyncio.run(script())


def test_a_worker_that_has_to_go_finishes_its_program_first(building):
    building.gate("slow")

    async def script():
        async with building.pool(2) as pool:
            slow = asyncio.ensure_future(judged(pool, "slow"))
            await asyncio.to_thread(building.begun["slow"].wait, 30)
            other = asyncio.ensure_future(judged(pool, "other"))
            await other
            await pool.resize(1)  # the free one goes
            assert len(building.open) == 1
            building.gates["slow"].set()
            assert await slow is VERDICT
            assert building.judged == {"slow": 1, "other": 1}

    asyncio.run(script())


def test_one_slow_program_holds_up_no_other(building):
    building.gate("slow")

    async def script():
        async with building.pool(2) as pool:
            slow = asyncio.ensure_future(judged(pool, "slow", "problem"))
            await asyncio.gather(*(judged(pool, f"p{i}", "problem") for i in range(50)))
            assert not slow.done()
            building.gates["slow"].set()
            await slow

    asyncio.run(script())


def test_slow_programs_of_one_problem_leave_places_for_another(building):
    for i in range(20):
        building.gate(f"slow{i}")

    async def script():
        async with building.pool(3) as pool:
            slow = [asyncio.ensure_future(judged(pool, f"slow{i}", "theirs")) for i in range(20)]
            ours_first = [
                asyncio.ensure_future(judged(pool, f"first{i}", "ours")) for i in range(1)
            ]
            await asyncio.to_thread(building.begun["slow0"].wait, 30)
            building.gates["slow0"].set()
            await asyncio.gather(*ours_first)  # in line behind 19 others
            assert building.judged.total() == 2
            for i in range(20):
                building.gates[f"slow{i}"].set()
            await asyncio.gather(*slow)

    asyncio.run(script())


def test_growing_where_no_worker_can_be_started_is_a_fault_and_changes_nothing(building):
    async def script():
        async with building.pool(2) as pool:
            building.failing = 4  # every try of two seats
            with pytest.raises(SandboxFault, match="no engine"):
                await pool.resize(4)
            assert pool.stats.workers == 2
            assert await judged(pool, "p") is VERDICT
            with pytest.raises(ValueError, match="at least one"):
                await pool.resize(0)

    asyncio.run(script())


def test_a_worker_that_is_lost_while_it_starts_is_started_again(building):
    async def script():
        building.failing = 1
        async with building.pool(2) as pool:
            building.failing = 1
            await pool.resize(3)
            assert pool.stats.workers == len(building.open) == 3
            assert await judged(pool, "p") is VERDICT

    asyncio.run(script())


def test_a_closed_pool_ends_what_waits_and_takes_nothing_more(building):
    building.gate("slow")

    async def script():
        pool = building.pool(1)
        await pool.start()
        slow = asyncio.ensure_future(judged(pool, "slow"))
        await asyncio.to_thread(building.begun["slow"].wait, 30)
        waiting = asyncio.ensure_future(judged(pool, "waiting"))
        await asyncio.sleep(0)
        building.gates["slow"].set()
        await pool.close()
        with pytest.raises(SandboxFault, match="closed"):
            await waiting
        with pytest.raises(SandboxFault, match="closed"):
            await judged(pool, "late")
        await asyncio.gather(slow, return_exceptions=True)
        assert building.open == set()
        assert building.judged["waiting"] == building.judged["late"] == 0

    asyncio.run(script())


def test_a_start_that_is_cancelled_leaves_no_worker(building, monkeypatch):
    gate = threading.Event()
    begun = threading.Event()

    def slow_worker(self, place):
        begun.set()
        gate.wait(30)
        building.open.add(id(self))
        self._building, self._number = place, id(self)

    monkeypatch.setattr(_Worker, "__init__", slow_worker)

    async def script():
        starting = asyncio.ensure_future(building.pool(2).start())
        await asyncio.to_thread(begun.wait, 30)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        gate.set()

    asyncio.run(script())
    deadline = time.monotonic() + 30
    while threads := [t for t in threading.enumerate() if t.name.startswith("sandbox")]:
        assert time.monotonic() < deadline
        threads[0].join(1)
    assert building.open == set()


def test_a_fault_is_tried_again_and_told_with_the_number_of_tries(building, monkeypatch):
    monkeypatch.setattr(absence, "FIRST_PAUSE_S", 0.0)

    def broken(*_):
        raise SandboxFault("the zygote is gone")

    async def script():
        async with building.pool(1) as pool:
            monkeypatch.setattr(_Worker, "run", broken)
            with pytest.raises(SandboxFault, match=r"the zygote is gone \(after 2 tries\)"):
                await judged(pool, "p")
            assert pool.stats.faults == 2

    asyncio.run(script())


def test_an_engine_that_comes_back_has_cost_no_program_one_of_its_tries(building, monkeypatch):
    monkeypatch.setattr(absence, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(absence, "LONGEST_PAUSE_S", 0.01)
    missed = Counter()
    runs = _Worker.run

    def gone(self, order, blobs):
        if missed.total() < 60:
            missed["run"] += 1
            raise EngineAway("no engine answers")
        return runs(self, order, blobs)

    async def script():
        async with building.pool(3, engine_wait_s=60.0) as pool:
            monkeypatch.setattr(_Worker, "run", gone)
            sources = [f"p{i}" for i in range(20)]  # 60 faults: more than two tries of each
            verdicts = await asyncio.gather(*(judged(pool, s) for s in sources))
            assert verdicts == [VERDICT] * 20
            assert building.judged == Counter(sources)
            assert (pool.stats.verdicts, pool.stats.faults) == (20, 60)

    asyncio.run(script())


def test_an_engine_that_stays_away_is_one_clear_error_for_every_program(building, monkeypatch):
    monkeypatch.setattr(absence, "FIRST_PAUSE_S", 0.001)

    def gone(*_):
        raise EngineAway("no engine answers")

    async def script():
        async with building.pool(2, engine_wait_s=0.05) as pool:
            monkeypatch.setattr(_Worker, "__init__", gone)
            monkeypatch.setattr(_Worker, "run", gone)
            told = await asyncio.gather(
                *(judged(pool, f"p{i}") for i in range(5)), return_exceptions=True
            )
            assert [type(t) for t in told] == [SandboxFault] * 5
            assert all("no engine answers; waited 0.05 s" in str(t) for t in told)

    asyncio.run(script())
